"""Why no mask belongs to a scan: each cause for itself, with how often it occurs, an example, and the way out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from osteon.core.errors import DatasetError
from osteon.core.text import pluralise
from osteon.formats.mask_names import case_of, kind_of
from osteon.importing.masks import pairing
from osteon.importing.masks.files import Heap, Mask, Scan
from osteon.importing.masks.grids import fits
from osteon.importing.masks.references import Links
from osteon.importing.patterns import PROPOSALS

_PATTERNS = (*PROPOSALS, r"(\d+)\D*$", r"([^/]+)/[^/]*$")
_LISTED = 3
_TRIED = 100
"""Scans and masks with which patterns are tried."""


def no_pairs(source: Path, heap: Heap, pattern: str | None) -> DatasetError:
    """The error for a heap in which no mask belongs to a scan.

    Args:
        source: The folder.
        heap: What was found, and its `strays` as `mask_pairing.pair` told them.
        pattern: The user's `--case-pattern`.
    """
    if not heap.scans or not heap.masks:
        return _all_alike(source, heap)
    counts = Counter(stray.cause for stray in heap.strays)
    first = {stray.cause: stray for stray in reversed(heap.strays)}
    lines = [
        f"\n  {pluralise(number, 'file')}, such as {first[cause].item.place}: {cause}{first[cause].detail}"
        for cause, number in counts.most_common()
    ]
    lines += [f"\n  {line}" for line in heap.lost[:_LISTED]]
    lines += [f"\n  … and {len(heap.lost) - _LISTED} more"] if len(heap.lost) > _LISTED else []
    return DatasetError(
        f"{source}: no mask belongs to a scan ({len(heap.scans)} scans, {len(heap.masks)} masks):{''.join(lines)}",
        hint=_way_out(heap, counts.most_common(1)[0][0] if counts else "", pattern),
    )


def _all_alike(source: Path, heap: Heap) -> DatasetError:
    """All files are taken for masks, or all for scans."""
    what, other, folder = ("scan", "mask", "masks") if heap.scans else ("mask", "scan", "images")
    items: list[Scan | Mask] = [*heap.scans, *heap.masks]
    called = [item for item in items if kind_of(item.place) == what]
    seen = [item for item in items if item not in called]
    looks = "hold more than one value beside 0" if heap.scans else "hold one value beside 0"
    parts = [
        f"{len(own)} {why}, such as {own[0].place}" for own, why in ((called, "by their names"), (seen, looks)) if own
    ]
    return DatasetError(
        f"{source}: no {other} among {len(items)} files; all are taken for {what}s: {'; '.join(parts)}",
        hint=f"put the {other}s into a folder called `{folder}`",
    )


def _way_out(heap: Heap, cause: str, pattern: str | None) -> str:
    if heap.lost and all(mask.kind != "file" for mask in heap.masks):
        return "give the series on which they were drawn"
    scan, mask = heap.scans[0], heap.masks[0]
    if pattern is not None:
        both = f"such as {scan.place} and {mask.place}"
        return f"the first group of --case-pattern must find the same in the paths of scan and mask, {both}"
    if proposal := next((text for text in _PATTERNS if _sorts_all(heap, text)), None):
        [group] = [group for group in pairing.by_pattern(_part(heap), proposal, Links()) if mask in group.masks]
        return f"if {mask.place} belongs to {group.scans[0].place}, give --case-pattern '{proposal}'"
    if cause == pairing.UNFIT and scan.geometry and mask.geometry:
        grids = f"{scan.place} has {scan.geometry.describe()}, {mask.place} {mask.geometry.describe()}"
        return f"save each mask on the grid of its scan ({grids}), called after it: {_after(scan, mask)}"
    if cause in (pairing.TWO_CASES, pairing.STRANGER):
        return "let folder and name say the same case, or say which part of a path is the case: --case-pattern"
    if cause == pairing.OTHER_CASE:
        return f"add the scans of these cases; or call masks after their scan, such as {_after(scan, mask)}"
    return f"call masks after their scan, such as {_after(scan, mask)} where {mask.place} belongs to {scan.place}"


def _after(scan: Scan, mask: Mask) -> str:
    return f"{case_of(scan.name) or scan.folder.name or scan.name}_{mask.path.name}"


def _part(heap: Heap) -> Heap:
    return Heap(scans=heap.scans[:_TRIED], masks=heap.masks[:_TRIED])


def _sorts_all(heap: Heap, pattern: str) -> bool:
    """Whether a pattern gives every mask one scan, on whose grid it lies, and most scans masks."""
    part = _part(heap)
    groups = pairing.by_pattern(part, pattern, Links())
    labelled = [group for group in groups if group.masks]
    return (
        not part.strays
        and 2 * len(labelled) > len(groups)
        and not any(group.several for group in groups)
        and all(fits(mask, group) for group in labelled for mask in group.masks if mask.kind == "file")
    )
