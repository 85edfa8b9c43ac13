"""What does each stage take with ten times the cases, and with a scan of 2,000 slices?

    python benchmarks/growth.py
    python benchmarks/growth.py --cases 100 1000 10000 --stages import audit plan
    python benchmarks/growth.py --cases --slices 2000

Cases are made up, of 16³ voxels, as a list of pairs; one tiny model, trained on eight of them, predicts all. Each stage
is one command, in one process; CPU seconds and the peak resident set are that process's. `growth` is CPU time for each
case as a multiple of the row's before, after the time of a start with eight cases is taken off both: 1 where a stage
takes ten times as long for ten times the cases. The series is one of 512×512 pixels of noise, with one mask.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from import_many import make
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

FEW = 8
STAGES = ("import", "audit", "plan", "prepare", "predict", "evaluate", "export")
PREPARE = (
    "import sys; from pathlib import Path; from osteon.dataset.dataset import Dataset; "
    "from osteon.plan.schema import read_plan; from osteon.preparing.cache import prepare_cases; "
    "folder = Path(sys.argv[1]); dataset = Dataset.open(folder); "
    "prepare_cases(dataset, read_plan(folder / 'plan.yaml'), dataset.manifest.trainable, workers=1)"
)


def measure(*command: object, own: bool = False) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of an `osteon` command; of one of Python where it is `own`."""
    start = [sys.executable, *([] if own else ["-m", "osteon.cli"]), *map(str, command)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(start, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        if status and not (command[0] == "audit" and status == 256):
            sys.exit(output.read().decode())
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def stages(place: Path, cases: int, model: Path, wanted: list[str]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Each stage as it is done, with its CPU seconds and MB."""
    source, dataset, found = place / "source", place / "dataset", place / "predictions"
    source.mkdir(parents=True)
    make(source, cases, "pairs")
    commands: dict[str, tuple[object, ...]] = {
        "import": ("import", source, dataset, "--modality", "ct", "--workers", 1),
        "audit": ("audit", dataset, "--workers", 1),
        "plan": ("plan", dataset, "--no-cost", "--device", "cpu", "--workers", 1),
        "prepare": ("-c", PREPARE, dataset),
        "predict": ("predict", model, dataset, found, "--device", "cpu"),
        "evaluate": ("evaluate", found, dataset, "--to", place / "scores", "--workers", 1),
        "export": ("export", "seg-nrrd", found, place / "exported"),
    }
    for name in STAGES:
        if name in wanted:
            yield name, measure(*commands[name], own=name == "prepare")


def series(folder: Path, slices: int, size: int = 512) -> None:
    """A CT series of noise, and a mask on its grid."""
    scan = folder / "p1" / "ct"
    scan.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(-1000, 1000, (size, size)).astype("<i2")
    uid, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(slices):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = uid, study, frame
        one.Modality, one.PatientID, one.SeriesNumber, one.InstanceNumber = "CT", "p1", 1, k + 1
        one.PixelSpacing, one.ImageOrientationPatient = [0.5, 0.5], [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [0, 0, 0.5 * k]
        one.Rows = one.Columns = size
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 1, 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.PixelData = np.roll(noise, k, 0).tobytes()
        one.save_as(scan / f"{k:05d}.dcm", enforce_file_format=True)
    mask = np.zeros((size, size, slices), np.uint8)
    mask[size // 4 : size // 2, size // 4 : size // 2, slices // 4 : slices // 2] = 1
    nib.save(nib.Nifti1Image(mask, np.diag([-0.5, -0.5, 0.5, 1.0])), folder / "p1" / "femur.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--slices", type=int, default=0, help="Also import a series of so many.")
    parser.add_argument("--folder", type=Path, help="For what is made; thrown away.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        place = Path(name)
        if arguments.cases:
            tell_cases(place, arguments.cases, arguments.stages)
        if arguments.slices:
            series(place / "series", arguments.slices)
            seconds, peak = measure("import", place / "series", place / "of-series")
            print(f"\nimport of a series of {arguments.slices} slices, one mask: {seconds:.1f} CPU s, {peak:.0f} MB")


def tell_cases(place: Path, counts: list[int], wanted: list[str]) -> None:
    """Print the table of the stages."""
    few = place / "few"
    list(stages(few, FEW, Path(), ["import", "plan"]))
    run = place / "run"
    tiny = ("--epochs", 1, "--fold", "none", "--set", "training.epoch_iterations=2")
    measure("train", few / "dataset", run, "--device", "cpu", *tiny)
    shutil.rmtree(few)
    least = dict(stages(few, FEW, run, wanted))
    print("| stage | cases | CPU s | ms/case | growth | peak MB |\n| --- | --- | --- | --- | --- | --- |")
    before: dict[str, float] = {}
    for count in counts:
        for stage, (seconds, peak) in stages(place / str(count), count, run, wanted):
            each = (seconds - least[stage][0]) / (count - FEW)
            growth = f"{each / before[stage]:.2f}" if before.get(stage, 0) > 0 else ""
            before[stage] = each
            print(f"| {stage} | {count} | {seconds:.1f} | {1000 * each:.1f} | {growth} | {peak:.0f} |", flush=True)
        shutil.rmtree(place / str(count))


if __name__ == "__main__":
    main()
