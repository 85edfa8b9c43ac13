"""Made-up thoracic and lumbar spines: counts, exceptions, cut ends, ribs, sizes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from osteon.formats import read_segmentation, read_volume
from osteon.importing.options import ImportOptions
from osteon.importing.pairs import read
from osteon.phantoms.long_column import ANATOMIES, NECK, draw_long_column
from osteon.phantoms.record import SOURCE
from osteon.phantoms.registry import make_request, write_phantoms
from osteon.phantoms.spine import LEVELS, draw_exception
from phantom_checks import best_threshold_dice

CASES = 2 * len(ANATOMIES)
REQUEST = make_request("spine", cases=CASES, seed=2, size=64, variants="all")


@pytest.fixture(scope="module")
def spines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    write_phantoms(folder, REQUEST)
    return folder


@pytest.fixture(scope="module")
def recorded(spines: Path) -> dict[str, dict]:
    return json.loads((spines / "truth.json").read_text())["cases"]


def test_the_list_names_pairs_that_agree_with_the_truth(spines: Path, recorded: dict[str, dict]) -> None:
    found = read(spines / SOURCE, ImportOptions(modality="mr"))
    assert [case.id for case in found.cases] == list(recorded)
    for case in found.cases:
        assert case.label is not None
        label = read_volume(case.label)
        assert (label.array[0] == read_segmentation(spines / recorded[case.id]["labels"]).array).all()


def test_each_exception_in_turn_is_told_and_drawn(recorded: dict[str, dict]) -> None:
    assert [row["exception"] for row in recorded.values()] == [*ANATOMIES, *ANATOMIES]
    for row in recorded.values():
        anatomy = ANATOMIES[row["exception"]]
        assert (row["thoracic"], row["lumbar"]) == (anatomy.thoracic, anatomy.lumbar)
        assert 7 <= len(row["names"]) - list(row["cut"].values()).count(0.0) <= 14
        if row["exception"].endswith(("lumbar", "fused")):
            assert row["names"][-1] == f"L{anatomy.lumbar}"
        if row["exception"].endswith("thoracic"):
            assert row["names"][0] == "T1"
            assert {f"T{anatomy.thoracic}", "L1"} <= {*row["names"]}


def test_names_are_in_order_without_a_gap_and_ends_are_cut(spines: Path, recorded: dict[str, dict]) -> None:
    values = {s.name: s.value for s in LEVELS}
    for row in recorded.values():
        names = ANATOMIES[row["exception"]].names
        first = names.index(row["names"][0])
        assert row["names"] == names[first : first + len(row["names"])]
        truth = read_segmentation(spines / row["labels"])
        assert {values[name] for name in row["names"]} == {*np.unique(truth.array)} - {0}
        whole = [name for name in row["names"] if name not in row["cut"]]
        places = [truth.geometry.to_world(np.argwhere(truth.array == values[n]))[:, 2].mean() for n in whole]
        assert all(below < above - 12 for above, below in pairwise(places))
        assert len(whole) >= 6
        assert all(name in (*row["names"][:3], *row["names"][-2:]) for name in row["cut"])
    assert sum(0.05 < part < 0.95 for row in recorded.values() for part in row["cut"].values()) >= CASES / 2


def test_vertebrae_grow_downwards(recorded: dict[str, dict]) -> None:
    for row in recorded.values():
        sizes = [row["volume_cm3"][name] for name in row["names"] if name not in row["cut"]]
        assert sizes[-1] > 1.3 * sizes[0]


def test_ribs_end_above_l1_or_on_it() -> None:
    for exception, anatomy in ANATOMIES.items():
        column = draw_long_column(np.random.default_rng(3), anatomy)
        ribs = {v.name: v.rib_mm for v in column.vertebrae}
        assert all((reach > 0) == (name[0] == "T") for name, reach in ribs.items() if name != "L1")
        assert (ribs["L1"] > 0) == anatomy.ribs_on_l1
        assert ribs["L1"] < ribs[f"T{anatomy.thoracic}"] < ribs["T5"]
        assert [v.name for v in column.vertebrae[NECK:]] == anatomy.names, exception


def test_ribs_are_seen_and_have_no_label(spines: Path, recorded: dict[str, dict]) -> None:
    case = "spine_001"
    image = read_volume(spines / SOURCE / f"images/{case}_image.nrrd").array[0].astype(float)
    truth = read_segmentation(spines / recorded[case]["labels"])
    kind = draw_exception(rng := REQUEST.rng(0), 0, REQUEST)
    whole = {v.name: v for v in draw_long_column(rng, ANATOMIES[kind]).vertebrae}
    world = truth.geometry.to_world(np.indices(truth.geometry.shape).reshape(3, -1).T).T.astype(np.float32)
    for name in ("T11", "T12"):
        own = whole[name].to_local(world)
        depth, bone = whole[name].ribs(own), whole[name].distance(own)
        assert depth is not None
        rib = ((depth < -1) & (bone > 4)).reshape(truth.array.shape)
        around = ((depth > 3) & (depth < 6) & (bone > 6)).reshape(truth.array.shape)
        assert rib.sum() > 12
        assert (truth.array[rib] == 0).mean() > 0.98
        assert image[rib].mean() > 1.3 * np.median(image[around])


def test_exceptions_are_as_rare_as_in_people() -> None:
    people = make_request("spine", cases=600, seed=0, variants="people")
    drawn = [draw_exception(people.rng(n), n, people) for n in range(600)]
    assert 0.05 < np.mean([kind != "" for kind in drawn]) < 0.11
    assert {*drawn} == {*ANATOMIES}


def test_a_threshold_does_not_find_the_vertebrae(spines: Path, recorded: dict[str, dict]) -> None:
    image = read_volume(spines / SOURCE / "images/spine_002_image.nrrd").array[0]
    assert best_threshold_dice(image, read_segmentation(spines / recorded["spine_002"]["labels"]).array > 0) < 0.6
