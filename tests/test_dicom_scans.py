"""DICOM where other formats are expected: one file or folder as a volume, and folders of series as scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_writing import image, save, series
from osteon.core.errors import DatasetError, FileError, UsageError
from osteon.formats import read_geometry, read_segmentation, read_structures, read_volume, write_volume
from osteon.predicting.scans import find_scans
from runs import two_channels

PLACES = [(0.0, 0.0, 2.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
PICTURE = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "Modality": "DX"}


def test_a_folder_with_one_series_is_a_volume(tmp_path: Path) -> None:
    series(tmp_path, PLACES)
    assert read_volume(tmp_path).array[0, 0, 0].tolist() == [100, 200, 0]
    assert read_geometry(tmp_path).shape == (4, 3, 3)


def test_files_need_no_suffix(tmp_path: Path) -> None:
    path = save(image(np.array([[3, 4]], np.int16)), tmp_path / "IM0001")
    assert read_volume(path).array.ravel().tolist() == [3, 4]
    assert read_structures(path) == ()
    (tmp_path / "IM0002").write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(FileError, match="no known image format"):
        read_volume(tmp_path / "IM0002")


def test_several_series_are_listed_without_the_patient(tmp_path: Path) -> None:
    series(tmp_path / "t1", PLACES, SeriesNumber=4, SeriesDescription="Doe Jane")
    series(tmp_path / "t2", PLACES, SeriesInstanceUID="1.2.7")
    with pytest.raises(FileError, match=r"2 image series .*3 CT images, series 4 in t1; 3 CT images in t2") as refused:
        read_volume(tmp_path)
    assert not any(word in str(refused.value) for word in ("Doe", "secret"))


@pytest.mark.parametrize("content", [[], ["notes.txt"]])
def test_folders_without_images_say_so(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        (tmp_path / name).write_text("hello")
    with pytest.raises(FileError, match="holds no DICOM image"):
        read_volume(tmp_path)
    with pytest.raises(FileError, match="holds 0 DICOM segmentations"):
        read_segmentation(tmp_path)


def test_nothing_of_the_patient_is_in_what_is_read(tmp_path: Path) -> None:
    from osteon.formats.dicom_series import find_series, read_series

    series(tmp_path, [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 3.0)], StudyDate="20200102")
    volume, notes = read_series(find_series(tmp_path).series[0], accept_gaps=True)
    text = repr(volume) + repr(notes)
    assert notes
    assert not any(word in text for word in ("Doe", "Jane", "secret", "2020"))


def test_folders_of_series_are_scans(tmp_path: Path) -> None:
    series(tmp_path / "anna" / "ct", PLACES)
    series(tmp_path / "bert" / "ct", PLACES, SeriesInstanceUID="1.2.7", PatientID="b")
    save(image(np.zeros((2, 2), np.uint16), **PICTURE, SeriesInstanceUID="1.2.8"), tmp_path / "hand.dcm")
    scans = find_scans([tmp_path])
    assert [(scan.id, len(scan.files)) for scan in scans] == [("anna", 3), ("bert", 3), ("hand", 1)]
    assert [scan.load().geometry.shape for scan in scans] == [(4, 3, 3), (4, 3, 3), (2, 2, 1)]
    assert len(scans[0].fingerprint()) == 3
    assert [scan.id for scan in find_scans([tmp_path / "anna" / "ct", tmp_path / "hand.dcm"])] == ["hand", "ct"]


def test_series_and_files_of_one_folder_are_all_scans(tmp_path: Path) -> None:
    series(tmp_path / "p1", PLACES)
    write_volume(tmp_path / "p2.nii.gz", read_volume(tmp_path / "p1"))
    write_volume(tmp_path / "p1.nii.gz", read_volume(tmp_path / "p1"))
    Image.new("L", (4, 4), 9).save(tmp_path / "preview.png")
    assert [scan.id for scan in find_scans([tmp_path])] == ["p1", "p1-2", "p2", "preview"]


def test_damaged_series_are_named_beside_the_others(tmp_path: Path) -> None:
    series(tmp_path / "p1", PLACES)
    series(tmp_path / "p2", PLACES, SeriesInstanceUID="1.2.7")
    for path in (tmp_path / "p2").iterdir():
        path.write_bytes(path.read_bytes()[:150])
    good, bad = find_scans([tmp_path])
    assert (good.id, good.problem) == ("p1", None)
    with pytest.raises(DatasetError, match=r"3 DICOM files in .*p2 cannot be read; .*p2/"):
        bad.load()


def test_series_named_by_channel_are_one_scan(tmp_path: Path) -> None:
    series(tmp_path / "p1" / "T1", PLACES)
    series(tmp_path / "p1" / "T2", PLACES, SeriesInstanceUID="1.2.7")
    (scan,) = find_scans([tmp_path], two_channels())
    assert (scan.id, scan.load().array.shape[0], len(scan.fingerprint())) == ("p1", 2, 6)


def test_of_several_series_of_a_study_the_one_that_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, name in ((2, "SOFT"), (3, "BONE")):
        tags = {"SeriesInstanceUID": f"1.2.{n}", "SeriesNumber": n, "SeriesDescription": name}
        for path in series(tmp_path / "new", PLACES, **tags):
            path.rename(tmp_path / f"{n}{path.name}")
    (tmp_path / "new").rmdir()
    series(tmp_path / "other", PLACES, SeriesInstanceUID="1.2.9", StudyInstanceUID="1.3.9", SeriesNumber=7)
    assert [(scan.id, len(scan.files)) for scan in find_scans([tmp_path])] == [
        ("other", 3),
        (tmp_path.name, 3),
        (f"{tmp_path.name}-2", 3),
    ]
    output = " ".join(capsys.readouterr().err.split())
    assert f"{tmp_path.name}: 3 CT images, series 2, SOFT in" in output
    assert f"{tmp_path.name}-2: 3 CT images, series 3, BONE in" in output
    for which in ("3", "bone", "1.2.3"):
        chosen = find_scans([tmp_path], series=which)
        assert [scan.files[0].parent.name for scan in chosen] == ["other", tmp_path.name]
        assert chosen[1].files[0].name.startswith("3")
    with pytest.raises(UsageError, match="--series LUNG: no series has this number") as unknown:
        find_scans([tmp_path], series="LUNG")
    assert "2 (SOFT), 3 (BONE), 7 (no description)" in unknown.value.hint
    with pytest.raises(UsageError, match=r"--series 7: of one study no series is called so: .*SOFT.*BONE"):
        find_scans([tmp_path], series="7")
