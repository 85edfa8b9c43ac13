"""A scan and the meshes that belong to it, and the one scan of several that is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from osteon.core.errors import DatasetError, OsteonError
from osteon.importing.masks.files import Scan
from osteon.importing.meshes.names import split_words
from osteon.importing.series_choice import describe_scans, series_hint

ROOT = PurePosixPath()


@dataclass
class MeshCase:
    """A scan and its meshes.

    Attributes:
        name: As people call it; becomes the id.
        scan: None where there is none, or nothing says which of several.
        meshes: Relative to the source, in order.
        home: The folder that holds it all, relative to the source.
        problem: Why the case cannot be used.
        skipped_scans: Scans beside its own that are not taken; empty where there are none.
    """

    name: str
    scan: Scan | None
    meshes: list[PurePosixPath] = field(default_factory=list)
    home: PurePosixPath = ROOT
    problem: OsteonError | None = None
    skipped_scans: str = ""

    @property
    def words(self) -> frozenset[str]:
        """The words of the scan's own name and folder, which say nothing about a mesh."""
        return frozenset(split_words(self.home.name) + (split_words(self.scan.name) if self.scan else []))


def make_case(name: str, scans: Sequence[Scan], meshes: list[PurePosixPath], home: PurePosixPath = ROOT) -> MeshCase:
    """A case of one scan, or one that says why it has none."""
    if len(scans) == 1:
        return MeshCase(name, scans[0], meshes, home)
    if len(scans) > 1:
        by_word = [scan for scan in scans if {"ct", "cbct"}.intersection(split_words(scan.name))]
        if len(by_word) == 1:
            others = describe_scans([scan for scan in scans if scan is not by_word[0]])
            return MeshCase(
                name, by_word[0], meshes, home, skipped_scans=f"{others}: {by_word[0].relative_path} is the CT"
            )
        problem = DatasetError(
            f"case {name}: {len(scans)} scans, and nothing says to which the meshes belong: {describe_scans(scans)}",
            hint=series_hint(scans, "leave one, put `ct` into its name, or pass --case-pattern"),
        )
    else:
        problem = DatasetError(
            f"case {name}: meshes without a CT: {', '.join(map(str, meshes[:4]))}", hint="put the CT beside them"
        )
    return MeshCase(name, None, meshes, home, problem)
