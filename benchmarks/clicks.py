"""How many clicks does a vertebra take? Dice after 0, 1, 2, 3, 5 and 10 clicks by a simulated annotator.

    python benchmarks/clicks.py
    python benchmarks/clicks.py --tools points --scans 1 --structures L3     # a look at one

Lumbar MR: the first 18 scans are trained on (`osteon train --interactive`), the last 6 are the test. The annotator
clicks deepest in the largest error of what there is, and knows nothing else. Nothing is there before the first click.
Seconds are the processor's, of one thread, for everything that a click needs in an open scan; opening it is another
column. Each row is kept in rows.json as soon as it is there, and is not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from five_kinds import osteon

from osteon.core.clicks import Click, ClickAnswer, Mask, next_click
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.labelling.growth import grow_structure
from osteon.predicting.click_session import ClickSession
from osteon.predicting.model_folder import load_model

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
COUNTS = (0, 1, 2, 3, 5, 10)
Tool = Callable[[Sequence[Click]], ClickAnswer]
LABELS = "L1=1,L2=2,L3=3,L4=4,L5=5"
SETTINGS = (  # on one hyperthread that others share, the planner's own sizes would see too few patches
    "grid.spacing_mm=[2.25,2.25,2.25]",
    "patch.size=[40,32,24]",
    "interactive.radius=4.5",
    "network.features=[12,24,48,96]",
)


def by_points(volume: Volume, _: Path) -> Tool:
    """The tool that needs no model."""
    return lambda clicks: grow_structure(volume.array[0], clicks, volume.geometry.spacing_mm)


def by_model(volume: Volume, run: Path) -> Tool:
    """The click model."""
    session = ClickSession(load_model(run), volume)
    return lambda clicks: session.answer(clicks)


TOOLS: dict[str, Callable[[Volume, Path], Tool]] = {"points": by_points, "model": by_model}


def annotate(tool: Tool, reference: Mask) -> dict[str, list[float]]:
    """Dice after each click, and the seconds that each took."""
    mask, clicks = np.zeros(reference.shape, bool), list[Click]()
    dices, seconds = [0.0], list[float]()
    for _ in range(COUNTS[-1]):
        click = next_click(mask, reference)
        if click is not None:
            clicks.append(click)
            began = time.process_time()
            answer = tool(clicks)
            seconds.append(time.process_time() - began)
            mask[answer.box.slices] = answer.mask
        dices.append(float(2 * (mask & reference).sum() / (mask.sum() + reference.sum())))
    return {"dice": dices, "seconds": seconds}


def table(rows: dict[str, Any], tools: Sequence[str]) -> str:
    """A row for each tool and structure, and one for all."""
    heads = ["tool", "structure", "n", *(f"{count} clicks" for count in COUNTS)]
    heads += ["least after 3", "≥ .9 after 3", "≥ .9 after 5", "s a click", "most s", "s to open"]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * (len(heads) - 2)}"]
    for tool in tools:
        own = {key: row for key, row in rows.items() if key.startswith(f"{tool} ")}
        names = sorted({key.split()[2] for key in own})
        for name in [*names, "all"]:
            some = [row for key, row in own.items() if name in ("all", key.split()[2])]
            if not some:
                continue
            dices = [f"{fmean(row['dice'][count] for row in some):.3f}" for count in COUNTS]
            after, later = ([row["dice"][count] for row in some] for count in (3, 5))
            each = [s for row in some for s in row["seconds"]]
            figures = [f"{min(after):.3f}", f"{sum(d >= 0.9 for d in after)}", f"{sum(d >= 0.9 for d in later)}"]
            figures += [f"{fmean(each):.2f}", f"{max(each):.2f}", f"{fmean(row['opened'] for row in some):.2f}"]
            lines.append(f"| {' | '.join([tool, name, str(len(some)), *dices, *figures])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default="points,model")
    parser.add_argument("--budget", default="18min", help="of the training")
    parser.add_argument("--scans", type=int, default=6, help="so many of the test scans")
    parser.add_argument("--structures", default="L1,L2,L3,L4,L5")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "clicks")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data, run, kept = options.work / "lumbar", options.work / "run", options.work / "rows.json"
    if not (data / "dataset.yaml").is_file():
        osteon(
            "import",
            SHARED / "spine-mr-lumbar" / "pairs.txt",
            data,
            "--modality",
            "mr",
            "--labels",
            LABELS,
            "--hold-out",
            "last:6",
        )
    tools = options.tools.split(",")
    if "model" in tools and not (run / "model" / "weights.safetensors").is_file():
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        print(osteon("train", data, run, "--interactive", *settings, "--fold", "none", "--budget", options.budget))
    dataset = Dataset.open(data)
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    for case in [case for case in dataset.manifest.cases if case.held_out][: options.scans]:
        volume, segmentation = dataset.load_image(case), dataset.load_segmentation(case)
        for name in tools:
            wanted = [s for s in segmentation.structures if s.name in options.structures.split(",")]
            missing = [s for s in wanted if f"{name} {case.id} {s.name}" not in rows]
            if not missing:
                continue
            began = time.process_time()
            tool = TOOLS[name](volume, run)
            opened = time.process_time() - began
            for structure in missing:
                reference = segmentation.mask(structure)
                rows[f"{name} {case.id} {structure.name}"] = annotate(tool, reference) | {"opened": opened}
                kept.with_suffix(".new").write_text(json.dumps(rows, indent=1))
                kept.with_suffix(".new").replace(kept)
    print(table(rows, tools))


if __name__ == "__main__":
    main()
