"""What is measured on the cases."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from helpers import box, correct_in_place, spacing_affine, two_boxes, unpack_label, write_dataset
from osteon.core.errors import DatasetError
from osteon.core.labels import make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.formats import write_volume
from osteon.planning import fingerprint as module
from osteon.planning.fingerprint import CaseFacts, Fingerprint, StructureFacts, measure_fingerprint
from osteon.planning.planner import make_plan
from osteon.planning.sequences import (
    describe_broken_rows,
    describe_other_sequences,
    find_fixed_order,
    find_sequence,
    find_sequences,
    sequence_margin_mm,
    sequence_measures,
)


def test_one_case_is_measured_exactly(tmp_path: Path) -> None:
    labels = box((6, 5, 4), (3, (slice(1, 3), slice(1, 4), slice(0, 2))), (5, (slice(4, 6), slice(2, 3), slice(3, 4))))
    image = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    facts = measure_fingerprint(write_dataset(tmp_path, {"a": (image, labels, spacing_affine(0.5, 2, 3))})).cases[0]
    assert (facts.id, facts.shape, facts.unit) == ("a", (6, 5, 4), "mm")
    assert facts.spacing_mm == pytest.approx((0.5, 2, 3))
    assert {name: part.voxels for name, part in facts.structures.items()} == {"femur": 12, "tibia": 2}
    assert facts.structures["femur"].centre_mm == pytest.approx((1.5 * 0.5, 2 * 2, 0.5 * 3))
    assert facts.structures["tibia"].centre_mm == pytest.approx((4.5 * 0.5, 2 * 2, 3 * 3))
    assert facts.intensities == [sorted(image[labels > 0].tolist())]


def test_axes_are_turned_to_ras_first(tmp_path: Path) -> None:
    image, labels, affine = two_boxes((12, 10, 8), (1, 2, 3))
    turned = np.zeros((4, 4))  # the array's axes run S, L, A
    turned[2, 0], turned[0, 1], turned[1, 2], turned[3, 3] = affine[2, 2], -affine[0, 0], affine[1, 1], 1
    turned[:3, 3] = affine[:3, 3] + [affine[0, 0] * 11, 0, 0]
    other = (image[::-1].transpose(2, 0, 1).copy(), labels[::-1].transpose(2, 0, 1).copy(), turned)
    first, second = measure_fingerprint(write_dataset(tmp_path, {"a": (image, labels, affine), "b": other})).cases
    assert second.shape == first.shape
    assert second.spacing_mm == pytest.approx(first.spacing_mm)
    assert second.intensities == first.intensities
    for name in ("femur", "tibia"):
        assert second.structures[name].centre_mm == pytest.approx(first.structures[name].centre_mm)


def test_overlapping_structures_are_counted_apart(tmp_path: Path) -> None:
    image, labels, affine = two_boxes()
    both = np.stack([labels > 0, labels == 5]).astype(np.uint8)
    facts = measure_fingerprint(write_dataset(tmp_path, {"a": (image, both, affine)}, overlapping=True)).cases[0]
    assert facts.structures["femur"].voxels == np.count_nonzero(labels)
    assert facts.structures["tibia"].voxels == np.count_nonzero(labels == 5)
    assert len(facts.intensities[0]) == np.count_nonzero(labels)


def test_every_case_gives_equally_many_intensities_spread_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTENSITY_SAMPLES", 10)
    labels = np.full((4, 5, 5), 3, dtype=np.uint8)
    labels[0, 0, 0] = 5
    image = np.arange(100, dtype=np.int16).reshape(4, 5, 5)
    facts = measure_fingerprint(write_dataset(tmp_path, {"a": (image, labels, np.eye(4))})).cases[0]
    assert facts.intensities == [[0, 11, 22, 33, 44, 55, 66, 77, 88, 99]]


def test_small_numbers_keep_their_digits(tmp_path: Path) -> None:
    image, labels, affine = two_boxes()
    facts = measure_fingerprint(
        write_dataset(tmp_path, {"a": ((image * 1e-7).astype(np.float32), labels, affine)})
    ).cases[0]
    found = (image * 1e-7).astype(np.float32)[labels > 0]
    np.testing.assert_allclose(facts.intensities[0], found, rtol=1e-5)


def test_unchanged_cases_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes(), "b": two_boxes(seed=1)})
    before = measure_fingerprint(dataset)
    measured = []
    plain = module._measure_case
    monkeypatch.setattr(module, "_measure_case", lambda work: measured.append(work[1].id) or plain(work))
    assert measure_fingerprint(dataset) == before
    assert measured == []
    # Somebody corrects a label: same name, same size perhaps, another time.
    write_dataset(tmp_path / "new", {"b": two_boxes((12, 10, 6))})
    for name in ("labels/b.nii.gz", "images/b.nii.gz"):
        (tmp_path / "new" / name).replace(tmp_path / name)
    assert measure_fingerprint(dataset).cases[1].shape == (12, 10, 6)
    assert measured == ["b"]
    (tmp_path / "fingerprint.json").write_text("{ half", encoding="utf-8")
    assert len(measure_fingerprint(dataset).cases) == 2
    assert measured == ["b", "a", "b"]


def test_a_file_that_was_written_again_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes(), "b": two_boxes(seed=1)})
    measure_fingerprint(dataset)
    measured = []
    plain = module._measure_case
    monkeypatch.setattr(module, "_measure_case", lambda work: measured.append(work[1].id) or plain(work))
    os.utime(tmp_path / "labels/a.nii.gz", ns=(1, 1))  # touched only
    measure_fingerprint(dataset)
    assert measured == []
    dataset, label = unpack_label(dataset, "b")
    measure_fingerprint(dataset)
    correct_in_place(label, np.where(dataset.load_segmentation(dataset.case("b")).array == 3, 5, 0))
    facts = measure_fingerprint(dataset).cases[1]
    assert measured == ["b", "b"]
    assert list(facts.structures) == ["tibia"]


def test_a_renamed_structure_is_found_under_its_new_name(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {name: two_boxes(seed=n) for n, name in enumerate("ab")})
    for case in dataset.manifest.cases:  # label files without names: the manifest alone says what 3 and 5 are
        labels = dataset.load_segmentation(case)
        write_volume(dataset.resolve(case.segmentation or ""), Volume(labels.array[None], labels.geometry))
    measure_fingerprint(dataset)
    renamed = [dataset.structures[0].model_copy(update={"name": "hip"}), dataset.structures[1]]
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"structures": renamed}))
    dataset = Dataset.open(tmp_path)
    plan = make_plan(dataset, measure_fingerprint(dataset), device="cpu")
    assert [structure.name for structure in plan.structures] == ["hip", "tibia"]


def test_a_failing_case_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes(), "b": two_boxes(), "c": two_boxes()})
    (tmp_path / "images/b.nii.gz").write_bytes(b"nothing")
    found = measure_fingerprint(dataset)
    assert [case.id for case in found.cases] == ["a", "c"]
    assert list(found.failed) == ["b"]
    assert "b.nii.gz" in found.failed["b"]


def test_no_usable_case_is_an_error_that_gives_the_reason(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes()})
    (tmp_path / "labels/a.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"(?s)no labelled case can be used.*a\.nii\.gz"):
        measure_fingerprint(dataset)


def test_cases_held_out_are_never_read(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes(), "b": two_boxes()})
    held = dataset.manifest.cases[1].model_copy(update={"held_out": True})
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"cases": [dataset.manifest.cases[0], held]}))
    (tmp_path / "images/b.nii.gz").unlink()
    found = measure_fingerprint(Dataset.open(tmp_path))
    assert ([case.id for case in found.cases], found.failed) == (["a"], {})


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    cases = {"a": two_boxes(), "b": two_boxes(seed=1)}
    one = measure_fingerprint(write_dataset(tmp_path / "one", cases))
    two = measure_fingerprint(write_dataset(tmp_path / "two", cases), workers=2)
    parts = {"shape", "spacing_mm", "structures", "intensities", "id"}
    assert [c.model_dump(include=parts) for c in one.cases] == [c.model_dump(include=parts) for c in two.cases]


# -- the order of structures -----------------------------------------------------------------------------------------


def facts(places: dict[str, float], name: str = "a") -> CaseFacts:
    return CaseFacts(
        id=name,
        shape=(50, 50, 50),
        spacing_mm=(2, 2, 2),
        unit="mm",
        structures={s: StructureFacts(voxels=5, centre_mm=(mm, 0, 0), extent_mm=(1, 1, 1)) for s, mm in places.items()},
        intensities=[[1, 2]],
    )


def order(*cases: dict[str, float], partners: dict[str, str] | None = None) -> tuple[str, str, int] | None:
    return find_fixed_order(Fingerprint(cases=[facts(c) for c in cases]), 0, partners or {})


def test_an_order_that_is_always_kept_is_found() -> None:
    assert order(*[{"a": 10.0, "b": 20.0 + n} for n in range(3)]) == ("a", "b", 3)
    assert order(*[{"a": 30.0, "b": 20.0 - n} for n in range(4)]) == ("a", "b", 4)


def test_an_order_needs_three_cases_all_alike_and_two_voxels() -> None:
    assert order({"a": 10, "b": 20}, {"a": 10, "b": 20}) is None
    assert order({"a": 10, "b": 20}, {"a": 10, "b": 20}, {"a": 30, "b": 20}) is None
    assert order({"a": 10, "b": 20}, {"a": 10, "b": 20}, {"a": 10, "b": 13.9}) is None
    assert order({"a": 10, "b": 20}, {"a": 10, "b": 20}, {"a": 10, "b": 14}) is not None
    assert order({"a": 10, "b": 20}, {"a": 10, "b": 20}, {"a": 10}) is None


def test_sides_that_swap_keep_their_order_on_a_mirror() -> None:
    knees = {"femur_l": 10.0, "tibia_l": 14.0, "spine": 50.0, "tibia_r": 86.0, "femur_r": 90.0}
    partners = {"femur_l": "femur_r", "femur_r": "femur_l", "tibia_l": "tibia_r", "tibia_r": "tibia_l"}
    assert order(knees, knees, knees, partners=partners) is None
    assert order(knees, knees, knees) is not None
    heart = {**knees, "heart": 40.0}
    assert order(heart, heart, heart, partners=partners) == ("heart", "spine", 3)
    assert make_structures(["femur_l", "femur_r"])[0].counterpart == "femur_r"


def spine(order: str, sizes: tuple[int, ...] = (40, 44, 50)) -> CaseFacts:
    """Bodies named by the letters of `order`, 30 mm one above the other."""
    bodies = {
        name: StructureFacts(voxels=sizes["abc".index(name)], centre_mm=(5.0, 5.0, 30.0 * place), extent_mm=(1, 1, 1))
        for place, name in enumerate(order)
    }
    return CaseFacts(id=order, shape=(9, 9, 99), spacing_mm=(1, 1, 1), unit="mm", structures=bodies, intensities=[[]])


def of(*cases: CaseFacts) -> Fingerprint:
    return Fingerprint(cases=list(cases))


def test_a_series_looks_alike_and_keeps_its_order() -> None:
    assert find_sequence(of(spine("abc"), spine("abc"), spine("abc")), 2) == ["a", "b", "c"]
    assert find_sequence(of(spine("cba"), spine("cba"), spine("cba")), 2) == ["c", "b", "a"]
    assert find_sequence(of(spine("abc"), spine("abc"), spine("abc")), 0) == []  # side by side they are not
    assert find_sequence(of(spine("abc"), spine("abc"), spine("acb")), 2) == []  # once they change places
    assert find_sequence(of(*[spine("abc", (40, 44, 90))] * 3), 2) == []  # one is more than twice as large
    assert find_sequence(of(*[spine("ab")] * 3), 2) == []  # two are no series


def test_the_margin_is_what_a_scan_leaves_beyond_a_series() -> None:
    long = spine("abc").model_copy(update={"shape": (9, 9, 130)})
    assert sequence_margin_mm(of(spine("abc"), spine("ab"), long), 2, ["a", "b", "c"]) == 20  # (130 − 3 · 30) / 2
    short = spine("abc").model_copy(update={"shape": (9, 9, 80)})
    assert sequence_margin_mm(of(short), 2, ["a", "b", "c"]) == 0
    assert sequence_margin_mm(of(spine("ab")), 2, ["a", "b", "c"]) == 0


def column(*names: str, steps: float = 30.0, **others: int) -> CaseFacts:
    """Vertebrae one below the other, and other structures of so many voxels above them all."""
    bodies = {
        name: StructureFacts(voxels=40, centre_mm=(5.0, 5.0, 500 - steps * place), extent_mm=(1, 1, 1))
        for place, name in enumerate(names)
    }
    bodies |= {
        name: StructureFacts(voxels=voxels, centre_mm=(5.0, 5.0, 900.0), extent_mm=(1, 1, 1))
        for name, voxels in others.items()
    }
    return CaseFacts(id="x", shape=(9, 9, 999), spacing_mm=(1, 1, 1), unit="mm", structures=bodies, intensities=[[]])


def test_a_series_among_other_structures_is_known_by_its_names() -> None:
    upper, lower = column("T10", "T11", "T12", "L1", sacrum=400), column("T12", "L1", "L2", "L3", skull=900)
    cohort = of(*[upper] * 3, *[lower] * 3)
    assert find_sequence(cohort, 2) == ["L3", "L2", "L1", "T12", "T11", "T10"]  # no case shows all of them
    assert find_sequence(cohort, 0) == []
    assert find_sequence(of(*[column("T10", "T12", "T11", "L1", sacrum=400)] * 3), 2) == []  # not in their order
    assert find_sequence(of(*[column("T10", "T11", "T12", sacrum=400)] * 2), 2) == []  # two cases are too few
    assert find_sequence(of(*[column("tibia", "femur", "fibula", sacrum=400)] * 3), 2) == []
    ribs = column("rib_left_9", "rib_left_10", "rib_left_11", "rib_right_9", "rib_right_10", sacrum=400)
    assert find_sequence(of(*[ribs] * 3), 2) == ["rib_left_11", "rib_left_10", "rib_left_9"]


def chest(ribs: int, vertebrae: int, beside: tuple[float, float, float]) -> CaseFacts:
    """Vertebrae one below the other, and beside each a rib that looks as large, a little lower."""
    bodies = {}
    for name, count, place in (("T", vertebrae, (0.0, 0.0, 0.0)), ("rib_left_", ribs, beside)):
        for n in range(count):
            centre = (200 + place[0], 200 + place[1], 500 - 30.0 * n + place[2])
            bodies[f"{name}{n + 1}"] = StructureFacts(voxels=40, centre_mm=centre, extent_mm=(1, 1, 1))
    return CaseFacts(id="x", shape=(9, 9, 999), spacing_mm=(1, 1, 1), unit="mm", structures=bodies, intensities=[[]])


@pytest.mark.parametrize(("ribs", "vertebrae"), [(12, 5), (3, 5), (4, 4)])
def test_two_series_are_not_mixed_and_the_longest_comes_first(ribs: int, vertebrae: int) -> None:
    cohort = of(*[chest(ribs, vertebrae, (-60, -20, -12))] * 3)
    rib_names, bodies = [f"rib_left_{n}" for n in range(ribs, 0, -1)], [f"T{n}" for n in range(vertebrae, 0, -1)]
    longest, other = (rib_names, bodies) if ribs > vertebrae else (bodies, rib_names)
    assert find_sequences(cohort) == [(2, longest), (2, other)]
    assert find_sequence(cohort, 2) == longest
    assert describe_other_sequences(cohort, longest) == [
        f"{other[0]} … {other[-1]} are a series along S, too: a plan has one, the longest, and these names are learnt "
        "as classes"
    ]


def test_rows_of_fingers_are_several_series() -> None:
    """Each keeps its order along both axes of the hand."""
    fingers = enumerate(("index", "middle", "ring"))
    places = {f"{name}_{n}": (40.0 * f + 4 * n, 5.0, 30.0 * n + 2 * f) for f, name in fingers for n in (1, 2, 3)}
    bones = {name: StructureFacts(voxels=40, centre_mm=place, extent_mm=(1, 1, 1)) for name, place in places.items()}
    hand = chest(0, 0, (0, 0, 0)).model_copy(update={"structures": bones})
    assert [names for _, names in find_sequences(of(*[hand] * 3))] == [
        [f"{name}_{n}" for n in (1, 2, 3)] for name in ("index", "middle", "ring")
    ]


def test_what_the_edge_leaves_of_a_body_breaks_no_row() -> None:
    whole = column("L1", "L2", "L3", "L4")
    sliver = whole.structures["L1"].model_copy(update={"voxels": 3, "centre_mm": (5.0, 5.0, 471.0)})
    cut = whole.model_copy(update={"structures": whole.structures | {"L1": sliver}})
    assert find_sequence(of(*[whole] * 3, cut), 2) == ["L4", "L3", "L2", "L1"]
    assert describe_broken_rows(of(*[whole] * 3, cut)) == []


def test_labels_that_break_a_row_are_named() -> None:
    right, wrong = column("L1", "L2", "L3", "L4", "L5"), column("L1", "L3", "L2", "L4", "L5")
    cohort = of(*[right] * 4, wrong.model_copy(update={"id": "spine_7"}))
    assert find_sequence(cohort, 2) == []
    (warning,) = describe_broken_rows(cohort)
    assert warning.startswith("L1 … L5 are no series")
    assert "in case spine_7 L2 and L3 have changed places along S;" in warning
    assert describe_broken_rows(of(*[right] * 4)) == []
    assert describe_broken_rows(of(*[column("tibia", "femur", "fibula")] * 3)) == []


def test_each_pair_of_neighbours_has_its_distance() -> None:
    cohort = of(*[column("T11", "T12", "L1", steps=25.0)] * 3, *[column("L1", "L2", "L3", steps=36.0)] * 2)
    distances, volume = sequence_measures(cohort, ["T11", "T12", "L1", "L2", "L3", "L4"])
    assert distances == [25.0, 25.0, 36.0, 36.0, 25.0]  # no case shows L3 and L4 together
    assert volume == 40
