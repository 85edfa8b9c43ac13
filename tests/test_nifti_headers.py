"""NIfTI headers that contradict themselves or leave things open: one rule, told; and refused where it is a guess."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

import osteon
from osteon.cli.main import app
from osteon.core.errors import DatasetError, FileError, GeometryError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.checks import align_segmentation
from osteon.evaluating.evaluate import evaluate
from osteon.exporting.run import export
from osteon.formats import read_geometry, read_segmentation, read_volume, write_segmentation, write_volume
from osteon.formats.header_warnings import HeaderWarning, describe_warnings
from osteon.formats.io import header_warnings
from osteon.importing.run import import_dataset

STRAIGHT = np.diag([-2.0, -2.0, 3.0, 1.0])
STRAIGHT[:3, 3] = (10, 20, -30)
TURNED = STRAIGHT @ np.array([[0, 1.0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
MOVED = STRAIGHT.copy()
MOVED[0, 3] += 40
SHEARED = STRAIGHT.copy()
SHEARED[0, 2] = 1.0
VOXELS = np.arange(8 * 8 * 6, dtype=np.int16).reshape(8, 8, 6)
LABELS = np.zeros((8, 8, 6), np.uint8)
LABELS[2:5, 2:5, 1:4] = 1


def write(
    path: Path,
    array: np.ndarray = VOXELS,
    sform: np.ndarray | None = STRAIGHT,
    qform: np.ndarray | None = STRAIGHT,
    *,
    beyond: bytes = b"",
    kind: type = nib.Nifti1Image,
    **fields: object,
) -> Path:
    """A NIfTI whose raw header fields are set last, whatever nibabel thinks of them."""
    image = kind(array, STRAIGHT)
    image.header.set_xyzt_units("mm")
    raw = bytearray(image.to_bytes())
    image.header.set_qform(STRAIGHT if qform is None else qform, code=1)
    quaternion = {f"quatern_{axis}": float(image.header[f"quatern_{axis}"]) for axis in "bcd"}
    offsets = {f"qoffset_{axis}": float(image.header[f"qoffset_{axis}"]) for axis in "xyz"}
    rows = dict(zip(("srow_x", "srow_y", "srow_z"), STRAIGHT if sform is None else sform, strict=False))
    edges = np.linalg.norm((STRAIGHT if sform is None else sform)[:3, :3], axis=0)
    placed = {"sform_code": sform is not None, "qform_code": qform is not None, **quaternion, **offsets, **rows}
    placed["pixdim"] = [float(image.header["pixdim"][0]), *edges, 1, 1, 1, 1]
    header = np.frombuffer(raw, dtype=kind.header_class.template_dtype, count=1)  # a view: changes the bytes
    for name, value in (placed | fields).items():
        header[name][0] = value
    content = bytes(raw) + beyond
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def kinds(path: Path, *, label: bool = False) -> list[str]:
    return [odd.kind for odd in header_warnings(path, label=label)]


def pixdim(*values: float) -> list[float]:
    return [*values, *(1.0,) * (8 - len(values))]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_clear_header_has_nothing_odd(tmp_path: Path, name: str, kind: type) -> None:
    for sform, qform in ((STRAIGHT, STRAIGHT), (STRAIGHT, None), (None, STRAIGHT), (SHEARED, None), (TURNED, TURNED)):
        path = write(tmp_path / name, sform=sform, qform=qform, kind=kind)
        assert kinds(path) == kinds(path, label=True) == []
        np.testing.assert_allclose(read_geometry(path).affine_ras, sform if sform is not None else qform, atol=1e-5)
    assert kinds(write(tmp_path / name, xyzt_units=0, scl_slope=np.nan, scl_inter=np.nan)) == []  # as nibabel writes


def test_osteons_own_files_have_nothing_odd(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number, noise in enumerate((0.0, 1e-6, 1e-5)):  # cosines rounded to few digits, as DICOM has them
        matrix = (np.linalg.qr(rng.normal(size=(3, 3)))[0] + rng.normal(0, noise, (3, 3))) * (0.7, 0.7, 2.5)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix, (-312.7, 141.1, 1044.25)
        geometry = Geometry((300, 300, 90), affine)
        path = tmp_path / f"{number}.nii.gz"
        write_segmentation(path, Segmentation(np.ones(geometry.shape, np.uint8), geometry, make_structures(["a"])))
        header = nib.load(path).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
        assert Geometry(geometry.shape, header.get_qform()).is_close(geometry, tolerance=0.01)
        assert kinds(path, label=True) == []
        itk = SimpleITK.ReadImage(str(path))
        last = np.array(itk.TransformIndexToPhysicalPoint((299, 299, 89))) * (-1, -1, 1)
        np.testing.assert_allclose(last, geometry.to_world([[299, 299, 89]])[0], atol=0.02)
    write_volume(tmp_path / "sheared.nii", Volume(VOXELS[None], Geometry(VOXELS.shape, SHEARED)))
    assert kinds(tmp_path / "sheared.nii") == []


@pytest.mark.parametrize(
    ("fields", "kind", "says"),
    [
        ({"sform": None, "qform": None}, "no orientation", "nothing says where right, front and top are"),
        ({"qform": MOVED}, "sform against qform", "position of the first voxel 40.00 mm apart; taken is the sform"),
        ({"qform": MOVED, "sform_code": 2}, "sform against qform", "ITK's readers take the qform, as sform_code is 2"),
        ({"qform": SHEARED @ np.diag([1, -1, 1, 1])}, "sform against qform", "orientation"),
        ({"sform_code": 9}, "sform code", "sform_code 9 is none of the standard's"),
        ({"pixdim": pixdim(1, 2, 2, 5)}, "affine against pixdim", "2×2×3 mm by the affine, of 2×2×5 mm by pixdim"),
        ({"pixdim": pixdim(1, -2, 2, 3), "qform": None}, "affine against pixdim", "of -2×2×3 mm by pixdim"),
        ({"pixdim": pixdim(1, np.nan, 2, 3), "qform": None}, "affine against pixdim", "nan"),
        ({"sform": None, "pixdim": pixdim(0, 2, 2, 3)}, "qfac", "0, neither 1 nor -1; taken as 1"),
        ({"sform": None, "pixdim": pixdim(2, 2, 2, 3)}, "qfac", "2, neither"),
        ({"quatern_b": 5.0}, "qform", "its qform is damaged; taken is the sform"),
        ({"xyzt_units": 1}, "unit", "metres, and was applied: voxels of 2000×2000×3000 mm"),
        ({"xyzt_units": 3}, "unit", "micrometres, and was applied: voxels of 0.002×0.002×0.003 mm"),
        ({"xyzt_units": 7}, "unit", "none of the standard's; taken as mm"),
        ({"scl_slope": 0, "scl_inter": 5}, "scale", "scl_slope is 0, so scl_inter 5 is not added"),
        ({"scl_slope": np.nan, "scl_inter": 5}, "scale", "scl_slope is nan"),
        ({"scl_slope": np.inf}, "scale", "as they are stored"),
        ({"bitpix": 8}, "bitpix", "contradicts the datatype int16"),
        ({"intent_code": 1002}, "intent", "says that it is a label map"),
        ({"beyond": bytes(128)}, "bytes beyond", "128 bytes follow"),
        ({"vox_offset": 0}, "vox_offset", "voxels are taken from byte 352"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_odd_is_told(tmp_path: Path, name: str, fields: dict[str, object], kind: str, says: str) -> None:
    path = write(tmp_path / name, **fields)  # type: ignore[arg-type]
    assert kind in kinds(path)
    assert says in next(odd.what for odd in header_warnings(path, label=False) if odd.kind == kind)
    np.testing.assert_array_equal(read_volume(path).array[0], VOXELS)


def test_sizes_without_a_unit_are_told_where_they_are_odd(tmp_path: Path) -> None:
    tiny = np.diag([0.0007, 0.0007, 0.001, 1])
    assert kinds(write(tmp_path / "a.nii", sform=tiny, qform=tiny, xyzt_units=0)) == ["unit"]
    assert kinds(write(tmp_path / "a.nii", sform=tiny, qform=tiny, xyzt_units=2)) == []


def test_the_form_that_counts_is_nibabels(tmp_path: Path) -> None:
    for fields in ({"qform": MOVED}, {"qform": MOVED, "sform_code": 3}, {"sform": None}, {"sform_code": 9},
                   {"sform": None, "qform": None}):  # fmt: skip
        path = write(tmp_path / "a.nii", **fields)  # type: ignore[arg-type]
        np.testing.assert_allclose(read_geometry(path).affine_ras, nib.load(path).affine, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sform": None, "pixdim": pixdim(1, -2, 2, 3)}, "its qform counts, and pixdim says voxels of -2 mm"),
        ({"sform": None, "pixdim": pixdim(1, 2, 0, 3)}, "voxels of 0 mm"),
        ({"sform": None, "qform": None, "pixdim": pixdim(1, 2, 2, 0)}, "its pixdim counts"),
        ({"sform": None, "pixdim": pixdim(-2, 2, 2, 3)}, r"qfac\) is -2"),
        ({"sform": None, "quatern_b": 5.0}, "place in the world is damaged"),
        ({"srow_x": [np.nan] * 4}, "its sform is singular or not finite"),
        ({"srow_x": [0] * 4}, "its sform is singular or not finite"),
        ({"sform": None, "qform": None, "pixdim": pixdim(1, np.inf, 2, 2)}, "its pixdim is singular"),
        ({"vox_offset": np.nan}, "a.nii"),
        ({"vox_offset": -16}, "voxels from byte -16"),
        ({"dim": [3, 9, 8, 6, 1, 1, 1, 1]}, "claims|truncated"),
        ({"magic": b"ni1"}, "not a single-file"),
    ],
)  # fmt: skip
def test_what_would_be_a_guess_is_refused(tmp_path: Path, fields: dict[str, object], says: str) -> None:
    path = write(tmp_path / "a.nii", **fields)  # type: ignore[arg-type]
    with pytest.raises(FileError, match=says) as caught:
        read_volume(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert header_warnings(path, label=False) == []  # said when it is read


def test_a_whole_qform_beside_a_damaged_sform_is_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileError) as caught:
        read_geometry(write(tmp_path / "a.nii", srow_x=[0] * 4))
    assert caught.value.hint == "its qform is whole: correct the sform, or set sform_code to 0"


@pytest.mark.parametrize("offset", [0, 1, 176, 348, 351])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_never_becomes_voxels(tmp_path: Path, name: str, offset: int) -> None:
    path = write(tmp_path / name, vox_offset=offset)
    assert np.array_equal(read_volume(path).array[0], VOXELS)
    assert "vox_offset" in kinds(path)
    for beyond in (b"\0", bytes(500)):  # where the voxels begin cannot be told
        path = write(tmp_path / name, vox_offset=offset, beyond=beyond)
        with pytest.raises(FileError, match="does not show where its voxels begin"):
            read_volume(path)
    if name == "a.nii":
        path.write_bytes(path.read_bytes()[:348] + VOXELS.tobytes(order="F"))
        with pytest.raises(FileError):
            read_volume(path)


def test_pictures_of_two_axes_need_no_third_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", VOXELS[:, :, 0], sform=None, pixdim=pixdim(1, 2, 2, 0))
    assert read_geometry(path).spacing_mm[:2] == (2, 2)
    assert kinds(path) == []


def test_scaled_labels_are_their_values_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", LABELS, scl_slope=3, scl_inter=0)
    assert np.unique(read_segmentation(path).array).tolist() == [0, 3]
    assert (kinds(path), kinds(path, label=True)) == ([], ["scaled labels"])
    assert kinds(write(tmp_path / "b.nii", LABELS, intent_code=3), label=True) == ["intent"]
    assert kinds(write(tmp_path / "b.nii", LABELS, intent_code=1002), label=True) == []


def test_an_sform_here_and_a_qform_there_are_one_frame(tmp_path: Path) -> None:
    image = read_geometry(write(tmp_path / "ct.nii", qform=None))
    label = read_segmentation(write(tmp_path / "seg.nii", LABELS, sform=None))
    assert align_segmentation(label, image, name="seg", image_name="ct").geometry is image


def test_it_is_told_by_which_form_image_and_label_would_fit(tmp_path: Path) -> None:
    label = read_segmentation(write(tmp_path / "seg.nii", LABELS, sform=MOVED, qform=None))
    image = read_geometry(write(tmp_path / "ct.nii", qform=MOVED))
    with pytest.raises(GeometryError, match="by the qform of ct they would be the same") as caught:
        align_segmentation(label, image, name="seg", image_name="ct")
    assert "write the one that is right into both" in caught.value.hint
    label = read_segmentation(write(tmp_path / "seg.nii", LABELS, sform=MOVED, qform=STRAIGHT))
    with pytest.raises(GeometryError, match="by the qform of seg they would be the same"):
        align_segmentation(label, read_geometry(write(tmp_path / "ct.nii")), name="seg", image_name="ct")
    with pytest.raises(GeometryError) as caught:
        align_segmentation(read_segmentation(write(tmp_path / "seg.nii", LABELS, sform=MOVED, qform=MOVED)),
                           read_geometry(write(tmp_path / "ct.nii")), name="seg", image_name="ct")  # fmt: skip
    assert "they would be" not in caught.value.message


def test_alike_oddities_of_many_files_are_one_line() -> None:
    odd, other = HeaderWarning("unit", "its unit is metres"), HeaderWarning("scale", "x")
    assert describe_warnings([("a", odd), ("b", odd), ("c", other)]) == [
        "a: its unit is metres", "b: its unit is metres", "c: x",
    ]  # fmt: skip
    assert describe_warnings([(name, odd) for name in "abcdef"]) == [
        "a: its unit is metres; also in 5 more files (b, c, …)"
    ]


def test_importing_auditing_evaluating_and_exporting_tell_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in "ab":
        write(tmp_path / f"{case}_ct.nii", sform=None, qform=None)
        write(tmp_path / f"{case}_seg.nii", LABELS, sform=None, qform=None, scl_slope=2.0)
    (tmp_path / "pairs.txt").write_text("a_ct.nii,a_seg.nii\nb_ct.nii,b_seg.nii\n")
    report = import_dataset(tmp_path / "pairs.txt", tmp_path / "ds", modality="ct")
    lines = [line for line in report.warnings if "header" in line or "code" in line or "scaled" in line]
    assert len(lines) == 3  # four files without codes are one line
    assert f"{tmp_path / 'a_ct.nii'}: sform_code and qform_code are 0" in lines[0]
    assert "also in 3 more files" in lines[0]
    assert report.lost == []
    findings = [f for f in osteon.audit(tmp_path / "ds", workers=1).findings if f.kind == "header"]
    assert [(f.severity, f.cases) for f in findings] == [("warning", ["a", "b"])] * 2
    assert findings[1].what == "a_seg.nii: its labels are scaled: stored value × 2 + 0 is taken; also in 1 more file"
    capsys.readouterr()
    assert evaluate(tmp_path / "a_seg.nii", tmp_path / "b_seg.nii").scores[0].dice == 1
    assert "sform_code and qform_code are 0" in capsys.readouterr().err.replace("\n", " ")
    notes = export("stl", [tmp_path / "a_seg.nii"], tmp_path / "stl").notes
    assert any("its labels are scaled" in note for note in notes)


def test_the_command_tells_it_and_ends_with_0(tmp_path: Path) -> None:
    write(tmp_path / "a_ct.nii", vox_offset=0)
    write(tmp_path / "a_seg.nii", LABELS)
    (tmp_path / "pairs.txt").write_text("a_ct.nii,a_seg.nii\n")
    ran = CliRunner().invoke(app, ["import", str(tmp_path / "pairs.txt"), str(tmp_path / "ds"), "--modality", "ct"])
    assert ran.exit_code == 0
    assert "vox_offset 0 lies within the header" in " ".join(ran.output.split())


@pytest.mark.parametrize(
    ("fields", "kinds_of"),
    [
        ("", ["no space"]),
        ("\nspace: LPS", []),
        ('\nspace: LPS\nspace units: "mm" "mm" "mm"', []),
        ('\nspace: LPS\nspace units: "um" "um" "um"', ["unit"]),
        ('\nspace: LPS\nspace units: "inch" "inch" "inch"', ["unit"]),
        ('\nspace: LPS\nspacings: 1 1 1\nunits: "cm" "cm" "cm"', ["unit"]),
        ("\nspace: LPS\nspacings: 1 1 1\nspace directions: (2,0,0) (0,2,0) (0,0,2)", ["spacings"]),
    ],
)
def test_a_nrrd_that_leaves_things_open_says_so(tmp_path: Path, fields: str, kinds_of: list[str]) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(
        f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1 2 3\nencoding: raw{fields}\n\n".encode() + bytes(6)
    )
    assert kinds(path) == kinds_of


def test_a_case_that_does_not_fit_says_what_its_headers_leave_open(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        (tmp_path / "src" / case).mkdir(parents=True)
        write(tmp_path / "src" / case / "ct.nii", sform=None, qform=None)
    write(tmp_path / "src" / "p1" / "femur.nii", LABELS)
    write(tmp_path / "src" / "p2" / "femur.nii", LABELS, None, None, scl_slope=0.5)
    with pytest.raises(DatasetError) as caught:
        import_dataset(tmp_path / "src", tmp_path / "set")
    reasons = str(caught.value).partition("p2: ")
    assert "ct.nii: sform_code and qform_code are 0, so nothing says where right" in reasons[0]
    assert "a mask holds 0 and one other whole number" in reasons[2]
    assert "femur.nii: its labels are scaled: stored value × 0.5" in reasons[2]
