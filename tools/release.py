"""Check what a release needs, build it, and sign what was built: `make release KEY=…`. Nothing is tagged or uploaded.

    make release KEY=~/.ssh/id_ed25519       # a file is a key of SSH's: SHA256SUMS.sig
    make release KEY=ada@example.org         # else a key of GnuPG's: SHA256SUMS.asc

First what takes no time, all of it, each fault a line; then make's targets in --steps; then the hashes of what lies in
`dist`, their signature, and a look whether it holds. docs/versions.md says what is to be done before and after.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

SUMS = "SHA256SUMS"
VERSION_FILE = "src/osteon/core/version.py"


class ReleaseError(Exception):
    """What stands in the way; one line for each fault."""


def read_version(root: Path) -> str:
    """The version, from the one place where it stands."""
    found = re.search(r'^__version__ = "([^"]+)"', (root / VERSION_FILE).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ReleaseError(f"{VERSION_FILE}: has no __version__")
    return found[1]


def top_section(root: Path) -> tuple[str, str]:
    """Version and date of the changelog's first section; the date is `unreleased` until there is one."""
    found = re.search(r"^## \[(\S+)\] - (\S+)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ReleaseError("CHANGELOG.md: has no section like “## [1.2.3] - 2026-12-31”")
    return found[1], found[2]


def find_problems(root: Path, version: str, today: datetime.date) -> list[str]:
    """What keeps this checkout from being released as this version, without building anything."""
    problems = []
    if changed := _run(root, "git", "status", "--porcelain").splitlines():
        problems.append(f"{len(changed)} files are not as committed, as {changed[0][3:]}: commit or remove them")
    if _run(root, "git", "tag", "--list", f"v{version}"):
        problems.append(f"v{version} is tagged already: raise the version in {VERSION_FILE}")
    section, date = top_section(root)
    if section != version:
        problems.append(f"CHANGELOG.md: the first section is of {section}, {VERSION_FILE} says {version}")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date) or date > today.isoformat():
        problems.append(f"CHANGELOG.md: {version} is dated “{date}”: write the day of the release, {today}")
        date = today.isoformat()
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    for key, wanted in (("version", version), ("date-released", date)):
        if str(citation.get(key)) != wanted:
            problems.append(f"CITATION.cff: {key} is {citation.get(key)}: write {wanted}")
    return problems


def key_problem(key: str) -> str:
    """Why one cannot sign with a key; empty where one can, as far as that shows before."""
    if not key:
        return "no key to sign with: make release KEY=FILE (of SSH's) or KEY=NAME (of GnuPG's)"
    if Path(key).is_file():
        return ""
    found = subprocess.run(["gpg", "--batch", "--list-secret-keys", key], capture_output=True, check=False)
    return f"KEY={key}: no such file, and no secret key of GnuPG's" if found.returncode else ""


def find_artefacts(folder: Path, version: str) -> list[Path]:
    """The wheel and the sdist of this version, which must be the only ones there.

    Raises:
        ReleaseError: One is missing, or one of another version lies there.
    """
    found = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    kinds = [path.name.startswith(f"osteon-{version}-") and path.suffix == ".whl" for path in found]
    sdists = [path.name == f"osteon-{version}.tar.gz" for path in found]
    if len(found) != 2 or sum(kinds) != 1 or sum(sdists) != 1:
        names = ", ".join(path.name for path in found) or "nothing"
        raise ReleaseError(f"dist: holds {names}, where one wheel and one sdist of {version} should be")
    return found


def sign(sums: Path, key: str) -> Path:
    """Sign a file of hashes, and check the signature. Raises ReleaseError where either fails."""
    signatures = sums.with_name(f"{SUMS}.sig"), sums.with_name(f"{SUMS}.asc")
    for signature in signatures:
        signature.unlink(missing_ok=True)
    folder = sums.parent
    if Path(key).is_file():
        _run(folder, "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(Path(key).resolve()), SUMS)
        check = ["ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", signatures[0].name]
        _run(folder, *check, text=sums.read_text(encoding="utf-8"))
        return signatures[0]
    _run(folder, "gpg", "--local-user", key, "--armor", "--output", signatures[1].name, "--detach-sign", SUMS)
    _run(folder, "gpg", "--verify", signatures[1].name, SUMS)
    return signatures[1]


def release(root: Path, key: str, steps: Sequence[str], today: datetime.date) -> Path:
    """Check, build, hash, sign; the signature's path. Raises ReleaseError."""
    version = read_version(root)
    if problems := [*find_problems(root, version, today), *filter(None, [key_problem(key)])]:
        raise ReleaseError("\n".join(problems))
    for step in steps:
        if subprocess.run(["make", step], cwd=root, check=False).returncode:
            raise ReleaseError(f"make {step} failed; what it says stands above")
    if changed := _run(root, "git", "status", "--porcelain").splitlines():
        raise ReleaseError(f"{' and '.join(steps)} left files that git does not ignore, as {changed[0][3:]}")
    artefacts = find_artefacts(root / "dist", version)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in artefacts]
    sums = root / "dist" / SUMS
    sums.write_text("".join(lines), encoding="utf-8")
    signature = sign(sums, key)
    sys.stdout.write("".join(f"dist/{path.name}\n" for path in (*artefacts, sums, signature)))
    sys.stdout.write(f"{version} is ready. Next: git tag --sign v{version}, then upload what is listed here by hand\n")
    return signature


def _run(folder: Path, *command: str, text: str | None = None) -> str:
    """What a command prints. Raises ReleaseError with its errors where it fails."""
    try:
        done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ReleaseError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where there is no release."""
    parser = argparse.ArgumentParser(description="Check, build and sign a release. Nothing is tagged or uploaded.")
    parser.add_argument("--key", default="", help="a file (SSH) or a name (GnuPG)")
    parser.add_argument("--steps", nargs="*", default=["check", "dist"], help="make's targets, one after the other")
    given = parser.parse_args(arguments)
    try:
        release(Path.cwd(), str(Path(given.key).expanduser()) if given.key else "", given.steps, datetime.date.today())
    except ReleaseError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
