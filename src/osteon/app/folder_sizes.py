"""Sizes of folders on disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from osteon.app.workspace import BIN, ITEM_KINDS, Workspace
from osteon.core.folders import folder_size


@dataclass(frozen=True)
class FolderSizes:
    """Bytes on disk.

    Attributes:
        items: Of each item of the workspace, by `KIND/NAME`, and of each deletion in the bin, by `.bin/NAME`.
        total: Of the workspace.
        free: On the disk.
    """

    items: Mapping[str, int] = field(default_factory=dict)
    total: int = 0
    free: int = 0

    def of(self, kind: str) -> int:
        """Bytes that all items of a kind take."""
        return sum(size for name, size in self.items.items() if name.startswith(f"{kind}/"))


def workspace_sizes(workspace: Workspace) -> FolderSizes:
    """Of everything in a workspace; takes as long as its files are many."""
    seen: set[tuple[int, int]] = set()
    items: dict[str, int] = {}
    total = 0
    for path in sorted(workspace.root.iterdir()):
        if path.name not in (*ITEM_KINDS, BIN):
            total += folder_size(path, seen)
            continue
        for inner in sorted(path.iterdir()):
            items[f"{path.name}/{inner.name}"] = folder_size(inner, seen)
    return FolderSizes(items, total + sum(items.values()), shutil.disk_usage(workspace.root).free)


def format_size(count: float) -> str:
    """`12 kB`, `0.4 MB`, `12 MB`, `3.21 GB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    if count < 1e5:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"
