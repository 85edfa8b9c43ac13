"""Does the audit find what is wrong? Faults planted one at a time in a copy of the lumbar spines.

    python benchmarks/audit_planted.py                       # each fault in three cases
    python benchmarks/audit_planted.py --cases all           # each fault in every case
    python benchmarks/audit_planted.py --faults shifted mirrored --cases 03 29

A line for each fault and case: the rank of the first finding that is of its kind and about its case, and what the
audit puts first. The untouched cases are measured once; a planted case is measured by `osteon audit` as any other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import osteon
from osteon.auditing.finding import Finding
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import write_manifest
from osteon.formats import read_segmentation, read_volume, write_segmentation, write_volume

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
SOURCE = SHARED / "spine-mr-lumbar"
LABELS = {"L1": 1, "L2": 2, "L3": 3, "L4": 4, "L5": 5}
Array = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Fault:
    """A fault: the kinds of finding that name it, and what it does to a label (turned to R, A, S) or to the header."""

    kinds: tuple[str, ...]
    label: Callable[[Array], Array] | None = None
    factor: float = 1.0
    again: bool = False


def shifted(axis: int, millimetres: int) -> Callable[[Array], Array]:
    """Moved along an axis; the voxels are 1 mm. What leaves the image is lost, as it is in life."""

    def move(labels: Array) -> Array:
        result = np.zeros_like(labels)
        size = labels.shape[axis]
        source, target = [slice(None)] * 3, [slice(None)] * 3
        source[axis] = slice(max(0, -millimetres), size - max(0, millimetres))
        target[axis] = slice(max(0, millimetres), size - max(0, -millimetres))
        result[tuple(target)] = labels[tuple(source)]
        return result

    return move


def exchanged(first: int, second: int) -> Callable[[Array], Array]:
    """Two values for one another."""

    def swap(labels: Array) -> Array:
        table = np.arange(256, dtype=labels.dtype)
        table[[first, second]] = second, first
        return table[labels]

    return swap


FAULTS = {
    "shifted 10 mm right": Fault(("shifted",), shifted(0, 10)),
    "shifted 10 mm front": Fault(("shifted",), shifted(1, 10)),
    "shifted 10 mm up": Fault(("shifted",), shifted(2, 10)),
    "shifted 10 mm down": Fault(("shifted",), shifted(2, -10)),
    "mirrored left-right": Fault(("mirrored",), lambda labels: labels[::-1].copy()),
    "L2 and L3 exchanged": Fault(("swapped",), exchanged(2, 3)),
    "L1 and L5 exchanged": Fault(("swapped",), exchanged(1, 5)),
    "the same scan twice": Fault(("duplicate",), again=True),
    "empty label": Fault(("empty",), np.zeros_like),
    "spacing 10 % too large": Fault(("spacing",), factor=1.1),
    "spacing 10 % too small": Fault(("spacing",), factor=1 / 1.1),
}


def main() -> None:
    names = [path.name[7:9] for path in sorted(SOURCE.glob("lumbar_*_label.nrrd"))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["03", "17", "34"], help="numbers, or `all`")
    parser.add_argument("--faults", nargs="+", default=[""], help="those whose name begins so; all when left out")
    options = parser.parse_args()
    chosen = names if options.cases == ["all"] else options.cases
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        untouched = dataset(work / "untouched", names)
        result = osteon.audit(untouched, workers=1)
        print(f"untouched: {result.summary()}", flush=True)
        for rank, finding in enumerate(result.findings, start=1):
            print(f"  {rank}. {line(finding)}")
        for name, fault in FAULTS.items():
            if any(name.startswith(prefix) for prefix in options.faults):
                ranks = [plant(work, untouched, name, fault, case) for case in chosen]
                print(f"{name}: first in {ranks.count(1)} of {len(ranks)}", flush=True)


def plant(work: Path, untouched: Path, name: str, fault: Fault, case: str) -> int | None:
    """Audit a copy with one fault; print and return the rank of the finding that names it."""
    folder = work / "planted"
    shutil.rmtree(folder, ignore_errors=True)
    findings = osteon.audit(with_fault(folder, untouched, case, fault), workers=1).findings
    ranks = [
        rank
        for rank, finding in enumerate(findings, start=1)
        if finding.kind in fault.kinds and f"lumbar_{case}" in finding.cases
    ]
    rank = ranks[0] if ranks else None
    print(f"{name}, {case}: rank {rank or 'none'}; first: {line(findings[0])}", flush=True)
    return rank


def dataset(folder: Path, names: list[str]) -> Path:
    """Import the files as they are."""
    folder.mkdir()
    lines = [f"{SOURCE}/lumbar_{name}_image.nrrd,{SOURCE}/lumbar_{name}_label.nrrd" for name in names]
    return imported(folder, lines)


def imported(folder: Path, lines: list[str]) -> Path:
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = folder / "dataset"
    osteon.import_dataset(folder / "pairs.txt", made, modality="mr", structures=LABELS, allow_empty=True)
    return made


def with_fault(folder: Path, untouched: Path, case: str, fault: Fault) -> Path:
    """The untouched dataset with one case planted: it alone is imported, the others and what is known of them stay."""
    folder.mkdir()
    image, label = SOURCE / f"lumbar_{case}_image.nrrd", SOURCE / f"lumbar_{case}_label.nrrd"
    if fault.again:
        image, label = write(folder / "another_image.nrrd", read_volume(image)), label
    else:
        image, label = planted(folder, case, image, label, fault)
    made = imported(folder, [f"{image},{label}"])
    shutil.copytree(untouched / "audit", made / "audit")
    before, alone = Dataset.open(untouched).manifest, Dataset.open(made).manifest.cases[0]
    kept = [entry for entry in before.cases if entry.id != alone.id]
    write_manifest(made, before.model_copy(update={"cases": [*kept, alone]}))
    return made


def planted(folder: Path, name: str, image: Path, label: Path, fault: Fault) -> tuple[Path, Path]:
    """Image and label of a case with the fault, written anew."""
    volume, segmentation = read_volume(image), read_segmentation(label)
    labels = segmentation.array
    if fault.label is not None:
        turn = reorient_to_ras(segmentation.geometry)
        labels = turn.undo(fault.label(np.ascontiguousarray(turn.apply(labels))))
    affine = volume.geometry.affine_ras @ np.diag([fault.factor, fault.factor, fault.factor, 1])
    geometry = Geometry(volume.geometry.shape, affine, volume.geometry.unit)
    written = folder / f"lumbar_{name}_label.nii.gz"
    write_segmentation(written, Segmentation(np.ascontiguousarray(labels), geometry, segmentation.structures))
    return write(folder / f"lumbar_{name}_image.nrrd", Volume(volume.array, geometry)), written


def write(path: Path, volume: Volume) -> Path:
    write_volume(path, volume)
    return path


def line(finding: Finding) -> str:
    return f"{finding.severity} {finding.kind}, {', '.join(finding.cases[:3]) or 'all'}: {finding.what}"


if __name__ == "__main__":
    main()
