"""Wheel and sdist, built and checked: `python tools/build_dist.py FOLDER`, which is what `make dist` runs.

Both are built from the project, and both again from the sdist, in another folder and under another umask: each pair is
the same, byte by byte, or the build fails. Then their content is compared with the sources, that of the sdist with
git's list where there is one, and twine checks what a registry would refuse. Times in them are those of the last commit
(SOURCE_DATE_EPOCH, unless the environment has one). Nothing is uploaded. Needs `build`, `hatchling` and `twine`.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
SUFFIXES = {".py", ".js", ".css", ".j2", ".yaml", ".typed", ""}
"""Of the files that the package consists of; the last is niivue/VERSION's."""
MUST_HOLD = (
    *("osteon/py.typed", "osteon/app/static/niivue/index.js", "osteon/app/static/niivue/VERSION"),
    *("osteon/reporting/report.html.j2", "osteon/planning/published/humerus.yaml", "osteon/cli/main.py"),
)
"""Files that have gone missing from the sources themselves where they are not in a wheel."""
LICENCES = ("LICENSE", "LICENSES/niivue.txt")
MAX_MB = {".whl": 5, ".gz": 15}
FORBIDDEN = re.compile(r"(^|/)(__pycache__|\.axe|\.venv|\.git|shared|demo|dist)/|\.pyc$|MISSING\.txt$")
"""What is in no archive: caches, what `make` puts beside the sources, data, and the note that NiiVue is missing."""


def version(root: Path = ROOT) -> str:
    """The version, from the one place where it stands."""
    found = re.search(r'^__version__ = "([^"]+)"', (root / "src/osteon/core/version.py").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError("src/osteon/core/version.py: no version")
    return found[1]


def wheel_problems(path: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with a wheel: a line for each fault."""
    info = f"osteon-{version(root)}.dist-info"
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        metadata, entries = (
            archive.read(f"{info}/{name}").decode() if f"{info}/{name}" in names else ""
            for name in ("METADATA", "entry_points.txt")
        )
    sources = root / "src"
    expected = {
        str(PurePosixPath(file.relative_to(sources)))
        for file in (sources / "osteon").rglob("*")
        if file.is_file() and file.suffix in SUFFIXES and "__pycache__" not in file.parts
    }
    expected |= {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    expected |= {f"{info}/licenses/{name}" for name in LICENCES}
    told = email.message_from_string(metadata)
    problems = [f"holds {name}, which is not a part of the package" for name in sorted(names - expected)]
    problems += [f"lacks {name}" for name in sorted((expected | set(MUST_HOLD)) - names)]
    if told["Version"] != version(root):
        problems.append(f"METADATA says version {told['Version']}, the sources {version(root)}")
    if "osteon = osteon.cli.main:main" not in entries:
        problems.append("has no command `osteon`")
    return problems + _size_problems(path)


def sdist_problems(path: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with an sdist: a line for each fault."""
    top = f"osteon-{version(root)}/"
    with tarfile.open(path) as archive:
        names = {member.name for member in archive.getmembers()}
    inner, problems = {name.removeprefix(top) for name in names}, []
    needed = ("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "Makefile", "tests/conftest.py")
    wanted = {*needed, *LICENCES, *(f"src/{name}" for name in MUST_HOLD)}
    if (root / ".git").exists():
        listed = set(_git(root, "ls-files", "-z").split("\0")) - {""}
        problems = [f"holds {name}, which is not committed" for name in sorted(inner - wanted - listed - {"PKG-INFO"})]
        wanted |= listed
    problems += [f"lacks {name}" for name in sorted(wanted - inner)]
    problems += [f"holds {name}" for name in sorted(inner) if FORBIDDEN.search(name)]
    problems += [f"holds {name}, outside its folder" for name in sorted(names) if not name.startswith(top)]
    return problems + _size_problems(path)


def _size_problems(path: Path) -> list[str]:
    size, limit = path.stat().st_size / 1e6, MAX_MB[path.suffix]
    return [f"has {size:.1f} MB, more than {limit}"] if size > limit else []


def build(source: Path, folder: Path, umask: int) -> dict[str, Path]:
    """Build both from a folder of sources, and return them by suffix. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    for kind in ("--sdist", "--wheel"):  # both of the sources: without an option the wheel were of the sdist
        subprocess.run([*command, kind, source], check=True, stdout=subprocess.DEVNULL, umask=umask)
    return {path.suffix: path for path in folder.iterdir()}


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def set_time() -> None:
    """Let archives have the time of the last commit, unless the environment has one or there is no repository."""
    if "SOURCE_DATE_EPOCH" not in os.environ and (ROOT / ".git").exists():
        os.environ["SOURCE_DATE_EPOCH"] = _git(ROOT, "log", "-1", "--format=%ct").strip()


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True, text=True).stdout


def build_and_check(place: Path) -> tuple[dict[str, Path], list[str]]:
    """Build in a folder: the archives by suffix, and what is wrong with them."""
    first = build(ROOT, place / "first", 0o022)
    with tarfile.open(first[".gz"]) as archive:
        archive.extractall(place / "unpacked", filter="data")
    second = build(place / "unpacked" / f"osteon-{version()}", place / "second", 0o077)
    problems = [
        f"{path.name}: built from the sdist it is another"
        for suffix, path in first.items()
        if digest(path) != digest(second[suffix])
    ]
    for suffix, check in ((".whl", wheel_problems), (".gz", sdist_problems)):
        problems += [f"{first[suffix].name}: {problem}" for problem in check(first[suffix])]
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *first.values()], check=False)
    return first, problems + (["twine refuses it"] if done.returncode else [])


def main(arguments: Iterable[str] | None = None) -> int:
    """Build, check, and put both into the folder; nothing is put there where a check fails."""
    parser = argparse.ArgumentParser(description="Build wheel and sdist, and check both.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(None if arguments is None else list(arguments)).folder
    os.environ["OSTEON_REQUIRE_VIEWER"] = "1"
    set_time()
    with tempfile.TemporaryDirectory() as place:
        built, problems = build_and_check(Path(place))
        if problems:
            sys.stderr.write("".join(f"error: {problem}\n" for problem in problems))
            return 1
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("osteon-*.whl"), *folder.glob("osteon-*.tar.gz")):
            old.unlink()
        for path in sorted(built.values()):
            shutil.copyfile(path, folder / path.name)
            sys.stdout.write(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB, the same when built from the sdist\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
