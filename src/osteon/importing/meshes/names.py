"""What the names of scans and meshes share: the words of which they are made."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from osteon.formats.mask_names import MASK_WORDS, SCAN_WORDS
from osteon.importing.masks.files import Scan

_MESH_WORDS = {
    "stl",
    "stls",
    "mesh",
    "meshes",
    "surface",
    "surfaces",
    "fragment",
    "fragments",
    "frag",
    "model",
    "models",
}
IGNORED_WORDS = frozenset(word for word in SCAN_WORDS | MASK_WORDS | _MESH_WORDS if not word.isdigit())
"""Words that say what a file is, and not whose."""
_LONGEST = 20
"""Words of a name that are looked at."""


def split_words(text: str) -> list[str]:
    """`P07-BlueFragment` → `p`, `07`, `blue`, `fragment`: at marks, capitals, and between letters and digits."""
    return [word.lower() for word in re.findall(r"[A-Z]?[^\W\d_A-Z]+|[^\W\d_]+|\d+", text)]


class ScanNames:
    """What the names of several scans hold, to find the scan that a mesh's name means."""

    def __init__(self, scans: Sequence[Scan], home: PurePosixPath) -> None:
        self.home = home
        self.runs: dict[tuple[str, ...], list[Scan]] = defaultdict(list)
        words = [
            self._words(scan.relative_path if scan.series else scan.relative_path.with_name(scan.name))
            for scan in scans
        ]
        common = set.intersection(*map(set, words)) if len(words) > 1 else set()
        for scan, scan_words in zip(scans, words, strict=True):
            distinctive = set(scan_words) - common or set(scan_words)
            for run in {run for run, _ in _runs(scan_words)}:
                if distinctive.issubset(run):
                    self.runs[run].append(scan)

    def _words(self, place: PurePosixPath) -> list[str]:
        below = place.relative_to(self.home)
        return [word for part in below.parts for word in split_words(part) if word not in IGNORED_WORDS]

    def owner(self, mesh: PurePosixPath) -> Scan | None:
        """The scan that a mesh's name means; None where it means none, or several."""
        words = self._words(mesh.with_suffix(""))
        found = [(len(run), -start, self.runs[run]) for run, start in _runs(words) if run in self.runs]
        if not found:
            return None
        scans = max(found, key=lambda item: item[:2])[2]
        return scans[0] if len(scans) == 1 else None


def _runs(words: Sequence[str]) -> Iterator[tuple[tuple[str, ...], int]]:
    """All runs of words that stand one behind the other, and where each begins."""
    words = words[:_LONGEST]
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield tuple(words[start:end]), start
