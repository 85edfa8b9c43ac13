"""What osteon does on a GPU, as one table: iterations, waiting for data, a whole scan, the tests marked gpu.

    benchmarks/gpu.sh                                   # installs what is missing, then runs this
    python benchmarks/gpu.py --limit 480 --device cuda
    python benchmarks/gpu.py --device cpu --smallest    # whether the script itself works, in half a minute

The data are made up. Each part is a process of its own with a share of the time, and is ended when that is over.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Row = tuple[str, str, str]
"""What, how much, and to compare it with."""
ROOT = Path(__file__).resolve().parents[1]
NEEDED = {
    "numpy": "numpy>=2.0",
    "lightning": "lightning>=2.5,<3",
    "tensorboard": "tensorboard>=2.16",
    "safetensors": "safetensors>=0.4",
    "scipy": "scipy>=1.12",
    "isal": "isal>=1.6",
    "nibabel": "nibabel>=5.2",
    "SimpleITK": "SimpleITK>=2.4",
    "PIL": "pillow>=10.3",
    "matplotlib": "matplotlib>=3.8",
    "pydicom": "pydicom>=3.0",
    "pydantic": "pydantic>=2.7,<3",
    "yaml": "PyYAML>=6.0",
    "typer": "typer>=0.12",
    "rich": "rich>=13.7",
    "psutil": "psutil>=5.9",
    "pytest": "pytest>=8.2",
    "hypothesis": "hypothesis>=6.100",
}
"""What training, predicting and the tests import, beside torch."""
LEAST_S = 5.0
"""With less than this no part is begun."""
ANCHORS = ("145 ms: with batched augmentation on an A100", "32 s: plain 3d_fullres on an A100")
"""nnU-Net's iteration (its issue 3063), and its epoch."""


@dataclass(frozen=True)
class Setting:
    """What is measured, and where."""

    device: str
    folder: Path
    smallest: bool

    @property
    def edge(self) -> int:
        """Voxels along each axis of a patch."""
        return 16 if self.smallest else 128

    @property
    def warm_up(self) -> int:
        """Iterations in which cuDNN tries its algorithms out, memory is taken, and kernels are compiled."""
        return 3 if self.smallest else 20

    @property
    def scan(self) -> tuple[int, int, int]:
        """Shape of the scan to predict."""
        return (40, 40, 32) if self.smallest else (512, 512, 400)


def phantom(shape: tuple[int, int, int], period: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A lattice of ellipsoids of four kinds in noise, int16, and their labels."""
    import numpy as np

    i, j, k = np.ogrid[tuple(slice(n) for n in shape)]
    axes = zip((i, j, k), (0.4, 0.3, 0.2), strict=True)
    place = [(axis % period - period / 2) / (period * part) for axis, part in axes]
    kinds = 1 + (i // period + 2 * (j // period) + 3 * (k // period)) % 4
    labels = np.where(sum(part**2 for part in place) < 1, kinds, 0).astype(np.uint8)
    noise = np.random.default_rng(seed).integers(-30, 30, shape, dtype=np.int16)
    return noise + 200 * labels.astype(np.int16), labels


def make_dataset(setting: Setting) -> Path:
    """Three labelled scans, half as large again as a patch."""
    import numpy as np

    from osteon.core.geometry import Geometry
    from osteon.core.labels import Segmentation, make_structures
    from osteon.core.volume import Volume
    from osteon.dataset.manifest import Case, Channel, Manifest, write_manifest
    from osteon.formats import write_segmentation, write_volume

    folder = setting.folder / "data"
    if (folder / "dataset.yaml").is_file():
        return folder
    structures = make_structures(["a", "b", "c", "d"], [1, 2, 3, 4])
    shape = (setting.edge * 3 // 2,) * 3
    geometry, cases = Geometry(shape, np.eye(4), "mm"), []
    for number in range(3):
        image, labels = phantom(shape, setting.edge // 2, number)
        paths = f"images/{number}.nii.gz", f"labels/{number}.nii.gz"
        write_volume(folder / paths[0], Volume(image[None], geometry))
        write_segmentation(folder / paths[1], Segmentation(labels, geometry, tuple(structures)))
        cases.append(Case(id=f"c{number}", images=[paths[0]], segmentation=paths[1]))
    channels = [Channel(name="ct", modality="ct")]
    write_manifest(folder, Manifest(name="phantom", channels=channels, structures=structures, cases=cases))
    return folder


def train(setting: Setting, recipe: str, seconds: float, *, compiled: bool = False) -> list[Row]:
    """A training as users have it, by a recipe and for some seconds (the smallest: 8 iterations), and what it took."""
    import torch

    import osteon
    from osteon.core.devices import device_kind
    from osteon.runs import loop
    from osteon.training.batches import BatchStream

    seen: list[tuple[float, float]] = []

    class Watched(BatchStream):
        def __iter__(self) -> Iterator[Any]:
            for batch in super().__iter__():
                seen.append((time.perf_counter(), self.waited_s))
                yield batch

    loop.BatchStream = Watched  # type: ignore[misc]
    loop.is_worth_compiling = lambda *_, **__: compiled
    on_gpu = device_kind(setting.device) == "cuda"
    settings = {
        "patch.size": [setting.edge] * 3,
        "patch.batch": 2,
        "training.epoch_iterations": 8 if setting.smallest else 25,
    }
    data = make_dataset(setting)
    kind = "cuda" if on_gpu and not setting.smallest else "cpu"
    plan = osteon.make_plan(data, device=kind, measure_cost=False, recipe=recipe, settings=settings, workers=1)
    samples = _Load(setting.device)
    osteon.train(
        data,
        setting.folder / (f"{recipe}-compiled" if compiled else recipe),
        plan=plan,
        budget_s=None if setting.smallest else seconds,
        epochs=1 if setting.smallest else None,
        fold=None,
        device=setting.device,
        precision="bf16" if on_gpu else "fp32",
        workers=1,
        restart=True,
    )
    what = f"{recipe}, {setting.edge}³ × 2{', compiled' if compiled else ''}"
    count = len(seen) - 1 - setting.warm_up
    if count < 1:
        return [(what, f"only {len(seen)} iterations in its time", "")]
    (began, waited), (ended, waited_then) = seen[setting.warm_up], seen[-1]
    each, busy = (ended - began) / count, samples.between(began, ended)
    anchors = ANCHORS if recipe == "nnunet" else ("", "")
    rows = [
        (f"{what}: an iteration", f"{1000 * each:.1f} ms (mean of {count})", anchors[0]),
        (f"{what}: 250 iterations", f"{250 * each:.1f} s", anchors[1]),
        (f"{what}: waits for data, an iteration", f"{1000 * (waited_then - waited) / count:.2f} ms", ""),
        (f"{what}: the device is busy", busy or "not known", ""),
    ]
    if on_gpu:
        rows.append((f"{what}: GPU memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", ""))
    return rows


class _Load:
    """How busy a GPU is, as nvidia-smi says twice a second."""

    def __init__(self, device: str) -> None:
        self.process: subprocess.Popen[str] | None = None
        if device.startswith("cuda") and shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "500"]
            query += ["-i", device.partition(":")[2] or "0"]
            self.process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
        self.began = time.perf_counter()

    def between(self, first: float, last: float) -> str | None:
        """The mean between two times; None where there is no nvidia-smi, or it says nothing."""
        if self.process is None:
            return None
        ended = time.perf_counter()
        self.process.terminate()
        values = [line.strip() for line in self.process.communicate()[0].splitlines()]
        step = (ended - self.began) / max(1, len(values))
        inside = [
            int(value)
            for number, value in enumerate(values)
            if value.isdigit() and first <= self.began + (number + 0.5) * step <= last
        ]
        return f"{sum(inside) / len(inside):.0f} % (nvidia-smi)" if inside else None


def kernels(setting: Setting) -> list[Row]:
    """The share of the time in which kernels run, by torch's profiler: for where nvidia-smi says nothing."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as record:
        train(setting, "nnunet", 15)
    spans = sorted((e.time_range.start, e.time_range.end) for e in record.events() if e.device_type.name == "CUDA")
    spans = spans[len(spans) // 2 :]
    torch.cuda.synchronize()
    share = sum(end - start for start, end in spans) / max(1, spans[-1][1] - spans[0][0])
    return [("nnunet: kernels run", f"{100 * min(1.0, share):.0f} % of the time (profiler)", "")]


def predict(setting: Setting) -> list[Row]:
    """A scan through the model that the first part has trained."""
    import numpy as np
    import torch

    import osteon
    from osteon.core.geometry import Geometry
    from osteon.core.volume import Volume
    from osteon.machine.engine_timing import count_passes

    image, _ = phantom(setting.scan, setting.edge // 2, 9)
    volume = Volume(image[None].astype(np.float32), Geometry(setting.scan, np.eye(4), "mm"))
    model = osteon.load_model(setting.folder / "nnunet", device=setting.device)
    began = time.perf_counter()
    model.predict(volume)
    took = time.perf_counter() - began
    what = f"a scan of {'×'.join(map(str, setting.scan))}, {count_passes(model.plan, volume.geometry)} patches"
    rows = [(f"{what}: predicted", f"{took:.1f} s", "")]
    if setting.device.startswith("cuda"):
        rows.append((f"{what}: GPU memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", ""))
    return rows


def two_devices(setting: Setting) -> list[Row]:
    """Two devices, and one with the doubled batch: how far apart losses and weights end, and how fast they are."""
    import csv

    import torch
    from safetensors.torch import load_file

    import osteon
    from osteon.core.devices import device_kind

    kind = device_kind(setting.device)
    if kind == "cuda" and (count := torch.cuda.device_count()) < 2:
        return [("two GPUs", f"skipped: torch sees {count}", "")]
    iterations = 4 if setting.smallest else 25
    data, runs = make_dataset(setting), []
    for devices, batch in ((2, 2), (1, 4)):
        settings = {
            "patch.size": [setting.edge] * 3,
            "patch.batch": batch,
            "training.epoch_iterations": iterations,
            "training.precision": "fp32",
        }
        run = setting.folder / f"{devices}-devices"
        plan = osteon.make_plan(data, device="cpu", measure_cost=False, recipe="nnunet", settings=settings, workers=1)
        osteon.train(
            data, run, plan=plan, epochs=2, fold=None, device=kind, devices=devices, precision="fp32", workers=1
        )
        with (run / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        runs.append((rows, load_file(run / "model" / "weights.safetensors")))
    (two, weights), (one, others) = runs
    loss = max(abs(float(row["loss"]) - float(other["loss"])) for row, other in zip(two, one, strict=True))
    weight = max(float((weights[name] - others[name]).abs().max()) for name in weights)
    what = f"nnunet, {setting.edge}³, two devices × 2"
    return [
        (f"{what}: an iteration", f"{1000 * float(two[-1]['s_per_iteration']):.1f} ms", ""),
        ("one device × 4: an iteration", f"{1000 * float(one[-1]['s_per_iteration']):.1f} ms", ""),
        (f"{what}: apart from one device × 4", f"loss {loss:.1e}, weights {weight:.1e}", "rounding alone"),
    ]


def tests(setting: Setting) -> list[Row]:
    """The tests marked gpu."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "tests/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (setting.folder / "tests.log").write_text(done.stdout + done.stderr)
    sys.stderr.write(done.stdout[-4000:] if done.returncode else "")
    return [("tests marked gpu", (done.stdout.strip().splitlines() or [f"ended with {done.returncode}"])[-1], "")]


def facts(setting: Setting) -> list[Row]:
    """The machine, asked in a process of its own: a process that has asked CUDA anything cannot be forked."""
    import torch

    name = platform.processor() or platform.machine()
    if setting.device.startswith("cuda"):
        name = torch.cuda.get_device_name(setting.device)
    return [(f"{date.today()}, {name}, torch {torch.__version__}, {os.cpu_count()} cores", "", "")]


def measured(part: Callable[[], list[Row]], name: str, seconds: float) -> list[Row]:
    """The rows of a part, done in a process of its own within some seconds; else a row that says why there are none."""
    if seconds < LEAST_S:
        return [(name, "no time was left", "")]
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(part, name, sender))
    process.start()
    sender.close()
    try:
        found: list[Row] = [tuple(row) for row in json.loads(receiver.recv())] if receiver.poll(seconds) else []  # type: ignore[misc]
    except EOFError:
        found = [(name, "its process was killed", "")]
    with suppress(ProcessLookupError):  # whatever it has started, too
        os.killpg(process.pid, 9)
    return found or [(name, f"did not fit into {seconds:.0f} s", "")]


def _child(part: Callable[[], list[Row]], name: str, answer: Connection) -> None:
    os.setpgid(0, 0)
    os.dup2(2, 1)  # only the table goes to stdout
    try:
        answer.send(json.dumps(part()))
    except Exception as error:  # noqa: BLE001 (the other parts go on)
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split("\n")[:1])
        answer.send(json.dumps([(name, f"failed: {reason}", "")]))


def parts(setting: Setting) -> list[tuple[str, float, Callable[[], list[Row]]]]:
    """Name, the most seconds, and what is done."""
    if setting.smallest:
        return [
            ("nnunet", 60, lambda: train(setting, "nnunet", 0)),
            ("osteon", 60, lambda: train(setting, "osteon", 0)),
            ("prediction", 60, lambda: predict(setting)),
            ("two devices", 120, lambda: two_devices(setting)),
        ]
    listed: list[tuple[str, float, Callable[[], list[Row]]]] = [
        ("nnunet", 85, lambda: train(setting, "nnunet", 40)),
        ("prediction", 90, lambda: predict(setting)),
        ("osteon", 80, lambda: train(setting, "osteon", 40)),
        ("tests marked gpu", 100, lambda: tests(setting)),
        ("two devices", 60, lambda: two_devices(setting)),
        ("nnunet, compiled", 120, lambda: train(setting, "nnunet", 90, compiled=True)),
    ]
    if setting.device.startswith("cuda") and not shutil.which("nvidia-smi"):
        listed.append(("kernels", 60, lambda: kernels(setting)))
    return listed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=480, help="seconds for everything")
    parser.add_argument("--smallest", action="store_true", help="16³ voxels, to try the script out")
    parser.add_argument("--missing", action="store_true", help="print what pip would have to install, and stop")
    options = parser.parse_args()
    if options.missing:
        print("\n".join(need for name, need in NEEDED.items() if importlib.util.find_spec(name) is None))
        return
    ends = time.monotonic() + options.limit - 5
    import osteon.predicting.model  # what every part needs is imported once, and forked
    import osteon.runs.fit  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="osteon-gpu-") as folder:
        setting = Setting(options.device, Path(folder), options.smallest)
        head = measured(lambda: facts(setting), "the machine", 60)[0]
        print(
            " ".join(head).strip(), "", "| what | measured | to compare |", "| --- | --- | --- |", sep="\n", flush=True
        )
        for name, most, part in parts(setting):
            for row in measured(part, name, min(most, ends - time.monotonic())):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
