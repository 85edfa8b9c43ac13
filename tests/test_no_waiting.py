"""An iteration on a GPU never makes the host wait: tested where there is none, on torch's device without memory.

Whatever reads a number back, or copies to the device in the way that waits, is found among the operations.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import FLAT, SIDES, tiny_plan
from osteon.plan.schema import Plan
from osteon.training.callback import TrainingCallback
from osteon.training.checkpoint import TrainingState
from osteon.training.limits import TrainingLimits
from osteon.training.module import TrainingModule
from osteon.training.sampling import Batch

DEVICE = torch.device("meta")
READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_consecutive")


class WaitError(Exception):
    """The host would wait for the device."""


class NoWaiting(TorchDispatchMode):
    """Raises WaitError at an operation on `DEVICE` for which the host would wait."""

    def __init__(self, there: Iterable[Any]) -> None:
        super().__init__()
        self.known: dict[int, Any] = {}
        """Storages of what lay on the device before, and of what operations gave."""
        self.remember(there)

    def remember(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, torch.Tensor) and value.device == DEVICE:
                storage = value.untyped_storage()
                self.known[storage._cdata] = storage

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        there = [isinstance(value, torch.Tensor) and value.device == DEVICE for value in args]
        if name in READS and any(there):
            raise WaitError(f"{operation} reads from the device")
        if name == "_to_copy" and there[0] != (torch.device(kwargs.get("device") or args[0].device) == DEVICE):
            self._check_copy(operation, leaves=there[0], non_blocking=kwargs.get("non_blocking", False))
        if name == "copy_" and there[0] != there[1]:
            self._check_copy(operation, leaves=there[1], non_blocking=(*args, False)[2])
        given = tree_leaves((args, kwargs))
        if name.lstrip("_").startswith("index") and there[0] and any(_lies_on_the_host(value) for value in given):
            raise WaitError(f"{operation}: the index is copied to the device")
        for value in given:
            on_device = isinstance(value, torch.Tensor) and value.device == DEVICE
            if on_device and value.untyped_storage()._cdata not in self.known:
                raise WaitError(f"{operation}: a tensor was made of the host's numbers")
        result = operation(*args, **kwargs)
        self.remember(tree_leaves(result))
        return result

    @staticmethod
    def _check_copy(operation: Any, *, leaves: bool, non_blocking: bool) -> None:
        if leaves or not non_blocking:
            raise WaitError(f"{operation}: {'from' if leaves else 'to'} the device, waiting")


def _lies_on_the_host(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device != DEVICE and value.ndim > 0


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device without memory has no generator and no autocast of its own."""
    kind = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device=None: kind())  # noqa: ARG005
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


EVERYTHING: dict[str, Any] = {
    f"augmentation.{name}_p": 0.5
    for name in ("affine", "elastic", "noise", "blur", "brightness", "offset", "contrast", "low_resolution", "bias")
} | {
    "augmentation.gamma_p": 0.5,
    "augmentation.gamma_inverted_p": 0.5,
    "augmentation.mirror_axes": [0, 1, 2],
    "augmentation.rotate_degrees": [10.0, 10.0, 10.0],
    "channels.0.modality": "mr",
    "structures": SIDES,
    "training.ema": 0.9,
    "training.epoch_iterations": 1000,
}


TURNED = {"augmentation.rotate_degrees": [0.0, 0.0, 9.0], "augmentation.mirror_axes": [0, 1]}


def batch(plan: Plan, iteration: int, *, complete: bool) -> Batch:
    count, size, structures = plan.patch.batch, plan.patch.size, len(plan.structures)
    shape = (count, structures, *size) if plan.overlapping else (count, *size)
    annotated = torch.ones(count, structures, dtype=torch.bool)
    annotated[0, 0] = complete
    labels = torch.zeros(shape, dtype=torch.float32 if plan.overlapping else torch.int64)
    return Batch(iteration, torch.zeros(count, len(plan.channels), *size), labels, annotated)


class Silent:
    """In place of the display."""

    def update(self, *_: object) -> None:
        pass


def iterate(plan: Plan, folder: Path, *, complete: bool, count: int) -> None:
    """What happens in iterations, as Lightning does it."""
    state = TrainingState()
    display: Any = Silent()
    conductor = TrainingCallback(plan, TrainingLimits(10_000, None), [], folder, display, None, state)  # type: ignore[arg-type]
    module = TrainingModule(plan, 0, conductor.progress).to(DEVICE)
    trainer: Any = SimpleNamespace(optimizers=[module.configure_optimizers()])
    (optimiser,) = trainer.optimizers
    with NoWaiting(module.state_dict().values()):
        for number in range(count):
            moved = module.transfer_batch_to_device(batch(plan, number, complete=complete), DEVICE, 0)
            loss = module.training_step(moved, number)
            optimiser.zero_grad()
            loss.backward()
            module.on_before_optimizer_step(optimiser)
            optimiser.step()
            conductor.on_train_batch_end(trainer, module, {"loss": loss}, moved, number)
    assert state.iteration == count


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("changes", [{}, {"overlapping": True}, FLAT | TURNED])
def test_an_iteration_never_waits_for_the_device(tmp_path: Path, changes: dict[str, Any], complete: bool) -> None:
    iterate(tiny_plan(EVERYTHING | changes), tmp_path, complete=complete, count=12)


@pytest.mark.parametrize("name", ["dice_bce", "dice_focal", "tversky", "bce"])
def test_no_loss_waits(tmp_path: Path, name: str) -> None:
    iterate(tiny_plan({"training.loss": name, "training.epoch_iterations": 9}), tmp_path, complete=False, count=1)


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x[[0]],
        lambda x: x[np.array([0])],
        lambda x: x[torch.tensor([0])],
        lambda x: x.index_put_((torch.tensor([0]),), x[:1]),
        lambda x: torch.ones(3).to(x),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x + torch.tensor([1.0], device=DEVICE),
    ],
)
def test_what_waits_is_found(waits: Any) -> None:
    x = torch.empty(3, device=DEVICE)
    with pytest.raises((WaitError, NotImplementedError)), NoWaiting([x]):  # torch itself refuses nonzero
        waits(x)
