"""Train nnU-Net 3d_fullres for a number of seconds on the CPU and predict an osteon dataset's held-out cases.

    python3 -m venv ENV && ENV/bin/pip install nnunetv2==2.8.1 'torch>=2.8,<2.14'
    ENV/bin/python benchmarks/nnunet_budget.py DATASET OUT SECONDS

Run by the Python of an environment with nnunetv2, which need not have osteon; benchmarks/time_to_dice.py --nnunet ENV
does so. Where `import timm` fails there with "operator torchvision::nms does not exist", `ENV/bin/pip uninstall
torchvision`: nnU-Net works without.

Writes OUT/predictions/<case id>.nii.gz with osteon's values, and OUT/facts.json:

    iterations   of training; the poly schedule ends with the budget
    prepare_s    planning and preprocessing
    train_s      the training process from start to end: Python, loading and saving on top of SECONDS
    predict_s    the predicting process from start to end; no test-time augmentation, one case after the other
    train_mb     peak resident set of the training process (augmentation runs in it), MB = 10⁶ bytes
    predict_mb   peak resident set of the predicting process

OUT also keeps nnU-Net's own folders. What an earlier run left in OUT is replaced.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "Dataset001_osteon"
CONFIGURATION = "3d_fullres"
ENDING = ".nii.gz"
WARM_UP = 2
"""Iterations that say nothing about the speed of the others: the first ones set up kernels and memory."""
REPORT_S = 30.0
"""Seconds between two lines about the training."""
SEED = 0
QUICK_RATE = 2e-3


@dataclass(frozen=True)
class Job:
    """What the command line asks for, and where nnU-Net's folders lie."""

    dataset: Path
    out: Path
    seconds: float
    quick: bool = False
    residual: bool = False
    spacing: tuple[float, ...] | None = None

    @property
    def raw(self) -> Path:
        """Images and labels as nnU-Net wants them."""
        return self.out / "nnUNet_raw" / NAME

    @property
    def model(self) -> Path:
        """The trained model, as nnUNetv2_predict reads it."""
        return self.out / "nnUNet_results" / NAME / f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"

    @property
    def predicted(self) -> Path:
        """Predictions with nnU-Net's values."""
        return self.out / "nnUNet_predictions"

    @property
    def predictions(self) -> Path:
        """Predictions with osteon's values."""
        return self.out / "predictions"

    @property
    def training(self) -> Path:
        """What the training process says about itself."""
        return self.out / "training.json"

    def manifest(self) -> dict[str, Any]:
        """dataset.yaml."""
        import yaml

        path = self.dataset / "dataset.yaml"
        if not path.is_file():
            raise SystemExit(f"{path} does not exist; give a folder that `osteon import` has written")
        manifest: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return manifest

    def held_out(self) -> list[dict[str, Any]]:
        """The cases to predict."""
        return [case for case in self.manifest()["cases"] if case.get("held_out")]


def threads() -> int:
    """OMP_NUM_THREADS where it is set, as time_to_dice.py --cores does; else all cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


# Stages, each in a process of its own


def convert(job: Job) -> None:
    """The dataset in nnU-Net's layout: labelled cases that are not held out to train, held-out ones to test."""
    manifest = job.manifest()
    structures, channels = manifest["structures"], manifest["channels"]
    train = [case for case in manifest["cases"] if case.get("segmentation") and not case.get("held_out")]
    test = job.held_out()
    if not train or not test:
        raise SystemExit(
            f"{job.dataset}: {len(train)} labelled cases to train on and {len(test)} held out; both are needed "
            "(osteon import --hold-out last:6, for example)"
        )
    if manifest.get("overlapping"):
        raise SystemExit(f"{job.dataset}: its structures overlap, which nnU-Net's labels cannot say")
    names = {s["name"] for s in structures}
    partly = [case["id"] for case in train if case.get("annotated") is not None and set(case["annotated"]) != names]
    if partly:
        raise SystemExit(f"{job.dataset}: not every structure is annotated in {', '.join(partly)}; nnU-Net needs that")
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (job.raw / folder).mkdir(parents=True)
    order = {s["value"]: n for n, s in enumerate(structures, start=1)}
    for case in train:
        write_channels(job, case, len(channels), job.raw / "imagesTr")
        write_labels(job, case, order, job.raw / "labelsTr")
    for case in test:
        write_channels(job, case, len(channels), job.raw / "imagesTs")
    # nnU-Net chooses the normalisation by the channel's name: CT is clipped, every other one is z-scored
    kinds = {str(n): "CT" if c["modality"] == "ct" else c["modality"].upper() for n, c in enumerate(channels)}
    description = {
        "channel_names": kinds,
        "labels": {"background": 0} | {s["name"]: order[s["value"]] for s in structures},
        "numTraining": len(train),
        "file_ending": ENDING,
    }
    (job.raw / "dataset.json").write_text(json.dumps(description, indent=1))
    log(f"{len(train)} cases to train on, {len(test)} to predict; {len(structures)} structures")


def write_channels(job: Job, case: dict[str, Any], expected: int, folder: Path) -> None:
    """One file for each channel; NIfTI of one channel is linked."""
    import SimpleITK as sitk  # noqa: N813

    number = 0
    for path in (job.dataset / image for image in case["images"]):
        header = sitk.ImageFileReader()
        header.SetFileName(str(path))
        try:
            header.ReadImageInformation()
            plain = header.GetDimension() == 3 and header.GetNumberOfComponents() == 1
            images = [None] if plain and path.name.endswith(ENDING) else channels_of(sitk.ReadImage(str(path)))
        except RuntimeError as error:
            raise SystemExit(f"case {case['id']}: {path} cannot be read: {error}") from None
        for image in images:
            target = folder / f"{case['id']}_{number:04d}{ENDING}"
            if image is None:
                link(path, target)
            else:
                sitk.WriteImage(image, str(target))
            number += 1
    if number != expected:
        raise SystemExit(f"case {case['id']}: {number} channels, where dataset.yaml lists {expected}")


def channels_of(image: Any) -> list[Any]:
    """The channels of an image that holds them as vectors or as a fourth axis."""
    import SimpleITK as sitk  # noqa: N813

    if image.GetNumberOfComponentsPerPixel() > 1:
        return [sitk.VectorIndexSelectionCast(image, n) for n in range(image.GetNumberOfComponentsPerPixel())]
    if image.GetDimension() == 4:
        return [image[:, :, :, n] for n in range(image.GetSize()[3])]
    return [image]


def link(path: Path, target: Path) -> None:
    """A symbolic link, or a copy where the file system knows none."""
    try:
        target.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, target)


def write_labels(job: Job, case: dict[str, Any], order: dict[int, int], folder: Path) -> None:
    """The case's segmentation on its image's grid, with the values 1 … n."""
    import SimpleITK as sitk  # noqa: N813

    path = job.dataset / case["segmentation"]
    if path.name.endswith(".seg.nrrd"):
        raise SystemExit(f"case {case['id']}: {path} names its segments; this script reads plain label maps only")
    labels = sitk.ReadImage(str(path))
    image = sitk.ReadImage(str(folder.parent / "imagesTr" / f"{case['id']}_0000{ENDING}"))
    if not same_grid(labels, image):  # osteon's import has seen to it that at most the order of the axes differs
        labels = sitk.Resample(labels, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, labels.GetPixelID())
    remapped = remap(labels, order, f"case {case['id']}: {path}")
    remapped.CopyInformation(image)
    sitk.WriteImage(remapped, str(folder / f"{case['id']}{ENDING}"))


def same_grid(one: Any, other: Any, tolerance: float = 1e-3) -> bool:
    """Whether two SimpleITK images lie on one grid, to a tolerance in millimetres (and for direction cosines)."""
    if one.GetSize() != other.GetSize():
        return False
    parts = [(g.GetOrigin() + g.GetSpacing() + g.GetDirection()) for g in (one, other)]
    return all(abs(a - b) <= tolerance for a, b in zip(*parts, strict=True))


def remap(labels: Any, values: dict[int, int], name: str) -> Any:
    """The label map with each value replaced; 0 stays."""
    import numpy as np
    import SimpleITK as sitk  # noqa: N813

    array = sitk.GetArrayFromImage(labels)
    strange = sorted(set(np.unique(array).tolist()) - {0, *values})
    if strange:
        raise SystemExit(f"{name}: holds values that no structure has: {', '.join(f'{v:g}' for v in strange[:10])}")
    highest = max(values.values())
    kind = next(k for k in (np.uint8, np.uint16, np.uint32) if highest <= np.iinfo(k).max)
    table = np.zeros(max(values) + 1, dtype=kind)
    for old, new in values.items():
        table[old] = new
    result = sitk.GetImageFromArray(table[array.astype(np.int64)])
    result.CopyInformation(labels)
    return result


def plan(job: Job) -> None:
    """Fingerprint, plans and preprocessing, in two processes at most."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as residual,
    )

    planner = residual.nnUNetPlannerResEncM if job.residual else ExperimentPlanner
    processes = min(2, threads())
    api.extract_fingerprint_dataset(1, num_processes=processes, check_dataset_integrity=False, show_progress_bar=False)
    plans, _ = api.plan_experiment_dataset(
        1, planner, overwrite_target_spacing=job.spacing, overwrite_plans_name="nnUNetPlans"
    )
    if CONFIGURATION not in plans["configurations"]:
        raise SystemExit(f"{job.dataset}: nnU-Net plans no {CONFIGURATION} for it; are the images flat?")
    api.preprocess_dataset(1, configurations=(CONFIGURATION,), num_processes=[processes], show_progress_bar=False)


def train(job: Job) -> None:
    """Train on all cases until the budget is spent."""
    import numpy as np
    import torch

    # Augmentation in this process: with two cores, workers only take them from the network. Planning refuses the 0
    os.environ |= {"nnUNet_n_proc_DA": "0"}
    torch.set_num_threads(threads())
    random.seed(SEED)
    np.random.seed(SEED)  # nnU-Net draws from the global generator
    torch.manual_seed(SEED)
    folder = job.out / "nnUNet_preprocessed" / NAME
    plans = json.loads((folder / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    trainer = budget_trainer(job.seconds, quick=job.quick)(
        plans, CONFIGURATION, "all", json.loads((folder / "dataset.json").read_text()), torch.device("cpu")
    )
    trainer.run_training()
    job.training.write_text(json.dumps({"iterations": trainer.iterations}))


def budget_trainer(seconds: float, *, quick: bool) -> type:
    """A trainer that stops after so many seconds; a quick one takes AdamW, and bf16 on the CPU too."""
    import torch
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class BudgetTrainer(nnUNetTrainer):
        """The trainer's network, loss, optimiser, augmentation and poly schedule, in a loop that ends with a budget.

        An epoch is one iteration, so the schedule is as smooth as over nnU-Net's 1000 epochs. How many there will be
        follows from the mean seconds of an iteration, measured anew after each: the learning rate reaches its end
        with the budget also where the machine's speed changes. There is no validation, and one checkpoint at the end.
        """

        iterations = 0

        def run_training(self) -> None:
            """Train; the clock starts with the first iteration."""
            self.on_train_start()
            if quick:
                self.initial_lr = QUICK_RATE
                self.optimizer = torch.optim.AdamW(self.network.parameters(), QUICK_RATE)
                self.lr_scheduler = PolyLRScheduler(self.optimizer, QUICK_RATE, 1)
            self.network.train()
            times: list[float] = []
            losses: list[float] = []
            planned = 1
            began = last = reported = time.perf_counter()
            while len(times) < planned:
                self.lr_scheduler.max_steps = planned
                self.lr_scheduler.step(len(times))
                with torch.autocast("cpu", torch.bfloat16, enabled=quick):
                    losses.append(float(self.train_step(next(self.dataloader_train))["loss"]))
                now = time.perf_counter()
                times.append(now - last)
                last = now
                each = statistics.fmean(times[WARM_UP:] or times)
                planned = len(times) + max(0, round((began + seconds - now) / each))
                if now - reported >= REPORT_S or len(times) == planned:
                    rate = self.optimizer.param_groups[0]["lr"]
                    self.print_to_log_file(
                        f"iteration {len(times)} of about {planned}, {each:.3f} s each, "
                        f"loss {statistics.fmean(losses):.4f}, learning rate {rate:.5f}"
                    )
                    losses, reported = [], now
            self.iterations = len(times)
            log(f"{self.iterations} iterations in {last - began:.1f} of {seconds:g} s")
            self.on_train_end()

    # Nothing differs for a prediction: under this name nnU-Net finds the class that builds the network
    BudgetTrainer.__name__ = "nnUNetTrainer"
    return BudgetTrainer


def predict(job: Job) -> None:
    """Predict the held-out cases by nnU-Net's predictor, without mirroring, in this one process."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(threads())
    cases = sorted(case["id"] for case in job.held_out())
    images = [sorted(map(str, (job.raw / "imagesTs").glob(f"{case}_[0-9][0-9][0-9][0-9]{ENDING}"))) for case in cases]
    job.predicted.mkdir(parents=True, exist_ok=True)
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(job.model), ("all",))
    predictor.predict_from_files_sequential(images, [str(job.predicted / case) for case in cases])


def collect(job: Job) -> None:
    """The predictions with osteon's values."""
    import SimpleITK as sitk  # noqa: N813

    values = {n: s["value"] for n, s in enumerate(job.manifest()["structures"], start=1)}
    job.predictions.mkdir(parents=True, exist_ok=True)
    for case in job.held_out():
        path = job.predicted / f"{case['id']}{ENDING}"
        sitk.WriteImage(remap(sitk.ReadImage(str(path)), values, str(path)), str(job.predictions / path.name))


STAGES = {"convert": convert, "plan": plan, "train": train, "predict": predict, "collect": collect}


# The parent


def log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {message}", flush=True)


def run_stage(job: Job, stage: str) -> tuple[float, int]:
    """Run a stage in a process of its own; seconds, and its peak resident set in bytes.

    This process has imported nothing large: Linux counts the memory of the process that starts another into its peak.
    """
    log(stage)
    command = [sys.executable, str(Path(__file__).resolve()), str(job.dataset), str(job.out), str(job.seconds)]
    command += ["--quick"] if job.quick else []
    command += ["--residual"] if job.residual else []
    command += ["--spacing", *map(str, job.spacing)] if job.spacing else []
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--stage", stage])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode < 0:
        raise SystemExit(f"{stage}: killed by signal {-process.returncode} (9: often for want of memory)")
    if process.returncode:
        raise SystemExit(f"{stage} failed; see the message above")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def clear(job: Job) -> None:
    """Remove what an earlier run has left."""
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_predictions", "predictions"):
        shutil.rmtree(job.out / folder, ignore_errors=True)
    for file in (job.training, job.out / "facts.json"):
        file.unlink(missing_ok=True)
    job.out.mkdir(parents=True, exist_ok=True)


def set_environment(out: Path) -> None:
    """What nnU-Net reads from the environment; the stages' processes inherit it."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(out / name)
    os.environ |= {"nnUNet_compile": "false", "nnUNet_def_n_proc": str(threads())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="an osteon dataset: a folder with dataset.yaml")
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder; what an earlier run left there is replaced")
    parser.add_argument("seconds", type=float, metavar="SECONDS", help="seconds of training, without preparation")
    parser.add_argument("--quick", action="store_true", help="train by AdamW in bf16: no peer, but a model in minutes")
    parser.add_argument("--residual", action="store_true", help="nnU-Net's preset ResEncM: its residual-encoder U-Net")
    parser.add_argument("--spacing", type=float, nargs=3, metavar="MM", help="nnU-Net's grid, slices first")
    parser.add_argument("--stage", choices=STAGES, help="run only this stage, on what the earlier ones left in OUT")
    options = parser.parse_args()
    if not options.seconds > 0:
        parser.error(f"SECONDS must be more than 0, not {options.seconds:g}")
    if importlib.util.find_spec("nnunetv2") is None:
        raise SystemExit(f"{sys.executable} has no nnunetv2; run this by the Python of an environment that has it")
    dataset, out = options.dataset.resolve(), options.out.resolve()
    job = Job(dataset, out, options.seconds, options.quick, options.residual, options.spacing)
    set_environment(job.out)
    if options.stage:
        STAGES[options.stage](job)
        return
    clear(job)
    run_stage(job, "convert")
    prepare_seconds, _ = run_stage(job, "plan")
    train_seconds, train_bytes = run_stage(job, "train")
    predict_seconds, predict_bytes = run_stage(job, "predict")
    run_stage(job, "collect")
    facts = {
        "iterations": json.loads(job.training.read_text())["iterations"],
        "prepare_s": round(prepare_seconds, 1),
        "train_s": round(train_seconds, 1),
        "predict_s": round(predict_seconds, 1),
        "train_mb": train_bytes // 10**6,
        "predict_mb": predict_bytes // 10**6,
    }
    (job.out / "facts.json").write_text(json.dumps(facts, indent=1))
    log(f"done: {facts}")


if __name__ == "__main__":
    main()
