"""What a prediction needs, known before; and probabilities in a file where memory is short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from helpers import FLAT, spaced, tiny_plan, two_boxes
from osteon.core.errors import CaseError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.quantities import parse_bytes
from osteon.core.volume import Volume
from osteon.networks.registry import build_network
from osteon.plan.schema import Plan
from osteon.predicting import memory
from osteon.predicting.memory import needs, room_for, start_bytes
from osteon.predicting.model import Model
from osteon.predicting.probabilities import collect, in_memory, shares_bytes
from osteon.predicting.tiles import probabilities, stream

LARGE = Geometry((512, 512, 400), spaced(0.8, 0.8, 1.0))


def of_25(spacing: float = 1.5) -> Plan:
    structures = [{"name": f"s{n}", "value": n, "colour": "#ff0000"} for n in range(1, 26)]
    return tiny_plan({"structures": structures, "grid.spacing_mm": [spacing] * 3, "patch.size": [96, 96, 96]})


def test_a_large_ct_with_25_structures_needs_less_than_4_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "start_bytes", lambda: 400 << 20)  # a command's; the tests' own process holds more
    need = needs(of_25(), LARGE)
    assert need.in_memory < 4e9
    assert need.file_bytes == shares_bytes(26, (273, 273, 267))
    assert need.in_memory - need.with_file == need.file_bytes


def test_finer_grids_and_more_structures_need_more() -> None:
    assert needs(of_25(1.0), LARGE).file_bytes > 3 * needs(of_25(), LARGE).file_bytes
    assert needs(of_25(), LARGE).in_memory > needs(tiny_plan({"grid.spacing_mm": [1.5] * 3}), LARGE).in_memory


def test_what_was_measured_replaces_the_guess() -> None:
    plan = of_25()
    small = Geometry((100, 100, 100), spaced(1, 1, 1))
    guessed = needs(plan, small)
    measured = guessed.in_memory + (300 << 20)
    cost = {"predicting_bytes": measured, "predicting_shape": (100, 100, 100), "predicting_spacing": (1.0, 1.0, 1.0)}
    known = plan.model_copy(update={"forecast": plan.forecast.model_copy(update=cost)})
    assert needs(known, small).in_memory == measured
    assert needs(known, LARGE).in_memory == needs(plan, LARGE).in_memory + (300 << 20)
    assert guessed.base > start_bytes()
    less = plan.model_copy(update={"forecast": plan.forecast.model_copy(update=cost | {"predicting_bytes": 1000})})
    assert needs(less, LARGE) == needs(plan, LARGE)


def test_room_is_in_memory_then_in_a_file_then_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = of_25()
    need = needs(plan, LARGE)
    assert room_for(plan, LARGE, need.in_memory, tmp_path, "s").folder is None
    assert room_for(plan, LARGE, need.in_memory - 1, tmp_path, "s").folder == tmp_path
    with pytest.raises(CaseError, match=r"s: needs about .* GB of memory, more than --memory") as refused:
        room_for(plan, LARGE, need.with_file - 1, tmp_path, "s")
    assert "--memory" in refused.value.hint
    monkeypatch.setattr(psutil, "disk_usage", lambda _: type("Usage", (), {"free": need.file_bytes - 1}))
    with pytest.raises(CaseError, match="GB of disk are needed"):
        room_for(plan, LARGE, need.with_file, tmp_path, "s")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    with pytest.raises(CaseError, match="that are free"):
        room_for(plan, LARGE, None, tmp_path, "s")


def test_what_the_process_has_already_is_not_free_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that holds 30 GB, on a machine with as many left."""
    monkeypatch.setattr(memory, "start_bytes", lambda: 30 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 30 << 30}))
    assert room_for(of_25(), LARGE, None, tmp_path, "s").folder is None


@pytest.mark.parametrize("changes", [{}, {"overlapping": True}, FLAT], ids=["index", "multi-hot", "slices"])
@pytest.mark.parametrize("shape", [(8, 8, 8), (30, 12, 9), (9, 12, 30), (3, 5, 1)])
def test_a_file_holds_what_memory_would(tmp_path: Path, changes: dict[str, Any], shape: tuple[int, int, int]) -> None:
    plan = tiny_plan(changes)
    network = build_network(plan).eval()
    image = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
    count = 2 if plan.overlapping else 3
    whole = in_memory(probabilities(network, image, plan).half(), plan)
    for folder in (None, tmp_path):
        made = collect(stream(network, image, plan), count, shape, plan, folder=folder)
        assert torch.equal(made.values, whole.values)
        assert np.array_equal(made.found(plan), whole.found(plan))
        assert (made.file is None) == (folder is None)
        made.release()
        assert torch.equal(made.values, whole.values)
    assert not list(tmp_path.iterdir())  # nobody sees it


def test_predictions_are_the_same_either_way(tmp_path: Path) -> None:
    plan = tiny_plan({"grid.spacing_mm": [1.3, 0.9, 1.1]})
    torch.manual_seed(0)
    model = Model(build_network(plan).eval(), plan, {}, "")
    image, _, affine = two_boxes()
    prepared = model.prepare(Volume(image[None].astype(np.float32), Geometry(image.shape, affine)))
    first, second = (model.conclude(prepared, model.infer(prepared, folder=f)) for f in (None, tmp_path))
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
