"""With what a run may go on, and what is said where memory does not suffice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny_plan
from osteon.core.errors import UsageError
from osteon.plan.schema import Plan, Pretrained
from osteon.runs.resuming import describe_differences, explain_out_of_memory, restore_resumable, resumable_differences

LESS = {"patch.size": [4, 8, 8], "patch.batch": 1, "training.precision": "bf16"}


def on_encoder(changes: dict[str, Any] | None = None, *, fixed_size: bool = False) -> Plan:
    network = Pretrained(name="unet", encoder="resnet18", downsampling=(2, 2, 2), fixed_size=fixed_size)
    return tiny_plan(changes).model_copy(update={"network": network})


def test_patches_and_precision_may_change_and_nothing_else() -> None:
    before = tiny_plan()
    assert restore_resumable(tiny_plan(LESS), before) == before
    assert resumable_differences(before, before) == {}
    description = describe_differences(resumable_differences(before, tiny_plan(LESS)))
    assert description == (
        "continuing with patch.size 4×8×8 (was 8×8×8), patch.batch 1 (was 2), training.precision bf16 (was fp32)"
    )
    for key, value in (("network.features", [4, 5]), ("training.loss", "ce"), ("training.learning_rate", 0.5)):
        assert restore_resumable(tiny_plan(LESS | {key: value}), before) != before


def test_a_network_of_one_size_keeps_its_patches_size() -> None:
    before = on_encoder(fixed_size=True)
    fewer = {key: value for key, value in LESS.items() if key != "patch.size"}
    assert restore_resumable(on_encoder(fewer, fixed_size=True), before) == before
    assert restore_resumable(on_encoder(LESS, fixed_size=True), before) != before
    assert restore_resumable(on_encoder(LESS), on_encoder()) == on_encoder()


@pytest.mark.parametrize(
    ("plan", "named", "not_named"),
    [
        (tiny_plan(), ("patch.size (8×8×8), patch.batch (2) or training.precision", "network.features"), ()),
        (tiny_plan(LESS), ("patch.size (4×8×8) in plan.yaml",), ("training.precision", "patch.batch")),
        (on_encoder(), ("patch.size", "network.encoder"), ("network.features",)),
        (on_encoder(LESS, fixed_size=True), ("a smaller network (network.encoder)",), ("patch", "lower")),
    ],
)
def test_the_message_names_what_would_help(plan: Plan, named: tuple[str, ...], not_named: tuple[str, ...]) -> None:
    with (
        pytest.raises(UsageError, match="run: there is not enough memory") as refused,
        explain_out_of_memory(Path("run"), plan),
    ):
        torch.zeros(1 << 60)
    for words in named:
        assert words in refused.value.hint
    for words in not_named:
        assert words not in refused.value.hint


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="sizes differ"), explain_out_of_memory(Path("run"), tiny_plan()):
        raise RuntimeError("sizes differ")
