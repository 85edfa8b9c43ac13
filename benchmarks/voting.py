"""How long does a vote of 5, 20 and 50 members take, and does its memory stay that of one image?

    taskset -c 1 python benchmarks/voting.py
    taskset -c 1 python benchmarks/voting.py --members 5 20 50 --images 4 --forms tables volumes probabilities

Made-up members, each row one `osteon vote` in a process of its own; memory is its peak resident set, of which the
first row, a vote of two members on one tiny picture, is what Python and its libraries take.

- tables: 29 overlapping structures in radiographs of 2048² pixels, as tables of RLE; hard votes and STAPLE.
- layers: the same as .seg.nrrd files of 29 layers each, which are 122 MB of voxels a picture and member.
- volumes: index maps of 6 structures on 256 x 256 x 200 voxels.
- probabilities: 6 structures and the background on 256 x 256 x 128 voxels, in 255ths.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.formats import write_segmentation
from osteon.formats.probabilities import make_header, write_probabilities
from osteon.formats.rle import runs_to_text, write_rle_csv

SIDE, BONES = 2048, 29
SOLID, SHARES = (256, 256, 200), (256, 256, 128)
FORMS = ("tables", "tables, STAPLE", "layers", "volumes", "volumes, STAPLE", "probabilities")
OVERLAPPING = make_structures([f"bone {n + 1}" for n in range(BONES)])
INDEX = make_structures([f"fragment {n + 1}" for n in range(6)])


def ellipse(image: int, bone: int, member: int) -> npt.NDArray[np.int64]:
    """The runs of one bone in one picture, its outline a little different for each member: about 300 of them."""
    place = np.random.default_rng([image, bone])
    row, column = place.uniform(300, SIDE - 300, 2)
    height, width = place.uniform(60, 260, 2)
    own = np.random.default_rng([image, bone, member])
    row, column, height, width = np.array([row, column, height, width]) + own.normal(0, 4, 4)
    rows = np.arange(int(row - height) + 1, int(row + height))
    half = width * np.sqrt(1 - ((rows - row) / height) ** 2) + own.normal(0, 1.5, len(rows))
    half = np.maximum(half, 1)
    first = np.rint(column - half).astype(np.int64)
    return np.stack([rows * SIDE + first + 1, np.rint(2 * half).astype(np.int64)], axis=1)


def make_table(path: Path, member: int, images: int) -> None:
    rows = (
        (f"hand{image}.png", bone.name, runs_to_text(ellipse(image, number, member)))
        for image in range(images)
        for number, bone in enumerate(OVERLAPPING)
    )
    write_rle_csv(path, rows)


def make_layers(folder: Path, member: int, images: int) -> None:
    geometry = Geometry((SIDE, SIDE, 1), np.eye(4), "px")
    for image in range(images):
        layers = np.zeros((BONES, SIDE * SIDE), np.uint8)
        for number in range(BONES):
            for first, length in ellipse(image, number, member):
                layers[number, first - 1 : first - 1 + length] = 1
        array = layers.reshape(BONES, SIDE, SIDE, 1)
        write_segmentation(folder / f"hand{image}.seg.nrrd", Segmentation(array, geometry, OVERLAPPING))


def balls(shape: tuple[int, ...], image: int, member: int) -> list[npt.NDArray[np.float32]]:
    """How far each voxel lies inside each of six balls, as a part of the radius."""
    own = np.random.default_rng([image, member])
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    found = []
    for number in range(len(INDEX)):
        centre = np.array(shape) * (number + 1) / (len(INDEX) + 1) + own.normal(0, 2, 3)
        radius = min(shape) / 7 + own.normal(0, 1)
        away = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
        found.append((1 - np.sqrt(away.astype(np.float32)) / np.float32(radius)).astype(np.float32))
    return found


def make_volumes(folder: Path, member: int, images: int) -> None:
    for image in range(images):
        labels = np.zeros(SOLID, np.uint8)
        for structure, inside in zip(INDEX, balls(SOLID, image, member), strict=True):
            labels[inside > 0] = structure.value
        path = folder / f"case{image}.nii.gz"
        write_segmentation(path, Segmentation(labels, Geometry(SOLID, np.diag([0.5, 0.5, 1, 1])), INDEX))


def make_probabilities(folder: Path, member: int, images: int) -> None:
    for image in range(images):
        probabilities = [1 / (1 + np.exp(-20 * np.maximum(inside, -4))) for inside in balls(SHARES, image, member)]
        with write_probabilities(folder / f"case{image}.probabilities.npz") as writer:
            writer.begin(make_header(INDEX, Geometry(SHARES, np.eye(4)), overlapping=False))
            writer.add(np.clip(1 - sum(probabilities), 0, 1))
            for share in probabilities:
                writer.add(share)


MAKERS = {"tables": make_table, "layers": make_layers, "volumes": make_volumes, "probabilities": make_probabilities}
DISTINCT = 5
"""So many members differ; further folders are copies, since making them takes longer than the vote."""


def make(folder: Path, form: str, members: int, images: int) -> list[Path]:
    """The members, whatever they are."""
    paths = [folder / f"member{member}{'.csv' if form == 'tables' else ''}" for member in range(members)]
    for member, path in enumerate(paths):
        if form != "tables" and member >= DISTINCT:
            shutil.copytree(paths[member % DISTINCT], path)
            continue
        # in a process apart: one that is started from a process with much memory seems to have had as much itself
        worker = multiprocessing.get_context("spawn").Process(target=MAKERS[form], args=(path, member, images))
        worker.start()
        worker.join()
    return paths


def measure(paths: list[Path], out: Path, *options: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of one vote."""
    command = [sys.executable, "-m", "osteon.cli", "vote", *map(str, paths), str(out), *options]
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"osteon vote ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[5, 20, 50])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--forms", nargs="+", default=["tables", "volumes", "probabilities"], choices=FORMS)
    arguments = parser.parse_args()
    lines = ["| form | members | images | seconds | s/image | peak MB |", "| --- | --- | --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        tiny = [Path(folder) / f"{n}.csv" for n in range(2)]
        for path in tiny:
            write_rle_csv(path, [("a", "bone", "1 3")])
        _, peak = measure(tiny, Path(folder) / "out.csv")
        lines.append(f"| nothing | 2 | 1 | | | {peak:.0f} |")
    for form in arguments.forms:
        for members in arguments.members:
            with tempfile.TemporaryDirectory() as folder:
                kind, _, how = form.partition(", ")
                paths = make(Path(folder), kind, members, arguments.images)
                out = Path(folder) / ("out.csv" if kind == "tables" else "out")
                options = ["--method", "staple"] if how else ["--method", "soft"] if kind == "probabilities" else []
                seconds, peak = measure(paths, out, *options)
            each = seconds / arguments.images
            lines.append(f"| {form} | {members} | {arguments.images} | {seconds:.1f} | {each:.2f} | {peak:.0f} |")
            sys.stderr.write(f"{lines[-1]}\n")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
