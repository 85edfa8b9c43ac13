"""Untrusted uploads and archives: what is refused, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import io
import stat
import struct
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from helpers import write_dataset
from osteon.app import uploads as app_uploads
from osteon.app.external_results import import_result
from osteon.app.upload_names import SafeNames
from osteon.app.uploads import Upload, Uploads, unpack_archive
from osteon.app.workspace import ABOUT, Workspace, read_about
from osteon.core.errors import LabelError
from osteon.dataset.dataset import Dataset
from osteon.formats import read_segmentation
from osteon.formats.raster import TO_RAS
from osteon.formats.rle import encode_rle
from osteon.web import uploads as web_uploads
from osteon.web.http_errors import RejectedError
from osteon.web.uploads import ByteCounter

LEADING_OUT = [
    "../evil.nii.gz",
    "a/../../evil.nii.gz",
    "/etc/passwd",
    "..",
    "",
    ".",
    "/",
    "//host/share/evil.nii",
    "\\\\host\\share\\evil.nii",
    "C:\\Windows\\evil.nii",
    "C:/evil.nii",
    "a\\..\\evil.nii",
]
ODD = {
    "nul\0l.nii": "nul_l.nii",
    "line\nbreak.nii": "line_break.nii",
    "<img src=x onerror=alert(1)>.nii.gz": "_img src=x onerror=alert(1)_.nii.gz",
    '"><script>alert(1)<script>.nii': "___script_alert(1)_script_.nii",
    "a|b.nii": "a_b.nii",
    "c:evil.nii": "c_evil.nii",
    "x//c.nii": "x/c.nii",
    "./c.nii": "c.nii",
    ".about.json": "_.about.json",
    ".ABOUT.json": "_.ABOUT.json",
    "lpt¹ .nii": "_lpt¹ .nii",
    "c.nii.": "c.nii_",
    "A.nii": "A-2.nii",
    "T1: sag/im?.nii": "T1_ sag/im_.nii",
    "con.nii": "_con.nii",
    "right\u202eto-left.nii": "right_to-left.nii",
}


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(Workspace.open(tmp_path / "w"), limit=1_000_000)


async def chunks(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def take(upload: Upload, name: str, content: bytes = b"x") -> None:
    asyncio.run(upload.receive(name, chunks(content)))


def archive(path: Path, files: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = attributes.get("mode", 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, content)
    return path


def unpack(path: Path, folder: Path, limit: int) -> None:
    unpack_archive(path, folder, ByteCounter(limit, "upload less"), SafeNames())


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", LEADING_OUT, ids=range(len(LEADING_OUT)))
def test_names_that_lead_elsewhere_are_refused(uploads: Uploads, tmp_path: Path, name: str) -> None:
    with pytest.raises(RejectedError) as refused:
        SafeNames().add(name)
    assert refused.value.hint
    upload = uploads.start()
    before = files_in(tmp_path)
    with pytest.raises(RejectedError):
        take(upload, name)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_odd_names_become_plain_and_are_told(uploads: Uploads, name: str) -> None:
    """One odd name refuses no folder: all of its files are taken."""
    upload = uploads.start()
    for each in ("ward/p/a.nii", "a.nii", name, "b.nii"):
        take(upload, each)
    item = uploads.finish(upload)
    assert files_in(item.path) == {"ward/p/a.nii", "a.nii", "b.nii", ODD[name], ABOUT}
    [line] = read_about(item)["notes"].splitlines()
    assert repr(name) in line
    assert ODD[name] in line


@pytest.mark.parametrize("name", ["x" * 300 + ".nii.gz", "/".join("d" * 30) + "/a.nii.gz", "/".join(["y" * 150] * 9)])
def test_long_names_are_cut_and_stay_apart(name: str) -> None:
    first, second = (SafeNames().add(given) for given in (name, name[:250].replace(name[0], "z") + name[250:]))
    assert first is not None
    assert second is not None
    assert len(str(first).encode()) <= 900
    assert all(len(part.encode()) <= 200 for part in first.parts)
    assert len(first.parts) <= 16
    assert first != second
    assert first.name.endswith(".nii.gz") or not name.endswith(".nii.gz")


def test_files_of_one_folder_stay_together_however_long_their_names() -> None:
    names = SafeNames()
    deep = "/".join(["y" * 70] * 14)
    paths = [names.add(f"{deep}/{file}") for file in ("short.dcm", "long" * 60 + ".dcm", "p/q/r/1.dcm", "p/q/s/2.dcm")]
    assert all(path is not None and len(str(path).encode()) <= 900 for path in paths)
    assert len({path.parts[:5] for path in paths if path is not None}) <= 2  # the deeper ones begin with joined folders


def test_names_that_are_one_when_they_are_plain_stay_two(uploads: Uploads) -> None:
    upload = uploads.start()
    for name, content in (("a:b.nii", b"1"), ("a?b.nii", b"2"), ("A|B.nii", b"3"), ("a_b.nii", b"4")):
        take(upload, name, content)
    item = uploads.finish(upload)
    assert {(item.path / path).read_bytes() for path in files_in(item.path) - {ABOUT}} == {b"1", b"2", b"3", b"4"}


def test_two_folders_stay_two(uploads: Uploads) -> None:
    """Two patients' slices never come into one folder, where they would be one series."""
    upload = uploads.start()
    for name in ("w/p:1/1.dcm", "w/p?1/2.dcm", "w/P_1/3.dcm", "w/p:1/4.dcm", "w/p_1"):
        take(upload, name)
    item = uploads.finish(upload)
    assert files_in(item.path) == {"p_1/1.dcm", "p_1/4.dcm", "p_1-2/2.dcm", "P_1-3/3.dcm", "p_1-4", ABOUT}


def test_a_folder_and_an_archive_of_its_name_stay_two(uploads: Uploads, tmp_path: Path) -> None:
    upload = uploads.start()
    take(upload, "p1/a.nii", b"one")
    take(upload, "p1.zip", archive(tmp_path / "a.zip", {"a.nii": b"two"}).read_bytes())
    take(upload, ".zip", archive(tmp_path / "b.zip", {"a.nii": b"three"}).read_bytes())
    item = uploads.finish(upload)
    assert files_in(item.path) == {"p1/a.nii", "p1-2/a.nii", "archive/a.nii"}


def test_thousands_of_names_that_are_one_take_no_time() -> None:
    names, began = SafeNames(), time.monotonic()
    paths = {names.add("a" + "?:<>"[n % 4] + format(n, "b").replace("0", "|").replace("1", '"')) for n in range(20_000)}
    assert len(paths) == 20_000
    assert time.monotonic() - began < 10


def test_what_systems_put_beside_everything_is_passed_over(uploads: Uploads) -> None:
    upload = uploads.start()
    for name in ("w/p/a.nii", "w/.DS_Store", "w/p/._a.nii", "w/p/Thumbs.db"):
        take(upload, name)
    assert files_in(uploads.finish(upload).path) == {"p/a.nii"}


@pytest.mark.parametrize("name", ["a.nii.gz", "Hüfte links/Bild 1.dcm", "1.2.840.113/IM000", "a/b/c.d+e=f.stl"])
def test_usual_names_are_taken(uploads: Uploads, name: str) -> None:
    upload = uploads.start()
    take(upload, name, b"content")
    assert (upload.folder / name).read_bytes() == b"content"


def test_an_upload_that_is_too_large_is_stopped_while_it_comes_in(uploads: Uploads) -> None:
    upload = uploads.start()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100_000
            yield bytes(100_000)

    with pytest.raises(RejectedError, match="more than 1 MB"):
        asyncio.run(upload.receive("a.nii", endless()))
    assert sent <= 1_100_000
    assert files_in(upload.folder) == set()
    with pytest.raises(RejectedError):
        take(upload, "b.nii")


def test_a_full_disk_is_not_filled_further(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_uploads, "SPARE_BYTES", 1 << 60)
    with pytest.raises(RejectedError, match="disk is nearly full"):
        take(uploads.start(), "a.nii")


def test_endings_that_are_not_wanted_are_passed_over(uploads: Uploads, tmp_path: Path) -> None:
    upload = uploads.start(suffixes=(".nii.gz", ".csv"))
    take(upload, "a.exe")
    take(upload, "a.nii.gz")
    item = uploads.finish(upload)
    assert files_in(item.path) == {"a.nii.gz", ABOUT}
    assert read_about(item)["notes"] == "a.exe is skipped: .exe is not accepted here"
    upload = uploads.start(suffixes=(".nii.gz",))
    before = files_in(tmp_path)
    take(upload, "a.exe")
    assert files_in(tmp_path) == before
    with pytest.raises(RejectedError, match=r"\.exe: is not accepted here"):
        uploads.finish(upload)


def test_what_is_passed_over_is_not_told_as_taken(uploads: Uploads) -> None:
    upload = uploads.start(suffixes=(".csv",))
    for name in ("con.csv", "con.txt", "nul.txt"):
        take(upload, name)
    assert [line.split(":")[0] for line in upload.notes()] == [
        "'con.csv' is taken as _con.csv",
        "_con.txt is skipped",
        "_nul.txt is skipped",
    ]


def test_two_files_of_one_name_are_refused(uploads: Uploads) -> None:
    upload = uploads.start()
    take(upload, "a/b.nii")
    for name in ("a/b.nii", "a/b.nii/c.nii"):
        with pytest.raises(RejectedError, match="same name"):
            take(upload, name)


def test_files_become_a_source_named_after_their_folder(uploads: Uploads) -> None:
    upload = uploads.start()
    for name in ("Knee/p1/ct.nii", "Knee/p1/femur.nii", "Knee/p2/ct.nii"):
        take(upload, name)
    item = uploads.finish(upload)
    assert item.name == "Knee"
    assert files_in(item.path) == {"p1/ct.nii", "p1/femur.nii", "p2/ct.nii"}
    assert not upload.folder.exists()
    assert uploads.open == {}


def test_a_lone_folder_of_files_keeps_its_name_as_a_case(uploads: Uploads) -> None:
    upload = uploads.start()
    take(upload, "p1/IM0")
    assert files_in(uploads.finish(upload).path) == {"p1/IM0"}


def test_nothing_makes_no_source(uploads: Uploads) -> None:
    upload = uploads.start()
    with pytest.raises(RejectedError, match="no file was received"):
        uploads.finish(upload)
    assert not upload.folder.exists()


def test_what_an_earlier_server_left_is_swept(uploads: Uploads) -> None:
    left, going_on = uploads.workspace.root / "sources/.incoming-0", uploads.start()
    left.mkdir()
    uploads.remove_leftovers()
    assert not left.exists()
    assert going_on.folder.exists()
    assert uploads.workspace.items("sources") == []


def test_a_zip_becomes_a_source(uploads: Uploads, tmp_path: Path) -> None:
    inner = {"limbs/p1/a.dcm": b"1", "limbs/p1/femur.nii": b"2", "limbs/p2/a.dcm": b"3", "__MACOSX/limbs/._a": b"4"}
    upload = uploads.start()
    take(upload, "Limbs of June.zip", archive(tmp_path / "a.zip", inner).read_bytes())
    item = uploads.finish(upload)
    assert item.name == "Limbs-of-June"
    assert files_in(item.path) == {"p1/a.dcm", "p1/femur.nii", "p2/a.dcm"}


@pytest.mark.parametrize("name", LEADING_OUT, ids=range(len(LEADING_OUT)))
def test_names_in_a_zip_are_held_to_the_same(uploads: Uploads, tmp_path: Path, name: str) -> None:
    before = files_in(tmp_path)
    upload = uploads.start()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr("good.nii", b"x")
        made.writestr(name or "/", b"evil")
    if name in ("", "/"):
        pytest.skip("to zipfile these are folders")
    take(upload, "a.zip", content.getvalue())
    with pytest.raises(RejectedError) as refused:
        uploads.finish(upload)
    assert "evil" not in refused.value.message
    assert files_in(tmp_path) == before


def test_odd_names_in_a_zip_become_plain_and_are_told(uploads: Uploads) -> None:
    upload = uploads.start()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name in ("ward/p1/a.nii", "ward/p1/A.nii", "./ward/p3/x.nii", "ward/p2\\b.nii", "ward/p1/c:d.nii"):
            made.writestr(name, name)
    take(upload, "a.zip", content.getvalue())
    item = uploads.finish(upload)
    assert files_in(item.path) == {"p1/a.nii", "p1/A-2.nii", "p2/b.nii", "p3/x.nii", "p1/c_d.nii", ABOUT}
    notes = read_about(item)["notes"]
    assert "A-2.nii" in notes
    assert "c_d.nii" in notes
    assert "p2/b.nii" not in notes  # Windows parts folders so


def test_links_in_a_zip_are_refused(uploads: Uploads, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"link": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    upload = uploads.start()
    take(upload, "a.zip", path.read_bytes())
    with pytest.raises(RejectedError, match="links or devices"):
        uploads.finish(upload)


def test_a_zip_bomb_is_stopped_as_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_uploads, "ARCHIVE_SLACK", 1 << 20)
    path = archive(tmp_path / "bomb.zip", {"zeros.nii": bytes(50 << 20)})
    with pytest.raises(RejectedError, match="zip bomb"):
        unpack(path, tmp_path / "out", 10**12)
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*")) < 20 << 20
    with pytest.raises(RejectedError, match="more than 5 MB"):
        unpack(path, tmp_path / "other", 5_000_000)


def test_a_zip_that_lies_about_its_sizes_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both headers claim 10 bytes for 50 million: what comes out counts, not what is claimed."""
    monkeypatch.setattr(app_uploads, "ARCHIVE_SLACK", 1 << 20)
    path = archive(tmp_path / "liar.zip", {"zeros.nii": bytes(50 << 20)})
    content = path.read_bytes().replace(struct.pack("<I", 50 << 20), struct.pack("<I", 10))
    path.write_bytes(content)
    with pytest.raises(RejectedError):
        unpack(path, tmp_path / "out", 10**12)
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*")) < 20 << 20


def test_files_that_overlap_in_a_zip_are_counted_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One packed content under many names, as David Fifield's bomb has it."""
    monkeypatch.setattr(app_uploads, "ARCHIVE_SLACK", 1 << 20)
    single = archive(tmp_path / "one.zip", {"a": bytes(2 << 20)}).read_bytes()
    directory = single.index(b"PK\x01\x02")
    entry = single[directory : single.index(b"PK\x05\x06")]
    entries = b"".join(entry[:-1] + bytes([65 + n]) for n in range(26))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 26, 26, len(entries), directory, 0)
    path = tmp_path / "many.zip"
    path.write_bytes(single[:directory] + entries + end)
    with pytest.raises(RejectedError):
        unpack(path, tmp_path / "out", 10**12)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06", b"PK\x03\x04" + bytes(200)])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(RejectedError, match="damaged, or not a zip"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 10**9)


def test_a_huge_table_of_contents_is_not_read(tmp_path: Path) -> None:
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 9, 9, 1 << 30, 0, 0)
    (tmp_path / "a.zip").write_bytes(bytes(100) + end)
    with pytest.raises(RejectedError, match="table of contents"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 10**9)


@pytest.fixture
def hands(tmp_path: Path) -> Dataset:
    labels = np.zeros((40, 30, 1), np.uint8)
    labels[4:20, 8:17] = 3
    return write_dataset(tmp_path / "set", {"h": (np.arange(1200).reshape(40, 30, 1), labels, TO_RAS)}, unit="px")


@pytest.mark.parametrize("column", ["rle", "EncodedPixels"])
def test_a_table_of_rle_becomes_the_masks_that_it_means(tmp_path: Path, hands: Dataset, column: str) -> None:
    """Or is refused where it counts pixels otherwise than it says."""
    mask = hands.load_segmentation(hands.manifest.cases[0]).array[:, :, 0].T == 3
    for right in (True, False):
        text = encode_rle(mask if (column == "rle") == right else mask.T)
        (tmp_path / "up").mkdir(exist_ok=True)
        (tmp_path / "up" / "t.csv").write_text(f"image_name,class,{column}\nh.png,femur,{text}\n")
        if right:
            assert import_result(tmp_path / "up", hands.folder, tmp_path / "out") == (["h"], [])
            found = read_segmentation(tmp_path / "out" / "h.seg.nrrd")
            np.testing.assert_array_equal(found.mask(found.structures[0])[:, :, 0].T, mask)
        else:
            with pytest.raises(LabelError, match=r"t\.csv: .*its masks are stripes"):
                import_result(tmp_path / "up", hands.folder, tmp_path / "out2")
