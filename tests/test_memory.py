"""What a prediction needs, known before; and probabilities in a file where memory is short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from helpers import FLAT, spacing_affine, tiny_plan, two_boxes
from osteon.core.errors import CaseError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.quantities import parse_bytes
from osteon.core.volume import Volume
from osteon.networks.registry import build_network
from osteon.plan.schema import Plan
from osteon.predicting import memory
from osteon.predicting.memory import PARTS_BYTES, estimate_memory, plan_memory, process_bytes, scan_bytes
from osteon.predicting.model import Model
from osteon.predicting.probabilities import Probabilities, collect, probabilities_bytes
from osteon.predicting.tiles import predict_probabilities, stream_probabilities

LARGE = Geometry((512, 512, 400), spacing_affine(0.8, 0.8, 1.0))


def of_25(spacing: float = 1.5) -> Plan:
    structures = [{"name": f"s{n}", "value": n, "colour": "#ff0000"} for n in range(1, 26)]
    return tiny_plan({"structures": structures, "grid.spacing_mm": [spacing] * 3, "patch.size": [96, 96, 96]})


def test_a_large_ct_with_25_structures_needs_less_than_4_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "process_bytes", lambda: 400 << 20)  # a command's; the tests' own process holds more
    need = estimate_memory(of_25(), LARGE)
    assert need.in_memory < 4e9
    assert need.file_bytes == probabilities_bytes(26, (273, 273, 267))
    assert need.in_memory - need.with_file == need.file_bytes


def test_finer_grids_and_more_structures_need_more() -> None:
    assert estimate_memory(of_25(1.0), LARGE).file_bytes > 3 * estimate_memory(of_25(), LARGE).file_bytes
    assert (
        estimate_memory(of_25(), LARGE).in_memory
        > estimate_memory(tiny_plan({"grid.spacing_mm": [1.5] * 3}), LARGE).in_memory
    )


@pytest.mark.parametrize(
    ("structures", "overlapping", "spacing", "side", "kept", "expected"),
    [
        pytest.param(2, False, 8.0, 320, False, 4 * 320**3 + 4 * 40**3 + PARTS_BYTES, id="reading"),
        pytest.param(
            25,
            False,
            1.5,
            320,
            False,  # image and best; a tile and 16 planes on both sides, and the weights; logits, and twice as many
            (4 + 2) * 213**3 + 213 * 213 * (32 + 2 * 16) * (26 + 1) * 4 + 3 * 26 * 32**3 * 4,
            id="a row of tiles",
        ),
        pytest.param(20, True, 0.5, 160, False, (4 + 20 + 3) * 320**3 + PARTS_BYTES, id="what was found"),
        pytest.param(6, True, 8.0, 320, False, (4 + 8) * 40**3 + 2 * 6 * 320**3 + PARTS_BYTES, id="restoring"),
        pytest.param(2, False, 4.0, 320, True, (4 + 2) * 80**3 + 8 * 320**3 + PARTS_BYTES, id="kept probabilities"),
    ],
)
def test_the_stage_that_takes_most_is_counted(
    structures: int, overlapping: bool, spacing: float, side: int, kept: bool, expected: int
) -> None:
    """By hand; `test_memory_kept.py` measures what a process takes."""
    names = [{"name": f"s{n}", "value": n, "colour": "#ff0000"} for n in range(1, structures + 1)]
    size = {"patch.size": [32] * 3, "grid.spacing_mm": [spacing] * 3}
    plan = tiny_plan({"structures": names, "overlapping": overlapping, **size})
    geometry = Geometry((side,) * 3, spacing_affine(1, 1, 1))
    assert scan_bytes(plan, geometry, probabilities=kept)[0] == expected


def test_what_was_measured_replaces_the_guess() -> None:
    plan = of_25()
    small = Geometry((100, 100, 100), spacing_affine(1, 1, 1))
    guessed = estimate_memory(plan, small)
    measured = guessed.in_memory + (300 << 20)
    cost = {"predicting_bytes": measured, "predicting_shape": (100, 100, 100), "predicting_spacing": (1.0, 1.0, 1.0)}
    known = plan.model_copy(update={"forecast": plan.forecast.model_copy(update=cost)})
    assert estimate_memory(known, small).in_memory == measured
    assert estimate_memory(known, LARGE).in_memory == estimate_memory(plan, LARGE).in_memory + (300 << 20)
    assert guessed.base > process_bytes()
    less = plan.model_copy(update={"forecast": plan.forecast.model_copy(update=cost | {"predicting_bytes": 1000})})
    assert estimate_memory(less, LARGE) == estimate_memory(plan, LARGE)


def test_room_is_in_memory_then_in_a_file_then_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = of_25()
    need = estimate_memory(plan, LARGE)
    assert plan_memory(plan, LARGE, need.in_memory, tmp_path, "s").folder is None
    assert plan_memory(plan, LARGE, need.in_memory - 1, tmp_path, "s").folder == tmp_path
    with pytest.raises(CaseError, match=r"s: needs about .* GB of memory, more than --memory") as refused:
        plan_memory(plan, LARGE, need.with_file - 1, tmp_path, "s")
    assert "--memory" in refused.value.hint
    monkeypatch.setattr(psutil, "disk_usage", lambda _: type("Usage", (), {"free": need.file_bytes - 1}))
    with pytest.raises(CaseError, match="GB of disk are needed"):
        plan_memory(plan, LARGE, need.with_file, tmp_path, "s")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    with pytest.raises(CaseError, match="that are free"):
        plan_memory(plan, LARGE, None, tmp_path, "s")


def test_what_the_process_has_already_is_not_free_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that holds 30 GB, on a machine with as many left."""
    monkeypatch.setattr(memory, "process_bytes", lambda: 30 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 30 << 30}))
    assert plan_memory(of_25(), LARGE, None, tmp_path, "s").folder is None


@pytest.mark.parametrize("changes", [{}, {"overlapping": True}, FLAT], ids=["index", "multi-hot", "slices"])
@pytest.mark.parametrize("shape", [(8, 8, 8), (30, 12, 9), (9, 12, 30), (3, 5, 1)])
def test_a_file_holds_what_memory_would(tmp_path: Path, changes: dict[str, Any], shape: tuple[int, int, int]) -> None:
    plan = tiny_plan(changes)
    network = build_network(plan).eval()
    image = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
    whole = Probabilities.from_tensor(predict_probabilities(network, image, plan).half(), plan)
    for folder in (None, tmp_path):
        made = collect(stream_probabilities(network, image, plan), shape, plan, folder=folder)
        assert torch.equal(made.values, whole.values)
        assert np.array_equal(made.labels(plan), whole.labels(plan))
        assert (made.file is None) == (folder is None)
        made.release_pages()
        assert torch.equal(made.values, whole.values)
    assert not list(tmp_path.iterdir())  # nobody sees it


def test_predictions_are_the_same_either_way(tmp_path: Path) -> None:
    plan = tiny_plan({"grid.spacing_mm": [1.3, 0.9, 1.1]})
    torch.manual_seed(0)
    model = Model(build_network(plan).eval(), plan, {}, "")
    image, _, affine = two_boxes()
    prepared = model.prepare(Volume(image[None].astype(np.float32), Geometry(image.shape, affine)))
    first, second = (model.postprocess(prepared, model.infer(prepared, folder=f)) for f in (None, tmp_path))
    assert np.array_equal(first.segmentation.array, second.segmentation.array)
    assert first.raw == second.raw


@pytest.mark.parametrize(
    ("text", "count"), [("4GB", 4e9), ("1.5gb", 1.5e9), ("500MB", 5e8), ("1000000", 1e6), ("2t", 2e12)]
)
def test_amounts_of_memory(text: str, count: float) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["much", "-1GB", "0", "", "4XB", "nan"])
def test_no_amounts_of_memory(text: str) -> None:
    with pytest.raises(UsageError):
        parse_bytes(text)
