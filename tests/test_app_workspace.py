"""The app's folder: names, ids, and what may be read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from osteon.app.workspace import SETTINGS, Workspace, safe_name
from osteon.core.errors import FileError, UsageError


def test_ids_are_opaque_and_outlive_a_restart(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    (workspace.root / "datasets/Meier_Anna").mkdir()
    item = workspace.items("datasets")[0]
    assert "Meier" not in item.id
    again = Workspace.open(tmp_path / "w")
    assert again.find("datasets", item.id) == item
    assert again.find("runs", item.id) is None
    assert Workspace.open(tmp_path / "other").item("datasets", "Meier_Anna").id != item.id


@pytest.mark.parametrize("wrong", ["", "..", "../datasets", "Meier_Anna", "0" * 20])
def test_what_is_no_id_finds_nothing(tmp_path: Path, wrong: str) -> None:
    workspace = Workspace.open(tmp_path / "w")
    (workspace.root / "datasets/Meier_Anna").mkdir()
    assert workspace.find("datasets", wrong) is None


def test_only_its_owner_looks_into_it(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    assert stat.S_IMODE(workspace.root.stat().st_mode) == 0o700
    assert stat.S_IMODE((workspace.root / "secret").stat().st_mode) == 0o600


def test_nothing_outside_is_read(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    (tmp_path / "secret.txt").write_text("x")
    (workspace.root / "sources/link").symlink_to(tmp_path)
    outside = [tmp_path / "secret.txt", workspace.root / "../secret.txt", workspace.root / "sources/link/secret.txt"]
    for path in outside:
        assert not workspace.may_read(path)
        with pytest.raises(FileError, match="outside the workspace"):
            workspace.check_readable(path)
    assert workspace.items("sources") == []
    assert workspace.may_read(workspace.root / "sources/a.nii.gz")
    assert Workspace.open(tmp_path / "w", (tmp_path,)).may_read(tmp_path / "secret.txt")


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("Hüfte links", "Hüfte-links"),
        ("../../etc/passwd", "etc-passwd"),
        ("<img src=x onerror=alert(1)>", "img-src=x-onerror=alert-1"),
        (".hidden", "hidden"),
        ("///", "untitled"),
        ("a" * 200, "a" * 80),
    ],
)
def test_names_become_plain(wanted: str, name: str) -> None:
    assert safe_name(wanted) == name


def test_a_new_name_replaces_nothing(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    (workspace.root / "runs/Knee").mkdir()
    assert workspace.new_item("runs", "knee").name == "knee-2"
    assert workspace.new_item("datasets", "knee").name == "knee"


def test_settings_are_saved(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    workspace.save_settings(theme="dark")
    workspace.save_settings(recipe="limb")
    assert Workspace.open(tmp_path / "w").read_settings() == {"theme": "dark", "recipe": "limb"}
    (workspace.root / SETTINGS).write_text("{")
    assert workspace.read_settings() == {}


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        Workspace.open(tmp_path / "w")
    with pytest.raises(UsageError, match="no such folder"):
        Workspace.open(tmp_path / "v", (tmp_path / "nowhere",))
