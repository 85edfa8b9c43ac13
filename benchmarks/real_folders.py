"""Every folder of real data, imported, or refused with the reason; one line each.

    python benchmarks/real_folders.py
    python benchmarks/real_folders.py --only totalsegmentator knee

The folders are looked at through links in a scratch folder, so nothing is written beside the data themselves.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from osteon.core.errors import OsteonError
from osteon.importing.run import import_dataset

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

Row = tuple[str, tuple[str, ...], dict[str, Any]]
TOTAL = "totalsegmentator-example"
ROWS: tuple[Row, ...] = (
    ("awkward-dicom", ("awkward-dicom",), {"modality": "other"}),
    ("bone-stl", ("bone-stl",), {}),
    ("chest-xray-multilabel", ("chest-xray-multilabel",), {}),
    ("hand-radiographs", ("hand-radiographs",), {}),
    ("ibsi-lung-tumour-ct", ("ibsi-lung-tumour-ct",), {"structures": {"GTV-1": 1}}),
    ("knee-mr", ("knee-mr",), {}),
    ("msd-hippocampus", ("msd-hippocampus",), {}),
    ("pelvis-fracture-ct", ("pelvis-fracture-ct",), {"modality": "ct"}),
    ("spine-mr-instances", ("spine-mr-instances",), {}),
    ("spine-mr-lumbar", ("spine-mr-lumbar",), {"modality": "mr"}),
    ("spine-mr-slices", ("spine-mr-slices",), {"modality": "mr", "allow_empty": True}),
    ("sts-limb-mr-dicom", ("sts-limb-mr-dicom",), {"structures": {"tumour": 1}}),
    (f"{TOTAL}, whole", (TOTAL,), {}),
    (f"{TOTAL}, ct", (f"{TOTAL}/ct",), {}),
    (f"{TOTAL}, ct_sm", (f"{TOTAL}/ct_sm",), {"allow_empty": True}),
    (f"{TOTAL}, mr_sm", (f"{TOTAL}/mr_sm",), {"modality": "mr"}),
    (f"{TOTAL}, ct_dicom and its labels", (f"{TOTAL}/ct_dicom", f"{TOTAL}/ct_dicom_seg"), {}),
    ("vertebra-crops", ("vertebra-crops",), {}),
)
"""What each row is called, the folders that lie in its source, and the options of its import."""


def outcome(parts: tuple[str, ...], options: dict[str, Any]) -> str:
    """One line: what was taken, or why nothing was."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        for part in parts:
            place = source if len(parts) == 1 else source / Path(part).name
            shutil.copytree(SHARED / part, place, copy_function=os.symlink)
        try:
            report = import_dataset(source, Path(scratch) / "dataset", **options)
        except OsteonError as error:
            return "refused: " + " ".join(error.message.replace(f"{source}", Path(parts[0]).name).split())[:230]
    manifest = report.manifest
    text = f"{report.form}: {len(manifest.cases)} cases, {len(manifest.labelled)} labelled, "
    text += f"{len(manifest.structures)} structures{', overlapping' if manifest.overlapping else ''}"
    if report.failed:
        name, error = next(iter(report.failed.items()))
        first = " ".join(error.message.replace(f"{source}/", "").split())
        text += f"; {len(report.failed)} left out, as {name}: {first[:150]}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="rows whose name holds one of these words")
    options = parser.parse_args()
    for name, parts, given in ROWS:
        if options.only is None or any(word in name for word in options.only):
            print(f"{name}: {outcome(parts, given)}", flush=True)


if __name__ == "__main__":
    main()
