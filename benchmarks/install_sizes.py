"""What `pip install osteon` and each extra take on disk, and what a core without training would.

    python benchmarks/install_sizes.py

prints the tables of docs/install.md, in an environment that has osteon with all extras. The packages that requirements
bring are found by their metadata, and their files counted once, without the bytecode that pip adds. Nothing is
installed.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("search", "serve", "fast", "app", "archive", "cluster", "track")
TRAINING = ("lightning", "tensorboard", "segmentation-models-pytorch", "timm", "huggingface-hub", "monai", "einops")
"""Required by osteon for training, and for networks that are not its own."""


@cache
def required(name: str, extra: str) -> tuple[Requirement, ...]:
    """What an installed package requires here, with one of its extras or none. Empty for a package that is missing."""
    try:
        lines = distribution(name).requires or ()
    except PackageNotFoundError:
        return ()
    found = map(Requirement, lines)
    return tuple(one for one in found if one.marker is None or one.marker.evaluate({"extra": extra}))


def packages(requirements: Iterable[Requirement]) -> set[str]:
    """The names of all packages that requirements bring, by way of others too."""
    waiting, seen = list(requirements), set[tuple[str, str]]()
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            if (key := (canonicalize_name(one.name), extra)) not in seen:
                seen.add(key)
                waiting += required(*key)
    return {name for name, _ in seen}


def megabytes(names: Iterable[str]) -> float:
    """Of the files of installed packages, without bytecode."""
    total = 0
    for name in names:
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:
            continue
        paths = (Path(str(file.locate())) for file in files if file.suffix != ".pyc")
        total += sum(path.stat().st_size for path in paths if path.is_file())
    return total / 1e6


def main() -> None:
    """Print both tables."""
    versions = f"Python {platform.python_version()}, torch {distribution('torch').version}"
    print(f"{date.today()}, {platform.machine()}, {versions}\n")
    own = required("osteon", "")
    core = packages([Requirement("osteon")])
    print("| | packages | MB |\n| --- | ---: | ---: |")
    print(f"| `osteon` | {len(core)} | {megabytes(core):.0f} |")
    for extra in (*EXTRAS, ",".join(EXTRAS)):
        more = packages([Requirement(f"osteon[{extra}]")]) - core
        print(f"| `osteon[{extra}]` adds | {len(more)} | {megabytes(more):.0f} |")
    print("\n| core without | packages | MB |\n| --- | ---: | ---: |")
    for left_out, what in (
        ((), "nothing"),
        (TRAINING, ", ".join(TRAINING)),
        (("torch", *TRAINING), "those and torch"),
    ):
        rest = packages(one for one in own if canonicalize_name(one.name) not in left_out) | {"osteon"}
        print(f"| {what} | {len(rest)} | {megabytes(rest):.0f} |")


if __name__ == "__main__":
    sys.exit(main())
