"""Do damaged files end in results or in osteon's own errors alone?

    python benchmarks/fuzz_readers.py --seconds 20
    python benchmarks/fuzz_readers.py --seconds 120 --reader nifti nrrd

Real files of ../shared/data are mutated (bits, bytes, numbers in headers, blocks cut, doubled or put elsewhere; gzip
unpacked first and packed again) and read by each reader under a cap on memory. Ends with 1 where a reader let any other
exception through; the file that caused it is kept in .bench/fuzz.
"""

from __future__ import annotations

import argparse
import gzip
import logging
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osteon.core.errors import OsteonError
from osteon.core.geometry import Geometry

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
KEPT = HERE.parent / ".bench" / "fuzz"
CAP_GB = 4
"""Address space beyond what the libraries have taken: a bomb shows up as MemoryError."""
LARGEST = 400_000
"""Bytes of the files that are mutated; larger ones cost time and hold nothing else."""
NUMBERS = [b"0", b"-1", b"99999999999", b"1e308", b"nan", b"4294967296", b""]


@dataclass(frozen=True)
class Reader:
    """One reader: the files that it is tried on, and how it is called."""

    name: str
    patterns: tuple[str, ...]
    read: Callable[[Path], object]


def _registry(*names: str) -> Callable[[Path], object]:
    from osteon.formats import registry

    def read(path: Path) -> None:
        for name in names:
            try:
                getattr(registry, name)(path)
            except OsteonError as error:
                last = error
            else:
                last = None
        if last is not None:
            raise last

    return read


def _stl(path: Path) -> object:
    from osteon.formats.stl import read_stl

    return read_stl(path)


def _label_table(path: Path) -> object:
    from osteon.formats.label_tables import read_label_table

    return read_label_table(path)


def _series(path: Path) -> object:
    from osteon.formats.dicom_series import find_series, read_series

    found = find_series(path.parent)
    if not found.series:
        raise OsteonError("no series")
    return [read_series(series, accept_gaps=True, resample_tilt=True) for series in found.series]


def _dicom_seg(path: Path) -> object:
    from osteon.formats.dicom_seg import read_dicom_seg

    return read_dicom_seg(path)


def _rtstruct(path: Path) -> object:
    from osteon.formats.rtstruct import read_rtstruct

    return read_rtstruct(path, Geometry((40, 40, 20), np.diag([-5.0, -5.0, 5.0, 1.0])))


def _form(name: str) -> Callable[[Path], object]:
    """A form's reading of a folder that holds the mutated file alone, under the name that the form looks for."""

    def read(path: Path) -> object:
        from osteon.importing.options import ImportOptions
        from osteon.importing.recognition import get_form

        form = get_form(name)
        if name == "nnunet":
            (path.parent / "imagesTr").mkdir(exist_ok=True)
            (path.parent / "imagesTr" / "a_0000.nii.gz").touch()
        reason = form.explain_mismatch(path.parent)
        if reason is not None:
            raise OsteonError(reason)
        return form.read(path.parent, ImportOptions())

    return read


READERS = (
    Reader("nifti", ("**/*.nii.gz", "**/*.nii"), _registry("read_geometry", "read_segmentation", "read_volume")),
    Reader(
        "nrrd", ("**/*_image.nrrd", "**/*label*.nrrd"), _registry("read_geometry", "read_segmentation", "read_volume")
    ),
    Reader("meta_image", ("**/*.mha",), _registry("read_geometry", "read_segmentation", "read_volume")),
    Reader("label_table", ("**/*.ctbl", "**/labels.json"), _label_table),
    Reader("seg_nrrd", ("**/*_seg.nrrd", "**/*.seg.nrrd"), _registry("read_structures", "read_segmentation")),
    Reader(
        "raster", ("**/*.png", "**/*.jpg", "**/*.tif"), _registry("read_geometry", "read_segmentation", "read_volume")
    ),
    Reader("stl", ("**/*.stl", "**/*.STL"), _stl),
    Reader("dicom", ("**/*.dcm", "totalsegmentator-example/ct_dicom/*"), _series),
    Reader("dicom_seg", ("**/seg-objects/**/*.dcm",), _dicom_seg),
    Reader("rtstruct", ("**/rtstruct/*.dcm", "**/DCM_RS*.dcm"), _rtstruct),
    Reader("decathlon", ("**/dataset.json",), _form("decathlon")),
    Reader("nnunet", ("**/dataset.json",), _form("nnunet")),
    Reader("pairs", ("**/pairs.txt",), _form("pairs")),
)


def mutate(content: bytes, draw: random.Random) -> bytes:
    """The content with one to eight changes."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        if not data:
            break
        reach = len(data) if draw.random() < 0.4 else min(len(data), draw.choice((64, 352, 2048)))
        at = draw.randrange(reach)
        kind = draw.randrange(8)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at] = draw.randrange(256)
        elif kind == 2:
            width = draw.choice((2, 4, 8))
            data[at : at + width] = draw.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * width
        elif kind == 3:
            del data[at : at + draw.choice((1, 4, 100, 10_000))]
        elif kind == 4:
            data[at:at] = data[at : at + draw.choice((1, 8, 200))]
        elif kind == 5:
            data = data[: draw.randrange(len(data)) + 1]
        elif kind == 6:
            numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data[:4096])))
            if numbers:
                number = draw.choice(numbers)
                data[number.start() : number.end()] = draw.choice(NUMBERS)
        else:
            data[at : at + 4] = draw.randrange(2**32).to_bytes(4, "little")
    return bytes(data)


def fuzz(reader: Reader, seconds: float, draw: random.Random) -> dict[str, int]:
    """Mutate and read for so long, and count what came of it."""
    files = sorted(
        {path for pattern in reader.patterns for path in SHARED.glob(pattern) if 0 < path.stat().st_size < LARGEST}
    )
    counts = {"tries": 0, "results": 0, "osteon errors": 0, "other exceptions": 0}
    end = time.monotonic() + seconds
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        while files and time.monotonic() < end:
            source = draw.choice(files)
            content = source.read_bytes()
            suffix = source.name.removesuffix("_seg.nrrd") != source.name
            name = source.stem + ".seg.nrrd" if suffix and reader.name == "seg_nrrd" else source.name
            packed = content[:2] == b"\x1f\x8b" and draw.random() < 0.8
            made = mutate(gzip.decompress(content) if packed else content, draw)
            path = Path(folder) / name
            path.write_bytes(gzip.compress(made, compresslevel=1) if packed else made)
            counts["tries"] += 1
            try:
                reader.read(path)
                counts["results"] += 1
            except OsteonError:
                counts["osteon errors"] += 1
            except Exception as error:  # noqa: BLE001 (finding these is the purpose)
                counts["other exceptions"] += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{type(error).__name__}: {str(error)[:150]} ({Path(last.filename).name}:{last.lineno})"
                key = where if len(seen) < 20 else ""
                if key and key not in seen:
                    seen.add(key)
                    KEPT.mkdir(parents=True, exist_ok=True)
                    kept = KEPT / f"{reader.name}-{len(seen)}-{path.name}"
                    kept.write_bytes(path.read_bytes())
                    own = [f for f in traceback.extract_tb(error.__traceback__) if "/osteon/" in f.filename]
                    at = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
                    print(f"  {reader.name}: {where}, called from {at}, kept as {kept}", file=sys.stderr)
            path.unlink(missing_ok=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="for each reader")
    parser.add_argument("--reader", nargs="*", default=[reader.name for reader in READERS])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    taken = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    cap = taken + CAP_GB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print("| reader | tries | results | osteon errors | other exceptions |\n| --- | --- | --- | --- | --- |")
    others = 0
    for reader in READERS:
        if reader.name in arguments.reader:
            counts = fuzz(reader, arguments.seconds, random.Random(f"{arguments.seed} {reader.name}"))
            print(f"| {reader.name} | " + " | ".join(str(count) for count in counts.values()) + " |", flush=True)
            others += counts["other exceptions"]
    sys.exit(1 if others else 0)


if __name__ == "__main__":
    main()
