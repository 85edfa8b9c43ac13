"""Pieces of a structure: what the network is to answer, how they are parted, and the way from files to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import FLAT, tiny_plan, write_dataset
from osteon.core.errors import PlanError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.exporting.model_files import export_model
from osteon.formats import read_segmentation
from osteon.networks.registry import build_network
from osteon.networks.transfer import transfer
from osteon.plan.outputs import encode_pieces, output_layout
from osteon.plan.schema import Plan
from osteon.planning.fingerprint import Fingerprint, measure_fingerprint
from osteon.planning.spacing import coarser_spacing, label_fidelity
from osteon.predicting.memory import scan_bytes
from osteon.predicting.pieces import MIN_PIECE, find_pieces, keep_pieces, number_pieces
from osteon.predicting.postprocessing import Postprocessing, PostprocessingStep, apply_postprocessing
from osteon.preparing.cache import prepare_cases
from osteon.preparing.case import prepare_pieces
from osteon.preparing.strategies import grid_strategy
from osteon.runs import fit
from osteon.runs.options import TrainOptions
from osteon.runs.postprocessing_search import _candidates, _ReferenceFacts
from osteon.training.augmenting.spatial import mirror_patches
from osteon.training.losses import deep_supervision_loss
from osteon.training.sampling import PatchSampler
from osteon.training.targets import make_targets

HUMERUS = {"name": "humerus", "value": 1, "colour": "#ff0000", "instances": True, "last_value": 40}
SCAPULA = {"name": "scapula", "value": 50, "colour": "#00ff00"}
STRUCTURES = tuple(Structure.model_validate(row) for row in (HUMERUS, SCAPULA))
SHAPE = (12, 12, 40)
EVERYTHING = torch.ones(1, 2, dtype=torch.bool)


def plan(**changes: Any) -> Plan:
    return tiny_plan({"structures": [HUMERUS, SCAPULA], **changes})


def cube(start: int, stop: int) -> tuple[slice, slice, slice]:
    return slice(2, 10), slice(2, 10), slice(start, stop)


def outputs(*pieces: tuple[int, int], core: bool = True) -> torch.Tensor:
    """What a network might say of pieces that lie side by side; cores keep two voxels away from their ends."""
    array = np.full((4, *SHAPE), 1e-3, np.float32)
    array[0] = 1
    for start, stop in pieces:
        array[(0, *cube(start, stop))], array[(1, *cube(start, stop))] = 0, 1
        if core:
            array[(3, *cube(start + 2, stop - 2))] = 0.94
    return torch.from_numpy(array)


def numbers(values: torch.Tensor, how: Plan, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """The result for a scan on the plan's grid, or over the same extent."""
    step = np.array(SHAPE) / np.array(shape)
    labels = np.zeros(SHAPE, np.uint8)
    labels[(values[1] > 0.5).numpy()] = 1
    labels = labels[tuple(np.ix_(*((np.arange(n) * s).astype(int) for n, s in zip(shape, step, strict=True))))]
    scan = Segmentation(labels, Geometry(shape, np.diag([*step, 1.0])), tuple(how.structures))
    return number_pieces(scan, find_pieces(values, how), how).array


def test_one_channel_is_for_the_cores() -> None:
    layout = output_layout(plan())
    assert (layout.classes, layout.core, layout.levels, layout.total) == (3, 3, 0, 4)
    assert layout.instances == (0,)
    logits = torch.randn(2, 4, 4, 4, 4)
    made = grid_strategy(plan()).activate(logits.clone())
    torch.testing.assert_close(made[:, :3], logits[:, :3].softmax(1))
    torch.testing.assert_close(made[:, 3], logits[:, 3].sigmoid())


def test_cores_keep_away_from_other_pieces_and_structures_alone() -> None:
    labels = torch.zeros((1, *SHAPE), dtype=torch.long)
    for start, stop, code in ((0, 10, 1), (10, 20, 1 + 3), (25, 32, 1 + 6), (32, 40, 2)):
        labels[(0, *cube(start, stop))] = code  # pieces 0, 1 and 2 of the humerus, and the scapula
    targets = make_targets(labels, EVERYTHING, plan())
    assert targets.cores is not None
    assert targets.labels.unique().tolist() == [0, 1, 2]
    middle = targets.cores.core[0, 5, 5].tolist()
    assert middle == [1] * 8 + [0] * 4 + [1] * 8 + [0] * 5 + [1] * 5 + [0] * 10
    assert targets.cores.core[0, 2, 2, 0] == 1  # beside the background it goes to the edge
    assert torch.equal(targets.cores.known, targets.labels == 1)  # elsewhere the classes decide


def test_right_cores_cost_nothing() -> None:
    labels = torch.zeros((1, *SHAPE), dtype=torch.long)
    labels[(0, *cube(0, 10))], labels[(0, *cube(10, 20))] = 1, 4
    how = plan()
    targets = make_targets(labels, EVERYTHING, how)
    assert targets.cores is not None
    logits = torch.cat(
        (40.0 * torch.nn.functional.one_hot(targets.labels, 3).movedim(-1, 1), 80 * targets.cores.core[:, None] - 40), 1
    )
    layout = output_layout(how)
    right = deep_supervision_loss([logits], targets, layout, how.training, overlapping=False)
    assert right.item() == pytest.approx(0, abs=1e-3)
    logits[:, 3][targets.labels == 0] = 40  # beside the bone they may say what they like
    assert deep_supervision_loss([logits], targets, layout, how.training, overlapping=False).item() < 1e-3
    logits[:, 3] = 40  # one piece alone
    assert deep_supervision_loss([logits], targets, layout, how.training, overlapping=False).item() > 0.5


def test_touching_pieces_are_parted_by_their_cores() -> None:
    array = numbers(outputs((0, 12), (12, 20), (26, 36)), plan())
    assert array[5, 5, :40].tolist() == [1] * 12 + [3] * 8 + [0] * 6 + [2] * 10 + [0] * 4  # the largest first


def test_a_core_that_a_bridge_holds_together_falls_apart_at_a_higher_probability() -> None:
    values = outputs((0, 16), (16, 34))
    values[3, 2:10, 2:10, 14:18] = 0.85  # the network overlooks the line between them
    assert numbers(values, plan())[5, 5, :34].tolist() == [2] * 16 + [1] * 18
    values[3, 2:10, 2:10, 14:18] = 0.97
    assert set(np.unique(numbers(values, plan()))) == {0, 1}


def test_small_cores_are_none() -> None:
    values = outputs((0, 16), (16, 34))
    values[3, :, :, 18:32] = 0
    values[3, 2:10, 2:10, 20] = 0.9  # 64 voxels
    assert set(np.unique(numbers(values, plan()))) == {0, 1}


def test_a_piece_without_a_core_is_one() -> None:
    array = numbers(outputs((0, 12), (20, 30), core=False), plan())
    assert array[5, 5, :30].tolist() == [1] * 12 + [0] * 8 + [2] * 10


def test_specks_belong_to_the_nearest_piece() -> None:
    values = outputs((0, 12), (20, 30))
    values[:, 5, 5, 33] = torch.tensor([0, 1, 0, 0.0])
    array = numbers(values, plan())
    assert array[5, 5, 33] == 2
    assert MIN_PIECE > 1


def test_there_are_no_more_pieces_than_values() -> None:
    few = plan(structures=[HUMERUS | {"last_value": 2}, SCAPULA])
    assert np.unique(numbers(outputs((0, 12), (12, 22), (22, 30), (30, 36)), few)).tolist() == [0, 1, 2]


def test_nothing_found_has_no_pieces() -> None:
    assert not find_pieces(outputs(), plan())
    assert not numbers(outputs(), plan()).any()


@pytest.mark.parametrize("shape", [(24, 24, 80), (12, 12, 20), (7, 9, 53)])
def test_pieces_are_numbered_on_the_scans_own_grid(shape: tuple[int, int, int]) -> None:
    array = numbers(outputs((0, 20), (20, 36)), plan(), shape)
    line = array[shape[0] // 2, shape[1] // 2]
    border = int(np.flatnonzero(line == 2)[0]) / shape[2] * 40
    assert abs(border - 20) <= 40 / shape[2]
    assert set(np.unique(line)) == {0, 1, 2}


def test_a_scan_of_other_axes_has_the_same_pieces() -> None:
    how, values = plan(), outputs((0, 20), (20, 36))
    straight = numbers(values, how)
    affine = np.array([[0, 0, 1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])
    turned = (straight > 0).astype(np.uint8)[:, ::-1].transpose(2, 1, 0)[::-1]
    scan = Segmentation(np.ascontiguousarray(turned), Geometry(turned.shape, affine), tuple(how.structures))
    made = number_pieces(scan, find_pieces(values, how), how).array
    assert np.array_equal(made, straight[:, ::-1].transpose(2, 1, 0)[::-1])


def test_postprocessing_leaves_pieces_their_numbers() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[cube(0, 12)], labels[cube(12, 20)], labels[5, 5, 38] = 2, 7, 7
    labels[5, 5, 3] = 0  # a hole
    scan = Segmentation(labels, Geometry(SHAPE, np.eye(4)), STRUCTURES)
    steps = [
        PostprocessingStep(structure="humerus", step="largest"),
        PostprocessingStep(structure="humerus", step="fill_holes"),
    ]
    made = apply_postprocessing(scan, Postprocessing(steps=steps)).array
    assert made[5, 5, :20].tolist() == [2] * 12 + [7] * 8
    assert made[5, 5, 38] == 0
    assert keep_pieces(scan.merged(), scan).array.tolist() == labels.tolist()


def test_no_step_is_tried_that_takes_pieces_away() -> None:
    facts = {name: _ReferenceFacts([1.0] * 8, None) for name in ("humerus", "scapula")}
    tried = {(step.structure, step.step) for step in _candidates(plan(), facts)}
    assert {step for name, step in tried if name == "humerus"} == {"fill_holes"}
    assert ("scapula", "largest") in tried


def test_the_cache_has_classes_and_pieces(tmp_path: Path) -> None:
    labels = np.zeros((10, 10, 20), np.uint8)
    labels[2:8, 2:8, 0:6], labels[2:8, 2:8, 6:12], labels[2:8, 2:8, 14:18] = 39, 7, 50
    image = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    dataset = write_dataset(tmp_path, {"a": (image, labels, np.eye(4))}, STRUCTURES)
    how = plan()
    cases, failed = prepare_cases(dataset, how, dataset.manifest.trainable)
    assert not failed
    assert np.unique(cases["a"].labels).tolist() == [0, 1, 2]
    assert np.unique(cases["a"].pieces).tolist() == [0, 1]
    sampler = PatchSampler(list(cases.values()), how, 0)
    codes = torch.cat([sampler.read(n).labels.unique() for n in range(10)])
    assert set(codes.tolist()) == {0, 1, 2, 4}
    with pytest.raises(FileNotFoundError):
        _ = prepare_cases(dataset, tiny_plan({"structures": [SCAPULA]}), dataset.manifest.trainable)[0]["a"].pieces


def test_pieces_are_resampled_with_their_structure() -> None:
    labels = np.zeros((20, 20, 40), np.uint16)
    labels[4:16, 4:16, :14], labels[4:16, 4:16, 14:28], labels[4:16, 4:16, 28:] = 40, 3, 50
    scan = Segmentation(labels, Geometry(labels.shape, np.diag([0.5, 0.5, 0.5, 1])), STRUCTURES)
    numbered, pieces = prepare_pieces(scan, plan())
    assert pieces is not None
    line = numbered[5, 5], pieces[5, 5]
    assert line[0].tolist() == [1] * 14 + [2] * 6
    assert line[1].tolist() == [1] * 7 + [0] * 13
    assert encode_pieces(numbered, pieces, 2)[5, 5, 0] == 4


def test_sides_swap_and_pieces_stay() -> None:
    sides = [
        HUMERUS | {"name": "left", "side": "left", "counterpart": "right"},
        HUMERUS | {"name": "right", "value": 51, "last_value": 90, "side": "right", "counterpart": "left"},
    ]
    how = tiny_plan({"structures": sides})
    labels = torch.zeros((1, 4, 4, 4), dtype=torch.long)
    labels[0, 0], labels[0, 3] = 1 + 3 * 5, 2
    across = np.zeros((1, 3), dtype=bool)
    across[0, how.grid.left_right_axis] = True
    _, mirrored, _ = mirror_patches(torch.zeros(1, 1, 4, 4, 4), labels, EVERYTHING.clone(), across, how)
    assert set(mirrored.unique().tolist()) == {0, 2 + 3 * 5, 1}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"overlapping": True}, "one number for each voxel"),
        ({"structures": [HUMERUS, SCAPULA | {"value": 30}]}, "scapula has 30, which is a piece of humerus"),
        ({"zoom": {"structures": ["scapula"]}}, "zoom: pieces"),
    ],
)
def test_plans_that_make_no_sense(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(PlanError, match=what):
        plan(**changes)


def slabs(folder: Path, gap: int, length: int, **structure: Any) -> tuple[Dataset, Fingerprint]:
    """One scan of three slabs one behind the other."""
    labels = np.zeros((44, 44, 100), np.uint8)
    for number in range(3):
        labels[2:42, 2:42, 2 + number * (length + gap) :][..., :length] = number + 1
    if not structure.get("instances", True):
        labels[labels > 0] = 1
    rows = (Structure.model_validate(HUMERUS | structure),)
    dataset = write_dataset(folder, {"a": (labels.astype(np.float32), labels, np.eye(4))}, rows)
    return dataset, measure_fingerprint(dataset)


@pytest.mark.parametrize(("gap", "why"), [(0, "pieces touch (32% of their surface)"), (8, "2 times coarser")])
def test_how_coarse_the_grid_of_pieces_may_be(tmp_path: Path, gap: int, why: str) -> None:
    dataset, fingerprint = slabs(tmp_path, gap, 24)
    assert why in coarser_spacing(dataset, fingerprint, np.ones(3), 1.0, 30_000)[1][0]


def test_pieces_that_cannot_be_parted_on_a_grid_are_lost_there(tmp_path: Path) -> None:
    spacing = np.array([3.0, 3.0, 3.0])
    assert label_fidelity(*slabs(tmp_path / "whole", 2, 9, instances=False, last_value=None), spacing) > 0.7
    assert label_fidelity(*slabs(tmp_path / "pieces", 2, 9), spacing) < 0.35


def test_weights_of_a_model_without_pieces_are_taken() -> None:
    whole = tiny_plan({"structures": [{k: HUMERUS[k] for k in ("name", "value", "colour")}, SCAPULA]})
    source, network = build_network(whole), build_network(plan())
    report = transfer(source, whole, network, plan())
    assert report.structures == ["humerus", "scapula"]
    back = transfer(build_network(plan()), plan(), build_network(whole), whole)
    assert back.structures == ["humerus", "scapula"]


def test_memory_counts_what_pieces_take() -> None:
    geometry = Geometry((400, 400, 400), np.eye(4))
    whole = tiny_plan({"structures": [{k: HUMERUS[k] for k in ("name", "value", "colour")}, SCAPULA]})
    assert scan_bytes(plan(), geometry)[0] > scan_bytes(whole, geometry)[0]


@pytest.mark.parametrize("flat", [{}, FLAT], ids=["3D", "2D"])
def test_a_training_goes_from_numbered_pieces_to_numbered_pieces(tmp_path: Path, flat: dict[str, Any]) -> None:
    rng, cases = np.random.default_rng(0), {}
    for number in range(5):
        labels = np.zeros((16, 16, 32), np.uint8)
        border = int(rng.integers(10, 20))
        first, second = rng.permutation([3, 9])
        labels[4:12, 4:12, 2:border], labels[4:12, 4:12, border:28] = first, second
        image = (labels > 0) * 1000.0 + rng.normal(size=labels.shape)
        cases[f"case_{number}"] = (image.astype(np.float32), labels, np.eye(4))
    dataset = write_dataset(tmp_path / "data", cases, STRUCTURES[:1])
    how = tiny_plan({**flat, "structures": [HUMERUS], "training.epochs": 2})
    fit.train(dataset, how, tmp_path / "run", TrainOptions(device="cpu", folds=3, fold=0))
    made = read_segmentation(next((tmp_path / "run" / "predictions").glob("*.nii.gz")), pieces=True)
    assert made.structures[0].instances
    assert set(np.unique(made.array)) <= set(range(41))
    files, notes = export_model("onnx", tmp_path / "run", tmp_path / "out")
    assert {path.name for path in files} == {"network.onnx", "plan.yaml"}
    assert "2 classes, cores" in notes[0]
