"""The package's build: NiiVue's JavaScript is taken only as it is expected, and its lack is said."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from scripts import load_script

pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed here")

ROOT = Path(__file__).parents[1]
CODE = b"export const Niivue = 1;"


@pytest.fixture
def build() -> ModuleType:
    return load_script("hatch_build.py")


def tarball(name: str, code: bytes = CODE) -> bytes:
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(code)
        archive.addfile(entry, io.BytesIO(code))
    return kept.getvalue()


def npm_gives(build: ModuleType, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """An npm that packs this, or reaches nobody."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert "--ignore-scripts" in command
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "npm error network\nnpm error nobody answers\n")
        folder = Path(command[command.index("--pack-destination") + 1])
        (folder / "niivue.tgz").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(build.subprocess, "run", run)
    monkeypatch.setattr(build, "npm", lambda: ["npm"])


def expect(build: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> None:
    """Take this tarball for the one that is meant."""
    sha512 = base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(build, name, getattr(build, name)._replace(sha512=sha512))


def hook(build: ModuleType, root: Path, messages: list[str]) -> Any:
    app = SimpleNamespace(display_warning=messages.append)
    return build.ViewerHook(str(root), {}, None, None, str(root), "wheel", app)


def test_the_code_is_taken_where_its_hash_is_the_one_expected(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = tarball(build.NIIVUE.member)
    npm_gives(build, monkeypatch, content)
    expect(build, monkeypatch, "NIIVUE", content)
    messages: list[str] = []
    hook(build, tmp_path, messages).initialize("standard", {})
    assert (tmp_path / build.NIIVUE.folder / "index.js").read_bytes() == CODE
    assert build.is_there(build.NIIVUE, tmp_path)
    assert messages == []
    assert not (tmp_path / "tests").exists(), "what tests need is no part of the package"


def test_what_tests_need_comes_with_an_installation_for_editing(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = tarball(build.AXE.member)
    npm_gives(build, monkeypatch, content)
    monkeypatch.setattr(build, "NIIVUE", build.AXE)  # so that one tarball serves
    expect(build, monkeypatch, "AXE", content)
    messages: list[str] = []
    hook(build, tmp_path, messages).initialize("editable", {})
    assert (tmp_path / build.AXE.folder / "index.js").read_bytes() == CODE
    assert build.why_not(build.AXE, tmp_path) == ""


@pytest.mark.parametrize("content", [tarball("package/dist/index.js", b"evil"), None], ids=["another", "nobody"])
def test_anything_else_is_left_out_and_noted(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    npm_gives(build, monkeypatch, content)
    messages: list[str] = []
    hook(build, tmp_path, messages).initialize("standard", {})
    assert [path.name for path in (tmp_path / build.NIIVUE.folder).iterdir()] == ["MISSING.txt"]
    note = (tmp_path / build.NIIVUE.folder / "MISSING.txt").read_text()
    assert ("SHA-512" if content else "nobody answers") in note
    assert "`osteon app` will show no slices" in messages[0]
    monkeypatch.setenv("OSTEON_REQUIRE_VIEWER", "1")
    with pytest.raises(RuntimeError, match="could not be fetched"):
        hook(build, tmp_path, messages).initialize("standard", {})


def test_node_is_a_requirement_only_where_there_is_none(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    assert hook(build, tmp_path, []).dependencies() == [build.NODE]
    monkeypatch.setattr(build.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert hook(build, tmp_path, []).dependencies() == []
