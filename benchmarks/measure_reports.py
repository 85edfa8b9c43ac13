"""Reports of `osteon measure` of phantoms: a leg, a spine, a fracture, a hand, visits; and pictures for the docs.

    python benchmarks/measure_reports.py OUT [--docs docs/measure] [--only leg,spine,fracture,hand,visits]

Each is written as label files, measured by the command with `--report html,pdf`, and lies in OUT/NAME/measured.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from measure_bodies import Field, ball, draw, grid_around, mirrored, turned
from measure_bones import MadeFemur, MadeTibia
from measure_fractures import Move, broken_femur, halves, other_side
from measure_spines import Part, build
from osteon.formats import write_segmentation

TAKEN: Mapping[str, tuple[str, Mapping[str, int | str]]] = {
    "leg": ("reports/leg.html", {"leg-front": 0}),
    "spine": ("reports/spine.html", {"spine-side": 1}),
    "fracture": ("reports/fracture.html", {"fracture": 0}),
    "hand": ("reports/image1661392103627.html", {"hand": 0}),
    "visits": ("cohort.html", {"cohort": "the cases", "visits": "volume, cm³ over"}),
}
"""Phantom → a page, and which of its pictures, by number or words, are in the docs under which name."""


LEFT = MadeFemur(neck_shaft=119, turn=9, scale=0.98)


def command(*arguments: object) -> None:
    """`osteon …`."""
    subprocess.run([sys.executable, "-m", "osteon.cli", *map(str, arguments)], check=True)


def leg(folder: Path) -> list[str]:
    """Both legs of an adult, the left one shorter and turned in, the right knee in varus."""
    fields: dict[str, Field] = {}
    for side, x, thigh, turn in (("right", 95, MadeFemur(neck_shaft=128, turn=22), 35.0), ("left", -95, LEFT, 24.0)):
        shin = MadeTibia(torsion=turn, shift=(0, 0, -28), slope=2)
        for name, field in (("femur", thigh), ("tibia", shin), ("fibula", shin.fibula)):
            own = mirrored(field) if side == "left" else field
            fields[f"{name}_{side}"] = turned(own, np.eye(3), (x, 0, 0))
    segmentation = draw(fields, grid_around((-175, -45, -410), (175, 65, 465), 2.0))
    write_segmentation(folder / "labels/leg.seg.nrrd", segmentation)
    return ["--what", "femur,tibia,leg"]


def spine(folder: Path) -> list[str]:
    """T12 to L5 with a wedged L1, a slip of L4 and a curve."""
    more = {"arch": True}
    parts = [
        Part("vertebrae_T12", wedge=4, disc=7, forwards=2, sideways=3, **more),  # type: ignore[arg-type]
        Part("vertebrae_L1", wedge=14, height=22, disc=8, forwards=2, sideways=6, **more),  # type: ignore[arg-type]
        Part("vertebrae_L2", disc=9, forwards=6, sideways=6, **more),  # type: ignore[arg-type]
        Part("vertebrae_L3", disc=10, forwards=8, sideways=-5, **more),  # type: ignore[arg-type]
        Part("vertebrae_L4", disc=10, forwards=12, sideways=-8, slip=6, **more),  # type: ignore[arg-type]
        Part("vertebrae_L5", wedge=6, **more),  # type: ignore[arg-type]
    ]
    made = build(parts)
    write_segmentation(folder / "labels/spine.seg.nrrd", draw(made.fields(), made.grid(1.0)))
    return ["--what", "spine"]


def fracture(folder: Path) -> list[str]:
    """A femur in two pieces, one of them moved, and the other side."""
    below, above = halves()
    bones = {"femur_right": [below, Move().apply(above)], "femur_left": [other_side()]}
    write_segmentation(folder / "labels/fracture.nii.gz", broken_femur(bones, spacing=1.5))
    return ["--what", "fractures", "--labels", "femur_right=1-2,femur_left=3"]


def hand(folder: Path) -> list[str]:
    """The hand of `osteon phantom hand`, imported as a dataset."""
    command("phantom", "hand", folder / "made", "--cases", "1", "--quiet")
    command("import", folder / "made/source", folder / "labels", "--quiet")
    return ["--what", "bone,joint"]


def visits(folder: Path) -> list[str]:
    """Seven people's bone, two of whom came again; one is much larger than the others."""
    rows, rng = ["case,subject,date"], np.random.default_rng(1)
    for person in range(7):
        for visit in range(3 if person < 2 else 1):
            name = f"p{person + 1}_{visit + 1}"
            size = (1.5 if person == 6 else 1.0) * (1 + 0.03 * rng.standard_normal() + 0.04 * visit)
            radii = [size * r for r in (30.0, 14.0, 11.0)]
            box = [1.3 * r for r in radii]
            body = draw({"patella_left": ball((0, 0, 0), radii)}, grid_around([-r for r in box], box, 1.0))
            write_segmentation(folder / f"labels/{name}.seg.nrrd", body)
            rows.append(f"{name},p{person + 1},{2024 + visit}-0{person + 1}-1{visit}")
    (folder / "visits.csv").write_text("\n".join(rows) + "\n")
    return ["--what", "bone", "--visits", str(folder / "visits.csv")]


MAKERS: Mapping[str, Callable[[Path], list[str]]] = {
    "leg": leg,
    "spine": spine,
    "fracture": fracture,
    "hand": hand,
    "visits": visits,
}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--only", default=",".join(MAKERS))
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        folder = arguments.out / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        options = [*MAKERS[name](folder), "--report", "html,pdf", "--quiet"]
        print(f"osteon measure {folder / 'labels'} {folder / 'measured'} {' '.join(options)}")
        command("measure", folder / "labels", folder / "measured", *options)
        if arguments.docs is not None:
            keep_pictures(folder / "measured", name, arguments.docs)


def keep_pictures(measured: Path, name: str, docs: Path) -> None:
    """The pictures of a page that the docs show, as they stand in it but smaller."""
    page, wanted = TAKEN[name]
    found = re.findall(
        r"data:image/png;base64,([^\"]+)\" alt=\"([^\"]+)", (measured / page).read_text(encoding="utf-8")
    )
    for picture, which in wanted.items():
        taken = found[which] if isinstance(which, int) else next(one for one in found if which in one[1])
        docs.mkdir(parents=True, exist_ok=True)
        image = Image.open(io.BytesIO(base64.b64decode(taken[0]))).convert("RGB")
        image.thumbnail((700, 480), Image.Resampling.LANCZOS)
        image.quantize(255, kmeans=2).save(docs / f"{picture}.png", optimize=True)


if __name__ == "__main__":
    main()
