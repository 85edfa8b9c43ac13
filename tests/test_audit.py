"""The audit finds what was planted in tiny phantoms, and is silent where nothing was."""

from __future__ import annotations

import gc
import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

import osteon
from helpers import add_hashes, correct_in_place, spacing_affine, unpack_label, write_dataset
from osteon.auditing.finding import Finding
from osteon.auditing.rules_duplicates import find_duplicates
from osteon.auditing.rules_positions import find_wrong_order, format_volume
from osteon.auditing.run import Audit
from osteon.cli.main import app
from osteon.core.labels import Structure, make_structures
from osteon.dataset.checks import content_hash
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Manifest, write_manifest
from osteon.formats import read_segmentation

CaseArrays = tuple[np.ndarray, np.ndarray, np.ndarray]
SPINE = make_structures(["upper", "middle", "lower"])
LEGS = make_structures(["femur_left", "femur_right", "pelvis"])
SHAPE = (30, 28, 44)


def spine(seed: int) -> CaseArrays:
    """Three bright boxes above one another, left of the middle, of slightly other sizes and places in each case."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    at = rng.integers(-1, 2, 3)
    for value, low in ((3, 6), (2, 18), (1, 30)):
        grown = rng.integers(0, 2, 3)
        labels[
            6 + at[0] : 15 + at[0] + grown[0],
            9 + at[1] : 20 + at[1] + grown[1],
            low + at[2] : low + 8 + at[2] + grown[2],
        ] = value
    grey = ndimage.gaussian_filter(100.0 + 500 * (labels > 0), 0.7) + rng.normal(0, 15, SHAPE)
    return grey.astype(np.int16), labels, spacing_affine(1, 1, 1)


def cases(count: int = 7) -> dict[str, CaseArrays]:
    return {f"c{number}": spine(number) for number in range(count)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seven spines, audited once."""
    folder = tmp_path_factory.mktemp("spines")
    audit_of(folder, cases())
    return folder


Plant = Callable[..., Audit]


@pytest.fixture
def plant(tmp_path: Path, measured: Path) -> Plant:
    """Audit the spines with `c3` (or another case) made anew; the others are not measured again."""

    def audit(image: np.ndarray, labels: np.ndarray, affine: np.ndarray, name: str = "c3") -> Audit:
        folder = tmp_path / "planted"
        shutil.copytree(measured, folder)
        write_dataset(tmp_path / "alone", {name: (image, labels, affine)}, SPINE, modality="mr")
        for kind in ("images", "labels"):
            (tmp_path / f"alone/{kind}/{name}.nii.gz").replace(folder / f"{kind}/{name}.nii.gz")
        manifest = Dataset.open(folder).manifest
        if name not in [case.id for case in manifest.cases]:
            case = Dataset.open(tmp_path / "alone").manifest.cases[0]
            write_manifest(folder, manifest.model_copy(update={"cases": [*manifest.cases, case]}))
        return osteon.audit(folder, workers=1)

    return audit


def audit_of(
    folder: Path,
    arrays: dict[str, CaseArrays],
    structures: tuple[Structure, ...] = SPINE,
    modality: str = "mr",
    **options: object,
) -> Audit:
    write_dataset(folder, arrays, structures, modality=modality, **options)  # type: ignore[arg-type]
    return osteon.audit(folder, workers=1)


def with_labels(arrays: dict[str, CaseArrays], change: Callable[[np.ndarray], np.ndarray]) -> dict[str, CaseArrays]:
    image, labels, affine = arrays["c3"]
    return {**arrays, "c3": (image, change(labels), affine)}


def relabel(first: int, second: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.where(labels == first, second, np.where(labels == second, first, labels)).astype(np.uint8)


def without(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.where(labels == value, 0, labels).astype(np.uint8)


def split(labels: np.ndarray) -> np.ndarray:
    labels = labels.copy()
    labels[10][labels[10] == 2] = 0
    return labels


def pierce(labels: np.ndarray) -> np.ndarray:
    labels = labels.copy()
    labels[10, 14, 22] = 0
    return labels


def first(result: Audit) -> Finding:
    return result.findings[0]


def test_a_clean_dataset_says_so(measured: Path) -> None:
    result = osteon.audit(measured)
    assert result.findings == []
    assert result.summary() == "7 cases: nothing found that should keep you from training"
    assert "nothing found that should keep you from training" in result.page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "kind", "severity", "structures"),
    [
        (lambda labels: np.roll(labels, 5, axis=0), "shifted", "error", []),
        (lambda labels: np.roll(labels, -4, axis=2), "shifted", "error", []),
        (lambda labels: labels[::-1].copy(), "mirrored", "error", []),
        (relabel(1, 2), "swapped", "error", ["upper", "middle"]),
        (relabel(1, 3), "swapped", "error", ["upper", "lower"]),
        (np.zeros_like, "empty", "error", []),
        (without(2), "missing", "warning", ["middle"]),
        (split, "pieces", "warning", ["middle"]),
        (pierce, "holes", "note", ["middle"]),
    ],
    ids=["right", "down", "mirrored", "neighbours", "ends", "empty", "missing", "pieces", "hole"],
)
def test_a_fault_in_one_label_comes_first(
    plant: Plant, change: Callable[[np.ndarray], np.ndarray], kind: str, severity: str, structures: list[str]
) -> None:
    image, labels, affine = spine(3)
    found = first(plant(image, change(labels), affine))
    assert (found.kind, found.severity, found.cases, found.structures) == (kind, severity, ["c3"], structures)


def cut_out(number: int) -> CaseArrays:
    """One box of a spine, the image 0 everywhere else, its two halves numbered in either order.

    That of `c3` lies beside its mirror image, the others lie over theirs in part.
    """
    image, labels, affine = spine(number)
    labels = np.roll(labels, 2 if number != 3 else -3, axis=0)
    bone = labels == number % 3 + 1
    image = np.where(bone, 300 + 20 * np.arange(SHAPE[2]) + image % 30, 0).astype(np.int16)  # brighter further up
    halves = np.where(np.arange(SHAPE[1])[:, None] < 14, 1 + number % 2, 2 - number % 2)
    return image, np.where(bone, halves, 0).astype(np.uint8), affine


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda labels: labels, set()),
        (lambda labels: labels[::-1].copy(), {"mirrored"}),
        (lambda labels: np.roll(labels, 5, axis=0), {"shifted"}),
    ],
    ids=["as it is", "mirrored", "shifted"],
)
def test_where_a_cut_out_is_empty_no_label_fits_better(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], kinds: set[str]
) -> None:
    fragment = Structure(name="fragment", value=1, colour="#c08040", instances=True, last_value=9)
    arrays = with_labels({f"c{number}": cut_out(number) for number in range(7)}, change)
    found = audit_of(tmp_path, arrays, (fragment,)).findings
    assert {(f.kind, *f.cases) for f in found if f.severity == "error"} == {(kind, "c3") for kind in kinds}


def test_a_shift_is_measured(plant: Plant) -> None:
    image, labels, affine = spine(3)
    found = first(plant(image, np.roll(labels, 5, axis=0), affine))
    assert "5 mm too far right: moved 5 mm left" in found.what


def test_a_wrong_spacing_comes_first(plant: Plant) -> None:
    image, labels, _ = spine(3)
    found = first(plant(image, labels, spacing_affine(1.1, 1.1, 1.1)))
    assert (found.kind, found.severity, found.cases) == ("spacing", "error", ["c3"])
    assert "10% larger" in found.what


def test_a_scan_under_two_names_comes_first(plant: Plant) -> None:
    found = first(plant(*spine(3), "again"))
    assert (found.kind, found.severity, found.cases) == ("duplicate", "error", ["c3", "again"])
    assert "with the same label" in found.what


def test_one_label_for_two_scans(plant: Plant) -> None:
    image, _, affine = spine(30)
    found = {f.kind: f for f in plant(image, spine(3)[1], affine, "other").findings}
    assert found["same-label"].cases == ["c3", "other"]


def test_a_scan_that_was_saved_with_other_numbers_is_nearly_the_same(plant: Plant) -> None:
    image, labels, affine = spine(3)
    noisy = (image + np.random.default_rng(0).integers(0, 2, SHAPE)).astype(np.int16)
    found = {f.kind: f for f in plant(noisy, split(labels), affine, "saved").findings}
    assert found["near-duplicate"].cases == ["c3", "saved"]


def test_reversed_contrast(plant: Plant) -> None:
    image, labels, affine = spine(3)
    found = first(plant((800 - image).astype(np.int16), labels, affine))
    assert (found.kind, found.severity, found.cases) == ("contrast", "error", ["c3"])


def test_air_where_bones_should_be(tmp_path: Path) -> None:
    arrays = {name: ((image - 1100).astype(np.int16), *rest) for name, (image, *rest) in cases(5).items()}
    arrays = {
        name: (np.where(labels > 0, image + 1000, image), labels, affine)
        for name, (image, labels, affine) in arrays.items()
    }
    image, labels, affine = arrays["c3"]
    wrong = {**arrays, "c3": (image - 1000, labels, affine)}
    kinds = {f.kind: f for f in audit_of(tmp_path, wrong, modality="ct").findings}
    assert kinds["air"].severity == "error"
    assert kinds["air"].cases == ["c3"]


def test_ct_without_air(tmp_path: Path) -> None:
    kinds = {f.kind for f in audit_of(tmp_path, {"one": spine(0)}, modality="ct").findings}
    assert "no-air" in kinds


def test_labels_on_every_second_slice(plant: Plant) -> None:
    image, labels, affine = spine(3)
    comb, upper = labels.copy(), np.flatnonzero((labels == 1).any(axis=(0, 1)))
    comb[:, :, upper[0] + 1 :: 2] *= labels[:, :, upper[0] + 1 :: 2] != 1
    found = first(plant(image, comb, affine))
    assert (found.kind, found.severity, found.cases, found.structures) == ("between-slices", "error", ["c3"], ["upper"])
    drawn = len(upper[::2])
    assert found.what == f"drawn on every 2nd slice: upper on {drawn} of {2 * drawn - 1}"


def test_a_forgotten_slice(plant: Plant) -> None:
    image, labels, affine = spine(3)
    upper = np.flatnonzero((labels == 1).any(axis=(0, 1)))
    labels[:, :, upper[3]] = 0
    found = first(plant(image, labels, affine))
    assert found.kind == "pieces"
    assert found.what.endswith(f"; nothing is drawn of upper in slices {upper[3] + 1} along k")


@pytest.mark.parametrize("padding", [62512, -3024, -8192])
def test_ct_with_padding_is_told_from_ct_without_an_intercept(tmp_path: Path, padding: int) -> None:
    image, labels, affine = spine(0)
    i, j = np.indices(SHAPE[:2])
    image = image.astype(np.int32)
    image[(i - 14.5) ** 2 + (j - 13.5) ** 2 > 15**2] = padding
    found = {f.kind: f for f in audit_of(tmp_path, {"one": (image, labels, affine)}, modality="ct").findings}
    assert f"has the value {padding}" in found["padding"].what
    assert "no-air" not in found


def legs(seed: int) -> CaseArrays:
    """The left femur on the patient's left: at lower R."""
    image, labels, affine = np.zeros(SHAPE), np.zeros(SHAPE, np.uint8), spacing_affine(1, 1, 1)
    shift = seed % 3
    labels[3:10, 8:18, 4 + shift : 20 + shift] = 1
    labels[20:27, 8:18, 4 + shift : 20 + shift] = 2
    labels[8:22, 8:18, 26:36] = 3
    image = ndimage.gaussian_filter(400.0 * (labels > 0), 0.7) + np.random.default_rng(seed).normal(0, 10, SHAPE)
    return image.astype(np.int16), labels, affine


def test_left_and_right_exchanged_in_one_case(tmp_path: Path) -> None:
    arrays = {f"c{number}": legs(number) for number in range(5)}
    found = first(audit_of(tmp_path, with_labels(arrays, relabel(1, 2)), LEGS))
    assert (found.kind, found.severity, found.cases) == ("sides", "error", ["c3"])


def test_left_and_right_exchanged_need_no_cohort(tmp_path: Path) -> None:
    image, labels, affine = legs(0)
    result = audit_of(tmp_path, {"one": (image, relabel(1, 2)(labels), affine)}, LEGS)
    assert first(result).kind == "sides"
    assert audit_of(tmp_path / "right", {"one": (image, labels, affine)}, LEGS).clean


def test_left_and_right_exchanged_everywhere(tmp_path: Path) -> None:
    arrays = {f"c{n}": (legs(n)[0], relabel(1, 2)(legs(n)[1]), legs(n)[2]) for n in range(5)}
    found = first(audit_of(tmp_path, arrays, LEGS))
    assert (found.kind, found.cases) == ("sides", [])
    assert "5 of 5 cases" in found.what


def test_what_reaches_the_edge_is_a_note_that_names_the_side(tmp_path: Path) -> None:
    image, labels, affine = spine(0)
    result = audit_of(tmp_path, {"one": (image[:, :, 8:], labels[:, :, 8:], affine)})
    assert [(f.kind, f.structures) for f in result.findings] == [("cut", ["lower"])]
    assert result.findings[0].what.endswith("(I)")


def test_many_notes_about_one_case_become_one(tmp_path: Path) -> None:
    labels = np.zeros((30, 20, 10), np.uint8)
    for number in range(5):
        labels[6 * number : 6 * number + 4, 5:15] = number + 1
    image = (100.0 * labels + np.random.default_rng(0).normal(0, 5, labels.shape)).astype(np.float32)
    structures = make_structures([f"slab{number}" for number in range(5)])
    result = audit_of(tmp_path, {"one": (image[1:], labels[1:], spacing_affine(1, 1, 1))}, structures)
    assert [(f.kind, f.cases, len(f.structures)) for f in result.findings] == [("cut", ["one"], 5)]
    assert "also in 4 more structures" in result.findings[0].what


def test_structures_that_nobody_looked_for_are_not_missing(tmp_path: Path) -> None:
    arrays = with_labels(cases(5), without(2))
    result = audit_of(tmp_path, arrays, annotated={"c3": ["upper", "lower"]})
    assert [f.kind for f in result.findings] == ["not-annotated"]


def test_a_structure_of_one_voxel_is_tiny(plant: Plant) -> None:
    def pruned(labels: np.ndarray) -> np.ndarray:
        labels = np.where(labels == 2, 0, labels).astype(np.uint8)
        labels[10, 14, 22] = 2
        return labels

    image, labels, affine = spine(3)
    kinds = {f.kind: f for f in plant(image, pruned(labels), affine).findings}
    assert kinds["tiny"].cases == ["c3"]
    assert kinds["volume"].structures == ["middle"]


def test_pictures_without_a_spacing_and_with_overlaps(tmp_path: Path) -> None:
    arrays = {}
    for number in range(5):
        labels = np.zeros((2, 40, 30, 1), np.uint8)
        labels[0, 5:20, 5:25] = 1
        labels[1, 15:35, 8 : 22 - number] = 1
        image = 100.0 * labels.sum(axis=0) + np.random.default_rng(number).normal(0, 5, (40, 30, 1))
        arrays[f"hand{number}"] = (image.astype(np.float32), labels, spacing_affine(1, 1, 1))
    result = audit_of(tmp_path, arrays, make_structures(["radius", "ulna"]), "xray", overlapping=True, unit="px")
    assert result.clean
    facts = result.cohort.cases[0]
    assert facts.overlaps == [("radius", "ulna", 5 * 14)]
    assert facts.structures["radius"].volume_mm3 == 15 * 20
    page = result.page.read_text(encoding="utf-8")
    assert "Overlaps" in page
    assert "300 px" in page


def test_no_labels_at_all(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, cases(2), SPINE, modality="mr")
    bare = [case.model_copy(update={"segmentation": None}) for case in dataset.manifest.cases]
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"cases": bare}))
    result = osteon.audit(tmp_path)
    assert [f.kind for f in result.findings] == ["unlabelled"]


def test_a_case_that_cannot_be_read_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    write_dataset(tmp_path, {**cases(2), "c3": spine(3)}, SPINE, modality="mr")
    (tmp_path / "images/c3.nii.gz").write_bytes(b"not an image")
    result = osteon.audit(tmp_path)
    assert list(result.failed) == ["c3"]
    assert (first(result).kind, first(result).cases) == ("unreadable", ["c3"])
    assert len(result.cohort.cases) == 2


def test_unchanged_cases_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = audit_of(tmp_path, {**cases(2), "c3": spine(3)})
    read: list[str] = []
    load = Dataset.load_image
    monkeypatch.setattr(
        Dataset, "load_image", lambda self, case, **how: (read.append(case.id), load(self, case, **how))[1]
    )
    assert osteon.audit(tmp_path).cohort.cases == before.cohort.cases
    assert read == []
    image, labels, affine = spine(50)
    write_dataset(tmp_path / "new", {"c3": (image, labels, affine)}, SPINE)
    (tmp_path / "new/images/c3.nii.gz").replace(tmp_path / "images/c3.nii.gz")
    osteon.audit(tmp_path)
    assert read == ["c3"]


def test_a_structure_of_one_case_or_of_one_subject_is_named(tmp_path: Path) -> None:
    def lower_in(*ids: str) -> dict[str, CaseArrays]:
        every = cases(6)
        return {
            i: (image, labels if i in ids else without(3)(labels), affine)
            for i, (image, labels, affine) in every.items()
        }

    def found(kind: str) -> list[tuple[list[str], list[str]]]:
        findings = osteon.audit(tmp_path, workers=1).findings
        return [(finding.structures, finding.cases) for finding in findings if finding.kind == kind]

    assert [f.kind for f in audit_of(tmp_path, lower_in("c1")).findings if f.severity != "note"] == ["rare"]
    assert found("rare") == [(["lower"], ["c1"])]
    result = audit_of(tmp_path, lower_in("c1", "c4"))
    assert result.clean
    manifest = Dataset.open(tmp_path).manifest
    shared = [c.model_copy(update={"subject": "p"} if c.id in ("c1", "c4") else {}) for c in manifest.cases]
    write_manifest(tmp_path, manifest.model_copy(update={"cases": shared}))
    assert found("rare") == [(["lower"], ["c1", "c4"])]
    held = [c.model_copy(update={"held_out": c.id in ("c1", "c4")}) for c in manifest.cases]
    write_manifest(tmp_path, manifest.model_copy(update={"cases": held}))
    assert found("held-out-only") == [(["lower"], ["c1", "c4"])]
    assert found("rare") == found("never-seen") == []
    nobody = [c.model_copy(update={"annotated": ["upper", "middle"]}) for c in manifest.cases]
    write_manifest(tmp_path, manifest.model_copy(update={"cases": nobody}))
    audit_of(tmp_path, lower_in(), annotated={case.id: ["upper", "middle"] for case in manifest.cases})
    assert found("never-seen") == [(["lower"], [])]


def test_an_image_that_was_replaced_after_the_import_is_found(tmp_path: Path) -> None:
    audit_of(tmp_path, cases(3))
    dataset = add_hashes(Dataset.open(tmp_path))
    first, last = (dataset.resolve(dataset.manifest.cases[n].images[0]) for n in (0, -1))
    shutil.copyfile(last, first)
    found = osteon.audit(tmp_path)
    replaced = [finding for finding in found.findings if finding.kind == "replaced"]
    assert [finding.cases for finding in replaced] == [[dataset.manifest.cases[0].id]]
    assert any(finding.kind == "duplicate" for finding in found.findings)
    assert content_hash(dataset.load_image(dataset.manifest.cases[-1])) in replaced[0].action


def test_a_label_that_was_corrected_is_measured_anew_also_where_size_and_time_stay(tmp_path: Path) -> None:
    audit_of(tmp_path, cases(2))
    dataset, label = unpack_label(Dataset.open(tmp_path), Dataset.open(tmp_path).manifest.cases[0].id)
    before = osteon.audit(tmp_path).cohort.cases[0].structures
    value = dataset.structures[0].value
    array = read_segmentation(label).array
    correct_in_place(label, np.where(array == value, 0, array))
    assert sorted(osteon.audit(tmp_path).cohort.cases[0].structures) == sorted({*before} - {dataset.structures[0].name})


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    bad = "<script>alert(1)<&"
    image, labels, affine = spine(0)
    structures = make_structures([bad + "s", "b", "c"])
    result = audit_of(tmp_path, {"ok": (image, split(labels), affine)}, structures)
    manifest = Dataset.open(tmp_path).manifest
    case = manifest.cases[0].model_copy(update={"id": bad.replace("/", "")})
    renamed = Manifest.model_validate({**manifest.model_dump(), "name": bad, "cases": [case.model_dump()]})
    write_manifest(tmp_path, renamed)
    page = osteon.audit(tmp_path).page.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;&amp;s" in page
    assert result.page.parent == tmp_path / "audit"


def test_the_page_asks_nothing_of_any_network(tmp_path: Path) -> None:
    page = audit_of(tmp_path, cases(2)).page.read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/jpeg;base64,") == 2


def test_the_json_holds_findings_and_measurements(plant: Plant) -> None:
    image, labels, affine = spine(3)
    audit = json.loads(plant(image, split(labels), affine).page.with_name("audit.json").read_text(encoding="utf-8"))
    assert audit["counts"] == {"error": 0, "warning": 1, "note": 0}
    assert audit["findings"][0]["cases"] == ["c3"]
    assert audit["cases"][0]["structures"]["upper"]["pieces"] == [int((spine(0)[1] == 1).sum())]


def test_the_command_says_what_it_found(plant: Plant) -> None:
    image, labels, affine = spine(3)
    folder = plant(image, relabel(1, 2)(labels), affine).page.parent.parent
    done = CliRunner().invoke(app, ["audit", str(folder)])
    assert done.exit_code == 0
    assert "upper and middle seem to be exchanged" in done.stdout
    assert done.stdout.index("error") < done.stdout.index("written: ")


def test_the_command_ends_with_1_where_a_case_cannot_be_read(tmp_path: Path) -> None:
    write_dataset(tmp_path, cases(2), SPINE, modality="mr")
    (tmp_path / "labels/c1.nii.gz").unlink()
    assert CliRunner().invoke(app, ["audit", str(tmp_path)]).exit_code == 1


def test_real_spines(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "spine-mr-lumbar/pairs.txt"
    only = [f"lumbar_{case}" for case in ("03", "31", "36")]
    osteon.import_dataset(source, tmp_path / "spines", modality="mr", only=",".join(only))
    result = osteon.audit(tmp_path / "spines", workers=1)
    assert [(f.kind, f.cases) for f in result.findings] == [("pieces", ["lumbar_31"]), ("holes", ["lumbar_36"])]
    assert "2 pieces: 22746 voxels (56%), 17578 voxels (44%)" in first(result).what
    assert "a hole, 1 voxel" in result.findings[1].what


def test_every_kind_of_finding_is_described() -> None:
    root = Path(__file__).parents[1]
    sources = [path.read_text(encoding="utf-8") for path in (root / "src/osteon/auditing").glob("*.py")]
    kinds = {
        kind for text in sources for line in re.findall(r"kind=(.*)", text) for kind in re.findall(r'"([\w-]+)"', line)
    }
    described = re.findall(
        r"^\| `([\w-]+)` \| (?:error|warning|note)", (root / "docs/audit.md").read_text(), re.MULTILINE
    )
    assert sorted(described) == sorted(kinds)


@pytest.mark.parametrize(
    ("gaps", "found"),
    [
        ([30, 31, 29, 30, 32, 28, 30, -30], ["swapped"]),  # vertebrae: the last two are exchanged
        ([38, 19, 51, 13, 29, 42, 10, -18], []),  # two fingers: one bent further
    ],
)
def test_an_order_that_varies_is_no_order(gaps: list[float], found: list[str]) -> None:
    def case(number: int, gap: float) -> Any:
        places = {"a": SimpleNamespace(centre_ras=(0, 0, 0)), "b": SimpleNamespace(centre_ras=(0, 0, gap))}
        return SimpleNamespace(id=f"c{number}", unit="px", structures=places)

    manifest = SimpleNamespace(structures=make_structures(["a", "b"]))
    cohort: Any = SimpleNamespace(manifest=manifest, labelled=[case(*row) for row in enumerate(gaps)])
    assert [finding.kind for finding in find_wrong_order(cohort)] == found


def test_many_alike_cases_are_one_finding_and_no_table_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(300, 1728))
    duplicates_of = {n: n % 3 for n in range(240) if n % 3 != 2}  # two scans, each under 80 names, among 140 others
    for number, scan in duplicates_of.items():
        pictures[number] = pictures[280 + scan] + rng.normal(size=1728) * 0.02
    pictures = (pictures - pictures.mean(1, keepdims=True)) / pictures.std(1, keepdims=True)

    def case(number: int, content: int) -> Any:
        return SimpleNamespace(
            id=f"c{number}",
            content=str(content),
            label_content=None,
            shape=(9, 9, 9),
            thumbnail=pictures[number].tolist(),
        )

    cases = [case(number, number) for number in range(300)]
    cases[6] = case(0, 0)  # the same file under two names
    cases[6].id = "c6"
    monkeypatch.setattr("osteon.auditing.rules_duplicates.BLOCK", 3000)
    tracemalloc.start()
    cohort: Any = SimpleNamespace(cases=cases)
    kinds = [(finding.kind, finding) for finding in find_duplicates(cohort)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = [finding for kind, finding in kinds if kind == "near-duplicate"]
    assert [kind for kind, _ in kinds] == ["duplicate", "near-duplicate", "near-duplicate"]
    expected = [
        [f"c{n}" for n in [*(n for n, own in duplicates_of.items() if own == scan), 280 + scan]] for scan in (0, 1)
    ]
    assert [finding.cases for finding in found] == expected
    assert found[0].what.startswith("c0, c3, c6, c9, c12, c15, c18, c21 and 73 more look nearly the same, each as")
    assert re.search(r"correlate with 0\.99\d\d to 0\.99\d\d$", found[0].what)
    assert peak < 1.5 * 4 * pictures.size  # the pictures once, as float32


def test_of_each_case_little_is_held(tmp_path: Path) -> None:
    def held(count: int) -> int:
        folder = tmp_path / str(count)
        audit_of(folder, cases(count))
        tracemalloc.start()
        result = osteon.audit(folder, workers=1)
        gc.collect()
        assert len(result.cohort.cases) == len(result.cohort.profiles) == count
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size

    held(1)  # what is imported and compiled once
    assert held(26) - held(6) < 20 * 20_000  # bytes; the coarse image of 12³ floats alone takes 7,000


def test_amounts_are_volumes_and_of_pictures_areas() -> None:
    def case(unit: str, shape: tuple[int, int, int]) -> Any:
        return SimpleNamespace(unit=unit, shape=shape, spacing=(0.5, 2.0, 0.5))

    assert format_volume(1234.0, case("mm", (9, 9, 9))) == "1.23 cm³"
    assert format_volume(12.0, case("mm", (9, 9, 9))) == "12 mm³"
    assert format_volume(1234.0, case("mm", (9, 1, 9))) == "617 mm²"
    assert format_volume(1234.0, case("px", (9, 1, 9))) == "1234 px"
