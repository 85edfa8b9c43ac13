"""What `osteon measure --what spine` finds in phantom spines, and in real ones beside published ranges.

python benchmarks/measure_spines.py phantoms [--spacing 1 2] [--count 20]
python benchmarks/measure_spines.py real SPINE_MR_LUMBAR_FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measures import displaced

from measure_bodies import draw
from measure_spines import Part, build, truths
from osteon.core.labels import Segmentation, make_structures
from osteon.formats import read_volume
from osteon.measuring.intervals import measure_scene
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene

NAMES = ("L1", "L2", "L3", "L4", "L5")
PUBLISHED = {
    ("anterior_height_mm", "L5"): "26.5 – 34.1 (Cook 2021)",
    ("posterior_height_mm", "L5"): "22.5 – 30.1 (Cook 2021)",
    ("middle_disc_height_mm", "L1 + L2"): "6.2 – 13.8 (MRI, Tehran)",
    ("middle_disc_height_mm", "L2 + L3"): "8.6 – 14.6 (MRI, Tehran)",
    ("middle_disc_height_mm", "L3 + L4"): "8.9 – 16.0 (MRI, Tehran)",
    ("middle_disc_height_mm", "L4 + L5"): "9.9 – 17.7 (MRI, Tehran)",
    ("lordosis_deg", "L1 + L5"): "40 on average, standing",
}
"""Mean ± 2 SD of adults; docs/measure.md has the sources."""


def draw_parts(rng: np.random.Generator) -> list[Part]:
    """Five vertebrae with random sizes, wedges, discs, curves and slips."""
    depth, width = rng.uniform(13, 18), rng.uniform(17, 24)
    return [
        Part(
            name,
            rng.uniform(18, 29),
            rng.uniform(-8, 12),
            depth,
            width,
            rng.uniform(0, 2),
            rng.uniform(6, 12),
            rng.uniform(0, 8),
            rng.uniform(-8, 8),
            rng.choice([0.0, rng.uniform(-3, 7)]),
            box=bool(rng.integers(2)),
        )
        for name in NAMES
    ]


def measure_phantoms(spacing: float, count: int, part: float) -> None:
    """Error, and how often the interval holds the truth, of each measure."""
    rows = defaultdict(list)
    for number in range(count):
        rng = np.random.default_rng(number)
        spine = build(draw_parts(rng), Rotation.from_euler("xyz", rng.uniform(-10, 10, 3), degrees=True))
        frame = Rotation.random(random_state=number).as_matrix() @ np.diag([1, 1, rng.choice([-1, 1])])
        fields = displaced(spine.fields(), rng, part * 0.25 * spacing)
        scene = make_scene(str(number), draw(fields, spine.grid(spacing, frame)))
        known = truths(spine)
        for one in measure_scene(scene, find_measures(["spine"])):
            truth = known.get((one.about, one.name))
            if truth is not None:
                value, low, high = (np.nan if n is None else n for n in (one.value, one.low, one.high))
                rows[one.name].append((value - truth, (high - low) / 2, float(low <= truth <= high)))
    for name, found in rows.items():
        errors, reach, inside = np.array([row for row in found if np.isfinite(row[0])]).T
        away = np.abs(errors)
        figures = (errors.mean(), away.mean(), np.quantile(away, 0.95), np.nanmean(reach))
        cells = [f"{spacing:g}", name, str(len(errors)), str(len(found) - len(errors)), *(f"{n:.2f}" for n in figures)]
        print(f"| {' | '.join(cells)} | {inside.mean():.0%} |", flush=True)


def measure_real(folder: Path) -> None:
    """Medians and ranges over the lumbar spines, beside what is published."""
    rows = defaultdict(list)
    for file in sorted(folder.glob("*_label.nrrd")):
        volume = read_volume(file)
        labels = Segmentation(np.asarray(volume.array[0]).astype(np.uint8), volume.geometry, make_structures(NAMES))
        for one in measure_scene(make_scene(file.name, labels), find_measures(["spine"])):
            if one.value is not None:
                rows[one.name, one.about].append(one.value)
    for (name, about), values in rows.items():
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
        expected = PUBLISHED.get((name, about), "")
        print(f"| {name} | {about} | {len(values)} | {middle:.2f} | {low:.2f} – {high:.2f} | {expected} |")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("phantoms", "real"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--spacing", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--displaced", type=float, default=0.0)
    chosen = parser.parse_args()
    if chosen.what == "real":
        if chosen.folder is None:
            parser.error("real takes the folder of the lumbar spines")
        print("| measure | vertebrae | cases | median | 5–95 % | published |\n| --- | --- | --- | --- | --- | --- |")
        measure_real(chosen.folder)
        return
    print("| voxel mm | measure | figures | not measured | mean error | mean absolute | 95 % below | ± | inside |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for spacing in chosen.spacing:
        measure_phantoms(spacing, chosen.count, chosen.displaced)


if __name__ == "__main__":
    main()
