"""What a plan costs on this machine, tried out in a process of its own: a prediction and a few steps on random data.

    python -m osteon.planning.probe PLAN DEVICE SHAPE PRECISION…

SHAPE is `[i, j, k, mm, mm, mm]`, a scan to predict; each PRECISION is fp32 or bf16. A process of its own gives the
peak memory of that work alone, and can be ended when its time is up: it writes a line of JSON for each thing it knows,
as soon as it knows it, the cheap ones first.

    {"what": "predict", "seconds", "bytes"}           of that scan
    {"what": "estimate", "seconds", "bytes"}          of a step, from a small part of the patch
    {"what": "fp32", "seconds", "steps", "bytes", "parameters"}   the best of so many steps, at the plan's own size
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from osteon.core.errors import UsageError
from osteon.core.garbage import skip_last_collection
from osteon.core.geometry import Geometry
from osteon.core.heap import keep_freed_memory
from osteon.core.platform import peak_bytes
from osteon.core.volume import Volume
from osteon.networks.registry import build_network
from osteon.plan.schema import Plan, Precision, read_plan
from osteon.predicting.model import Model
from osteon.training.sampling import Batch, Triple

if TYPE_CHECKING:
    from osteon.training.module import TrainingModule

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
MAX_STEPS = 5
"""At most, at the plan's own size; the best one counts, since other work can only slow a step."""
MAX_STEPS_S = 3.0
"""Steps that take so long together are not repeated any more."""
BF16_TIME_LIMIT = 0.9
"""bf16 is chosen where an iteration takes less than this part of its time in fp32."""
GIVE_UP_FACTOR = 3.0
"""A first step that takes so many times what it has to beat is not repeated: the first one also sets things up."""
REDUCTION = 8
"""The first estimate is of a part of the patch with about this many times fewer voxels."""


def measure_prediction(plan: Plan, device: torch.device, shape: Triple, spacing_mm: tuple[float, ...]) -> None:
    """The line on predicting, of a scan that goes through the network at once."""
    model = Model(build_network(plan).to(device).eval(), plan, {}, "")
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64)).numpy()
    # Smooth, as scans are: of noise every voxel would be a border between structures.
    ramp = torch.linspace(-1, 1, shape[0])[:, None, None]
    array = ramp.expand(len(plan.channels), *shape).contiguous().numpy()
    volume = Volume(array, Geometry(shape, affine, plan.unit))
    began = time.perf_counter()
    model.segment(volume)
    _write_line("predict", seconds=time.perf_counter() - began, bytes=peak_bytes())


def measure_steps(plan: Plan, device: torch.device, precisions: tuple[Precision, ...]) -> None:
    """The lines on training."""
    from osteon.training.module import TrainingModule  # Lightning's 160 MB are no part of predicting

    keep_freed_memory()
    module = TrainingModule(plan, 0, lambda: 0.0, fresh=False).to(device)  # weights cost the same whatever they are
    module.train()
    if module.ema_network is not None:
        module.ema_network.eval()
    stepper = _StepTimer(module, device)
    parameters = sum(p.numel() for p in module.network.parameters())
    small_plan = reduce_patch(plan)
    times = _batch_voxels(plan) / _batch_voxels(small_plan)
    if times > 1:
        before = stepper.memory_bytes()
        seconds = min(stepper.step(small_plan, precisions[0]) for _ in range(2))
        growth = max(0, stepper.peak_bytes() - before)
        _write_line("estimate", seconds=seconds * times, bytes=round(before + growth * times))
    to_beat = math.inf
    for precision in precisions:
        times_s: list[float] = []
        stepper.reset_peak()
        while len(times_s) < MAX_STEPS and (len(times_s) < 2 or sum(times_s) < MAX_STEPS_S):
            times_s.append(stepper.step(plan, precision))
            _write_line(
                precision, seconds=min(times_s), steps=len(times_s), bytes=stepper.peak_bytes(), parameters=parameters
            )
            if times_s[0] > GIVE_UP_FACTOR * to_beat or (len(times_s) > 2 and min(times_s) > BF16_TIME_LIMIT * to_beat):
                break
        to_beat = min(to_beat, *times_s)


class _StepTimer:
    """Steps of a training on random data."""

    def __init__(self, module: TrainingModule, device: torch.device) -> None:
        self.module, self.device = module, device
        self.optimiser = module.configure_optimizers()
        self.iteration = 0

    def step(self, plan: Plan, precision: Precision) -> float:
        """Seconds of one, with the patch of a plan that differs from the module's in that alone."""
        module, device = self.module, self.device
        module.plan = plan
        batch = random_batch(plan, self.iteration)
        self.iteration += 1
        began = time.perf_counter()
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step(batch, batch.iteration)
        torch.autograd.backward(loss)
        module.on_before_optimizer_step(self.optimiser)
        self.optimiser.step()
        self.optimiser.zero_grad()
        module.update_ema(batch)
        loss.item()
        return time.perf_counter() - began

    def memory_bytes(self) -> int:
        """Bytes that are held now; on a GPU of its memory."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        return int(psutil.Process().memory_info().rss)

    def peak_bytes(self) -> int:
        """The most that was held so far."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else peak_bytes()

    def reset_peak(self) -> None:
        """Begin the GPU's peak anew; a process's own stays, so bf16's is no less than that of fp32."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)


def reduce_patch(plan: Plan) -> Plan:
    """The plan with some `REDUCTION` times fewer voxels in a batch: fewer patches, then smaller ones."""
    multiples, flat = plan.downsampling, plan.grid.dimensions == 2
    counts = [size // multiple for size, multiple in zip(plan.patch.size, multiples, strict=True)]
    batch = max(min(2, plan.patch.batch), plan.patch.batch // REDUCTION) if flat else plan.patch.batch
    goal = _batch_voxels(plan) / REDUCTION
    while batch * math.prod(counts) * math.prod(multiples) > goal and not plan.fixed_patch:
        longest = max(range(3), key=lambda axis: counts[axis])
        if math.prod(counts) // counts[longest] * ((counts[longest] + 1) // 2) < 2 or counts[longest] == 1:
            break  # one voxel at the coarsest stage has no variance to be normalised by
        counts[longest] = (counts[longest] + 1) // 2
    i, j, k = (count * multiple for count, multiple in zip(counts, multiples, strict=True))
    return plan.model_copy(update={"patch": plan.patch.model_copy(update={"size": (i, j, k), "batch": batch})})


def random_batch(plan: Plan, iteration: int) -> Batch:
    """A batch of the plan's shapes: noise, and random labels; the seed is the iteration."""
    generator = torch.Generator().manual_seed(iteration)
    count, size = plan.patch.batch, plan.patch.size
    image = torch.randn((count, len(plan.channels), *size), generator=generator)
    if plan.overlapping:
        labels = torch.rand((count, len(plan.structures), *size), generator=generator).round()
    else:
        labels = torch.randint(0, len(plan.structures) + 1, (count, *size), generator=generator)
    return Batch(iteration, image, labels, torch.ones(count, len(plan.structures), dtype=torch.bool))


def _batch_voxels(plan: Plan) -> int:
    return plan.patch.batch * math.prod(plan.patch.size)


def _write_line(what: str, **facts: float) -> None:
    sys.stdout.write(json.dumps({"what": what, **facts}) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """Entry of the process; see the module."""
    path, name, shape, *precision_names = arguments
    precisions = tuple(known for known in PRECISIONS if known in precision_names)
    if not precisions or len(precisions) < len(precision_names):
        raise UsageError(f"nothing to measure: {' '.join(precision_names)}")
    skip_last_collection()
    plan, device = read_plan(Path(path)), torch.device(name)
    numbers = json.loads(shape)
    i, j, k = (int(n) for n in numbers[:3])
    if plan.clicks is None:  # those of clicks are no whole scans
        measure_prediction(plan, device, (i, j, k), tuple(numbers[3:]))
    measure_steps(plan, device, precisions)


if __name__ == "__main__":
    main(sys.argv[1:])
