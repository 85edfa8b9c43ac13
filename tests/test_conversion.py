"""Forms whose images or labels must be converted: what the import makes of what such a form reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from typer.testing import CliRunner

from osteon.cli.main import app
from osteon.core.errors import DatasetError, FileError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.case_ids import safe_id
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case, Channel
from osteon.formats import write_volume
from osteon.importing import recognition
from osteon.importing.options import ImportKeywords, ImportOptions, flag_of, parse_option
from osteon.importing.run import import_dataset
from osteon.importing.source_forms import ConvertedCase, Source, SourceCase, SourceForm

GRID = Geometry((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
STRUCTURES = make_structures(["femur", "tibia"])


def volume() -> Volume:
    return Volume(np.arange(120, dtype=np.int16).reshape(1, *GRID.shape), GRID)


def labels(*, overlapping: bool = False, grid: Geometry = GRID) -> Segmentation:
    hot = np.zeros((2, *grid.shape), np.uint8)
    hot[0, :2] = hot[1, 3:] = 1
    if overlapping:
        hot[1, 1:] = 1
    array = hot if overlapping else (hot[0] + 2 * hot[1]).astype(np.uint8)
    return Segmentation(array, grid, STRUCTURES)


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """Make the one known form give these cases."""

    def put(*cases: SourceCase) -> Source:
        found = Source("heap", [Channel(name="ct", modality="ct")], list(cases), STRUCTURES, summary=["two of a kind"])
        monkeypatch.setattr(recognition, "FORMS", (SourceForm("heap", "a heap", lambda _: None, lambda *_: found),))
        return found

    return put


def case(name: str, made: ConvertedCase, **more: object) -> SourceCase:
    return SourceCase(name, (), convert=lambda: made, labels=made.segmentation is not None, **more)  # type: ignore[arg-type]


def test_image_and_labels_are_written_into_the_dataset(tmp_path: Path, convert: Callable[..., Source]) -> None:
    convert(case("a", ConvertedCase(volume(), labels(), ("femur",), ("made of straw",), ("smells",))))
    messages: list[str] = []
    report = import_dataset(tmp_path, tmp_path / "set", announce=messages.append)
    assert messages == ["form heap: a heap", "two of a kind"]
    assert report.warnings == ["case a: smells"]
    [entry] = report.manifest.cases
    assert (entry.images, entry.segmentation) == (["images/a.nii.gz"], "labels/a.nii.gz")
    assert (entry.annotated, entry.provenance) == (["femur"], ["made of straw"])
    dataset = Dataset.open(tmp_path / "set")
    np.testing.assert_array_equal(dataset.load_image(entry).array, volume().array)
    np.testing.assert_array_equal(dataset.load_segmentation(entry).array, labels().array)


def test_overlaps_are_kept(tmp_path: Path, convert: Callable[..., Source]) -> None:
    convert(case("a", ConvertedCase(volume(), labels(overlapping=True))))
    report = import_dataset(tmp_path, tmp_path / "set")
    assert report.manifest.overlapping
    [entry] = report.manifest.cases
    assert entry.segmentation == "labels/a.seg.nrrd"
    loaded = Dataset.open(tmp_path / "set").load_segmentation(entry)
    np.testing.assert_array_equal(loaded.array, labels(overlapping=True).array)


def test_an_image_that_needs_no_conversion_is_referred_to(tmp_path: Path, convert: Callable[..., Source]) -> None:
    write_volume(tmp_path / "ct.nii.gz", volume())
    made = ConvertedCase(segmentation=labels())
    convert(SourceCase("a", (tmp_path / "ct.nii.gz",), convert=lambda: made, labels=True))
    [entry] = import_dataset(tmp_path, tmp_path / "set").manifest.cases
    assert entry.images == ["../ct.nii.gz"]
    assert not (tmp_path / "set" / "images").exists()


def test_a_case_that_cannot_be_converted_is_left_out(tmp_path: Path, convert: Callable[..., Source]) -> None:
    def fails() -> ConvertedCase:
        raise FileError("b.dcm: is broken")

    convert(case("a", ConvertedCase(volume())), SourceCase("b", (), convert=fails))
    report = import_dataset(tmp_path, tmp_path / "set")
    assert [c.id for c in report.manifest.cases] == ["a"]
    assert [str(e) for e in report.failed.values()] == ["b.dcm: is broken"]


def test_labels_off_the_grid_are_refused(tmp_path: Path, convert: Callable[..., Source]) -> None:
    moved = Geometry(GRID.shape, GRID.affine_ras + np.eye(4, k=3) * 5)
    convert(case("a", ConvertedCase(volume(), labels(grid=moved))))
    with pytest.raises(DatasetError, match="case a does not lie on the grid of its image"):
        import_dataset(tmp_path, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_the_parts_decide_whether_it_is_the_same_again(tmp_path: Path, convert: Callable[..., Source]) -> None:
    part = tmp_path / "part.stl"
    part.write_text("one")
    convert(case("a", ConvertedCase(volume(), labels()), parts=(part,)))
    assert not import_dataset(tmp_path, tmp_path / "set").repeated
    assert import_dataset(tmp_path, tmp_path / "set").repeated
    part.write_text("another")
    assert not import_dataset(tmp_path, tmp_path / "set", overwrite=True).repeated


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "/abs/path", "a\nb", "x" * 10_000, "..", "", "\x00", "a/b\\c", "骨折" * 200, "‮gnp"]
)
def test_any_text_becomes_an_id_that_names_one_file(text: str) -> None:
    made = safe_id(text)
    assert Case(id=made, images=["i"]).id == made
    assert safe_id(made) == made


def test_ids_stay_as_people_wrote_them() -> None:
    assert safe_id("Müller 3_left-2.1+b") == "Müller 3_left-2.1+b"
    assert safe_id("x" * 200 + "a") != safe_id("x" * 200 + "b")


def test_options_have_one_spelling_and_one_list_of_names() -> None:
    earlier: Any = "color"
    assert ImportOptions(group=earlier) == ImportOptions() == ImportOptions(group="colour")
    assert ImportOptions(group=earlier, modality="ct", only=["a"]).given() == {"modality": "ct", "only": ["a"]}
    hints = get_type_hints(ImportOptions)
    assert get_type_hints(ImportKeywords) == {field.name: hints[field.name] for field in fields(ImportOptions)}


@pytest.mark.parametrize(("name", "value"), [("group", "colours"), ("mesh_unit", "km"), ("rle_base", 2)])
def test_values_that_an_option_does_not_take_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{flag_of(name)} {value}: not one of its values") as caught:
        ImportOptions(**{name: value})  # type: ignore[arg-type]
    assert caught.value.hint.startswith("use ")


def test_the_command_line_takes_text_and_both_spellings(tmp_path: Path) -> None:
    runner = CliRunner()
    for group in ("color", "colour"):
        done = runner.invoke(
            app, ["import", str(tmp_path), str(tmp_path / "set"), "--form", "meshes", "--group", group]
        )
        assert isinstance(done.exception, UsageError)
        assert "no .stl file" in str(done.exception)
    assert (parse_option("rle_base", "0"), parse_option("priority", "a, b")) == (0, ("a", "b"))
