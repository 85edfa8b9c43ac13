"""The same nnU-Net model by nnU-Net's own predictor and by osteon, on the CPU, in the same run.

    python -m venv ENV && ENV/bin/pip install nnunetv2==2.8.1 'torch>=2.8,<2.14'
    taskset -c 0,1 python benchmarks/predict.py --nnunet ENV [--data lumbar] [--runs 5] [--work FOLDER]

Trains nnU-Net's 3d_fullres for --seconds (benchmarks/nnunet_budget.py) on 40 hippocampus cases, or on 18 lumbar spines
on a grid of 2 mm, quickly. Imports the model (`osteon import-model nnunet`) and predicts the 20 or 6 held-out cases,
one after the other, in a process of its own for each tool. The tools take turns, --runs times. A training that is there
is not repeated. With --finer N the held-out images are brought onto a grid N times as fine before.

    case         median over runs of the median over cases: reading, preparing, predicting, writing; no process start
    CPU          the same in seconds of processor time, which others on the machine disturb less
    all cases    median of the whole process, its start and the loading of the model among it
    memory       median of the process's peak resident set, MB = 10⁶ bytes
    agreement    least Dice over cases and structures between nnU-Net's masks and osteon's, and its mean
    Dice         with the reference labels, mean over cases, then over structures
    of the peak  GFLOP/s of the network on one patch, by those of a 3072² matrix product of the same precision
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from time_to_dice import HERE, OSTEON, dataset, run

ENGINES = ("openvino", "openvino-bf16")
TRAINING = {"hippocampus": [], "lumbar": ["--quick", "--spacing", "2", "2", "2"]}
MATRIX = 3072
TURNS = 9


# Each in a process of its own


def nnunet(model: Path, images: dict[str, Path], out: Path, facts: Path) -> None:
    """nnU-Net's predictor in its leanest form: one process, no mirror images."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(os.cpu_count() or 1)
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    fold = next(path.name.removeprefix("fold_") for path in model.glob("fold_*"))
    predictor.initialize_from_trained_model_folder(str(model), (fold if fold == "all" else int(fold),))

    def one(case: str, image: Path) -> None:
        predictor.predict_from_files_sequential([[str(image)]], [str(out / case)])

    time_each(one, images, facts)


def osteon(model: Path, images: dict[str, Path], out: Path, facts: Path, engine: str) -> None:
    """Osteon with one of its engines, scan by scan."""
    from osteon.formats.io import read_volume, write_segmentation
    from osteon.predicting.engines import find_engine
    from osteon.predicting.model_folder import load_model

    loaded = load_model(model).with_engine(find_engine(engine))

    def one(case: str, image: Path) -> None:
        volume = read_volume(image)
        loaded.check(volume, image.name)
        write_segmentation(out / f"{case}.nii.gz", loaded.segment(volume).segmentation)

    time_each(one, images, facts)


def time_each(predict: Any, images: dict[str, Path], facts: Path) -> None:
    """Predict each image and keep wall and processor seconds; the first one also gets everything ready."""
    rows = []
    for case, image in images.items():
        began, worked = time.perf_counter(), time.process_time()
        predict(case, image)
        rows.append((time.perf_counter() - began, time.process_time() - worked))
    facts.write_text(json.dumps(rows))


def peak(model: Path, facts: Path) -> None:
    """GFLOP/s of the network on one patch and of a large matrix product, in turns, for each engine."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from osteon.networks.registry import input_channels
    from osteon.predicting.engines import find_engine
    from osteon.predicting.model_folder import load_model

    loaded = load_model(model)
    patch = torch.randn(1, input_channels(loaded.plan), *loaded.plan.patch.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        loaded.network(patch)
    found = {"gflop": counter.get_total_flops() / 1e9}
    for name in ("torch", *ENGINES):
        kind = torch.bfloat16 if name.endswith("bf16") else torch.float32
        matrix = torch.randn(MATRIX, MATRIX).to(kind)
        network = loaded.network if name == "torch" else loaded.with_engine(find_engine(name)).network
        with torch.inference_mode():
            turns = [(timed(network, patch), timed(torch.mm, matrix, matrix)) for _ in range(TURNS + 1)][1:]
        reached = found["gflop"] / statistics.median(turn[0] for turn in turns)
        most = 2 * MATRIX**3 / 1e9 / statistics.median(turn[1] for turn in turns)
        found |= {f"{name} GFLOP/s": reached, f"{name} matrix": most}
    facts.write_text(json.dumps(found))


def timed(work: Any, *given: Any) -> float:
    began = time.perf_counter()
    work(*given)
    return time.perf_counter() - began


# The parent


def held_out(work: Path) -> dict[str, Path]:
    """The images that are predicted, by case."""
    path = work / "images.json"
    return {case: Path(image) for case, image in json.loads(path.read_text()).items()} if path.is_file() else {}


def tool(name: str, options: argparse.Namespace, work: Path, model: Path) -> dict[str, Any]:
    """One turn of a tool."""
    out, facts = work / "masks" / name, work / "facts.json"
    out.mkdir(parents=True, exist_ok=True)
    python = str(options.nnunet / "bin" / "python") if name == "nnunet" else sys.executable
    command = [python, "-W", "ignore", str(Path(__file__).resolve()), "--child", name, "--work", str(work)]
    seconds, peak_bytes = run([*command, "--model", str(model)], None, work / f"{name}.log")
    rows = json.loads(facts.read_text())
    wall, cpu = (statistics.median(row[column] for row in rows[1:]) for column in (0, 1))
    return {"case": wall, "cpu": cpu, "all": seconds, "mb": peak_bytes / 1e6}


def scores(work: Path, data: Path, name: str) -> dict[str, float]:
    """Agreement with nnU-Net's masks, and Dice with the reference labels."""
    from osteon.core.dice import count_overlap, dice
    from osteon.dataset.dataset import Dataset
    from osteon.formats import read_segmentation

    opened = Dataset.open(data)
    structures = tuple(opened.manifest.structures)
    each: list[float] = []
    true: dict[str, list[float]] = {s.name: [] for s in structures}
    for case in opened.manifest.cases:
        path = work / "masks" / name / f"{case.id}.nii.gz"
        if not path.is_file() or case.segmentation is None:
            continue
        found = read_segmentation(path, structures).array
        other = read_segmentation(work / "masks/nnunet" / path.name, structures).array
        each += [value for c in count_overlap(found, other, structures).values() if (value := dice(c)) is not None]
        reference = read_segmentation(data / case.segmentation, structures).array
        if reference.shape != found.shape:
            continue
        for structure, count in count_overlap(found, reference, structures).items():
            if (value := dice(count)) is not None:
                true[structure].append(value)
    return {
        "least": min(each),
        "mean": statistics.fmean(each),
        "dice": statistics.fmean(map(statistics.fmean, true.values())) if all(true.values()) else float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet", type=Path, metavar="ENV", help="an environment with nnunetv2")
    parser.add_argument("--data", choices=TRAINING, default="hippocampus")
    parser.add_argument("--seconds", type=float, default=240, help="of nnU-Net's training")
    parser.add_argument("--finer", type=int, default=1, metavar="N", help="predict on grids N times as fine")
    parser.add_argument("--cases", type=int, help="only so many of the held-out cases")
    parser.add_argument("--runs", type=int, default=5, help="turns of each tool")
    parser.add_argument("--work", type=Path, help="by default .bench/predict-DATA")
    parser.add_argument("--trained", type=Path, metavar="FOLDER", help="a model of nnU-Net's, instead of training one")
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = (options.work or HERE.parent / f".bench/predict-{options.data}").resolve()
    images = held_out(work)
    if options.child == "peak":
        peak(options.model, work / "facts.json")
    elif options.child == "nnunet":
        nnunet(options.model, images, work / "masks/nnunet", work / "facts.json")
    elif options.child:
        osteon(options.model, images, work / "masks" / options.child, work / "facts.json", options.child)
    elif options.nnunet is None:
        parser.error("--nnunet ENV is needed")
    else:
        compare(options, work)


def compare(options: argparse.Namespace, work: Path) -> None:
    """Train, import, take turns, and print the tables."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(work / "nnunet" / name)
    os.environ |= {"nnUNet_compile": "false"}
    data, trained = dataset(options.data, work), work / "nnunet/nnUNet_results/Dataset001_osteon"
    model = options.trained or trained / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    if options.trained is None and not (model / "fold_all/checkpoint_final.pth").is_file():
        script = [str(options.nnunet / "bin/python"), str(HERE / "nnunet_budget.py"), str(data), str(work / "nnunet")]
        run([*script, str(options.seconds), *TRAINING[options.data]], None, work / "train.log")
    from osteon.dataset.dataset import Dataset

    cases = [case for case in Dataset.open(data).manifest.cases if case.held_out][: options.cases]
    images = {case.id: str((data / case.images[0]).resolve()) for case in cases}
    if options.finer > 1:
        images = {case: finer(Path(image), options.finer, work / "finer") for case, image in images.items()}
    (work / "images.json").write_text(json.dumps(images))
    imported = work / "model"
    run([*OSTEON, "import-model", "nnunet", str(model), str(imported), "--overwrite"], None, work / "import.log")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("nnunet", *ENGINES)}
    for _ in range(options.runs):
        for name, turns in rows.items():
            turns.append(tool(name, options, work, model if name == "nnunet" else imported))
            print(name, {key: round(value, 3) for key, value in turns[-1].items()}, file=sys.stderr, flush=True)
    report(rows, {name: scores(work, data, name) for name in rows}, len(images), options.runs)
    command = [sys.executable, str(Path(__file__).resolve()), "--child", "peak", "--work", str(work)]
    run([*command, "--model", str(imported)], None, work / "peak.log")
    facts = json.loads((work / "facts.json").read_text())
    print(f"\nThe network on one patch: {facts['gflop']:.1f} GFLOP\n")
    print("| engine | GFLOP/s | matrix product | of the peak |\n| --- | --- | --- | --- |")
    for name in ("torch", *ENGINES):
        reached, most = facts[f"{name} GFLOP/s"], facts[f"{name} matrix"]
        print(f"| {name} | {reached:.0f} | {most:.0f} | {100 * reached / most:.0f} % |")


def finer(image: Path, times: int, folder: Path) -> str:
    """The image, linearly interpolated onto a grid so many times as fine; its path."""
    import numpy as np
    import torch

    from osteon.core.geometry import Geometry
    from osteon.core.volume import Volume
    from osteon.formats import read_volume, write_volume

    path = folder / f"{image.name.partition('.')[0]}_{times}.nii.gz"
    if not path.is_file():
        volume = read_volume(image)
        scale = np.diag([*[1 / times] * 3, 1.0])
        scale[:3, 3] = (1 / times - 1) / 2
        array = torch.nn.functional.interpolate(
            torch.from_numpy(volume.array[None].astype(np.float32)), scale_factor=times, mode="trilinear"
        )[0].numpy()
        i, j, k = array.shape[1:]
        folder.mkdir(parents=True, exist_ok=True)
        write_volume(
            path, Volume(array.round().astype(np.int16), Geometry((i, j, k), volume.geometry.affine_ras @ scale))
        )
    return str(path)


def report(rows: dict[str, list[dict[str, Any]]], judged: dict[str, dict[str, float]], cases: int, runs: int) -> None:
    """The table of times."""
    medians = {name: {k: statistics.median(t[k] for t in turns) for k in turns[0]} for name, turns in rows.items()}
    base = medians["nnunet"]
    print(
        f"{date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores; {runs} runs of each\n"
    )
    print(f"| tool | case s | CPU s | {cases} cases s | memory MB | agreement least (mean) | Dice |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, m in medians.items():
        s = judged[name]
        text = "–" if name == "nnunet" else f"{s['least']:.4f} ({s['mean']:.5f})"
        true = "–" if math.isnan(s["dice"]) else f"{s['dice']:.4f}"
        times = {k: f" ({base[k] / m[k]:.1f}×)" if name != "nnunet" else "" for k in m}
        shown = "nnU-Net" if name == "nnunet" else f"osteon, {name}"
        print(
            f"| {shown} | {m['case']:.3f}{times['case']} | {m['cpu']:.3f}{times['cpu']} | {m['all']:.1f}{times['all']} "
            f"| {m['mb']:.0f}{times['mb']} | {text} | {true} |"
        )


if __name__ == "__main__":
    main()
