"""What each dependency costs: seconds to import, megabytes on disk, and what would go with it.

    python benchmarks/dependencies.py

prints the table of docs/dependencies.md. The processor's time of each import is taken in new processes, once torch is
there, which osteon always needs; the better of two counts. `alone` is the package by itself, `with` adds what nothing
else in the table requires.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import date
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
MODULES = {
    "segmentation-models-pytorch": "segmentation_models_pytorch",
    "pillow": "PIL",
    "opencv-python-headless": "cv2",
    "scikit-image": "skimage",
    "pyyaml": "yaml",
    "python-gdcm": "gdcm",
    "pylibjpeg-openjpeg": "openjpeg",
    "huggingface-hub": "huggingface_hub.file_download",
    "lightning": "lightning.pytorch",
    "matplotlib": "matplotlib.pyplot",
    "safetensors": "safetensors.torch",
    "scipy": "scipy.ndimage",
    "tensorboard": "torch.utils.tensorboard",
}
"""What is imported, where it is called otherwise than the package, or the package alone loads nothing."""
VISION = ("lightning.pytorch", "segmentation_models_pytorch", "timm")
"""These import torchvision, which may have to be mended first."""
ROUNDS = 2
TIMED = """
import {before}
{ready}
begin = time.process_time()
patch()
import {module}
print(time.process_time() - begin)
"""


def main() -> None:
    """Print the table, with the reasons that the page has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    names = {
        canonicalize_name(Requirement(line).name): key for key, ls in groups.items() if key != "dev" for line in ls
    }
    reasons = dict(re.findall(r"^\| ([\w-]+) .*\| (.+) \|$", PAGE.read_text(), re.MULTILINE)) if PAGE.is_file() else {}
    needs = {name: closure(name) for name in names}
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}\n")
    print("| package | extra | version | import s | alone MB | with MB | why |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- |")
    for name, extra in names.items():
        found = find(name)
        if found is None:
            print(f"| {name} | {extra} | not installed | | | | {reasons.get(name, '?')} |")
            continue
        others = {need for other, all_needs in needs.items() if other != name for need in all_needs | {other}}
        only = needs[name] - others
        alone, together = size(name), sum(size(need) for need in only | {name})
        row = (name, extra, found.version, seconds(MODULES.get(name, name)), f"{alone:.1f}", f"{together:.1f}")
        print(f"| {' | '.join(row)} | {reasons.get(name, '?')} |", flush=True)


def find(name: str) -> Distribution | None:
    """A distribution that is installed."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def required(name: str) -> Iterator[str]:
    """What a package that is installed requires here, without its extras."""
    found = find(name)
    for requirement in map(Requirement, (found and found.requires) or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def closure(name: str) -> set[str]:
    """All that a package brings with it."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = set(required(waiting.pop())) - seen
        seen |= new
        waiting += new
    return seen - {name}


def size(name: str) -> float:
    """MB of a package's own files."""
    found = find(name)
    paths = [Path(str(file.locate())) for file in (found and found.files) or ()]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def seconds(module: str) -> str:
    """To import it once torch is there; of torch itself, with it."""
    ready = (
        "from osteon.core.torchvision_ops import patch_torchvision_ops as patch" if module in VISION else "patch = int"
    )
    code = TIMED.format(before="time" if module == "torch" else "time, torch", ready=ready, module=module)
    best = []
    for _ in range(ROUNDS):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            return "fails"
        best.append(float(done.stdout.split()[-1]))
    return f"{min(best):.2f}"


if __name__ == "__main__":
    main()
