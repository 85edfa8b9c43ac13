"""One training step of each published 2D network at its published size: seconds and memory, each in a process apart.

    python benchmarks/full_size.py
    python benchmarks/full_size.py --device cuda --batch 2 --precision bf16

29 overlapping structures, one channel. The first step is a warm-up; the median of the next three is given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from osteon.networks.encoders import has_fixed_size
from osteon.plan.schema import Plan, write_plan

MODELS = (
    ("unet", "resnet34", 1024),
    ("unet", "resnet50", 1024),
    ("unetplusplus", "resnet50", 1024),
    ("unetplusplus", "resnet101", 1024),
    ("unetplusplus", "efficientnet-b5", 1024),
    ("unetplusplus", "timm-gernet_l", 1024),
    ("manet", "resnet50", 1024),
    ("manet", "tu-res2net50_26w_4s", 1024),
    ("manet", "tu-resnest50d_4s2x40d", 1024),
    ("upernet", "resnet101", 1536),
    ("upernet", "tu-swinv2_tiny_window8_256", 1536),
    ("upernet", "tu-swin_tiny_patch4_window7_224", 1024),
    ("segformer", "mit_b0", 1024),
    ("deeplabv3", "tu-tf_efficientnet_b8", 1024),
)
BONES = 29


def plan_of(network: str, encoder: str, size: int, batch: int) -> Plan:
    """A plan for slices of that size."""
    structures = [{"name": f"b{n}", "value": n, "colour": "#ff0000"} for n in range(1, BONES + 1)]
    section = {"name": network, "encoder": encoder, "weights": "none", "fixed_size": has_fixed_size(encoder)}
    training = {"recipe": "osteon", "optimiser": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01}
    training |= {"schedule": "cosine", "clip_gradient": 2.0, "foreground_share": 0.5, "loss": "dice_bce"}
    return Plan.model_validate(
        {
            "dataset": "hands",
            "unit": "px",
            "channels": [{"name": "xray", "modality": "xray"}],
            "structures": structures,
            "overlapping": True,
            "grid": {"dimensions": 2, "spacing_mm": [1.0, 1.0, 1.0], "resample_last": False},
            "intensities": [{"channel": "xray"}],
            "patch": {"size": [size, size, 1], "batch": batch},
            "network": section,
            "training": {**training, "epoch_iterations": 100, "epochs": 10},
            "augmentation": {"affine_p": 1.0, "rotate_degrees": [0.0, 0.0, 20.0], "scale": [0.8, 1.2]},
        }
    )


def measure(plan: Plan, device: str, precision: str) -> dict[str, float | str]:
    """Seconds, bytes and parameters of a step; or the error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        write_plan(path, plan)
        scan = json.dumps([*plan.patch.size, 1.0, 1.0, 1.0])
        command = [sys.executable, "-m", "osteon.planning.probe", str(path), device, scan, precision]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    result: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], help="encoders")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{date.today()}, {options.device}, {options.precision}, {cores} core(s), {platform.machine()}\n")
    head = ["network", "encoder", "pixels", "batch", "million weights", "s/step", "memory GB"]
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head))), flush=True)
    for network, encoder, size in MODELS:
        if options.only and encoder not in options.only:
            continue
        got = measure(plan_of(network, encoder, size, options.batch), options.device, options.precision)
        cells = [network, encoder, f"{size}²", str(options.batch)]
        if "error" in got:
            cells += ["–", "–", str(got["error"])]
        else:
            cells += [f"{got['parameters'] / 1e6:.1f}", f"{got['seconds']:.2f}", f"{got['bytes'] / 1e9:.2f}"]  # type: ignore[operator]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
