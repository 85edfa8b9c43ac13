"""Why no mask belongs to a scan: each cause for itself, with how often it occurs, an example, and the way out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from osteon.core.errors import DatasetError
from osteon.core.text import pluralise
from osteon.formats.mask_names import case_name, classify_name
from osteon.importing.masks import pairing
from osteon.importing.masks.files import MaskFile, Scan, SourceInventory
from osteon.importing.masks.grids import lies_on_grid
from osteon.importing.masks.references import LabelReferences
from osteon.importing.source_forms import COMMON_PATTERNS

_PATTERNS = (*COMMON_PATTERNS, r"(\d+)\D*$", r"([^/]+)/[^/]*$")
_LISTED = 3
_TRIED = 100
"""Scans and masks with which patterns are tried."""


def no_pairs_error(source: Path, inventory: SourceInventory, pattern: str | None) -> DatasetError:
    """The error for an inventory in which no mask belongs to a scan.

    Args:
        source: The folder.
        inventory: What was found, its `unmatched` and `lost` as `pairing.pair_files` left them.
        pattern: The user's `--case-pattern`.
    """
    if not inventory.scans or not inventory.masks:
        return _one_kind_error(source, inventory)
    counts = Counter(file.cause for file in inventory.unmatched)
    first = {file.cause: file for file in reversed(inventory.unmatched)}
    lines = [
        f"\n  {pluralise(number, 'file')}, such as {first[cause].item.relative_path}: {cause}{first[cause].detail}"
        for cause, number in counts.most_common()
    ]
    lines += [f"\n  {line}" for line in inventory.lost[:_LISTED]]
    lines += [f"\n  … and {len(inventory.lost) - _LISTED} more"] if len(inventory.lost) > _LISTED else []
    return DatasetError(
        f"{source}: no mask belongs to a scan ({len(inventory.scans)} scans, {len(inventory.masks)} masks):"
        f"{''.join(lines)}",
        hint=_hint(inventory, counts.most_common(1)[0][0] if counts else "", pattern),
    )


def _one_kind_error(source: Path, inventory: SourceInventory) -> DatasetError:
    """All files are taken for masks, or all for scans."""
    what, other, folder = ("scan", "mask", "masks") if inventory.scans else ("mask", "scan", "images")
    items: list[Scan | MaskFile] = [*inventory.scans, *inventory.masks]
    by_name = [item for item in items if classify_name(item.relative_path) == what]
    by_values = [item for item in items if item not in by_name]
    by_count = "hold more than one value beside 0" if inventory.scans else "hold one value beside 0"
    parts = [
        f"{len(chosen)} {why}, such as {chosen[0].relative_path}"
        for chosen, why in ((by_name, "by their names"), (by_values, by_count))
        if chosen
    ]
    return DatasetError(
        f"{source}: no {other} among {len(items)} files; all are taken for {what}s: {'; '.join(parts)}",
        hint=f"put the {other}s into a folder called `{folder}`",
    )


def _hint(inventory: SourceInventory, cause: str, pattern: str | None) -> str:
    if inventory.lost and all(mask.kind != "file" for mask in inventory.masks):
        return "give the series on which they were drawn"
    scan, mask = inventory.scans[0], inventory.masks[0]
    if pattern is not None:
        both = f"such as {scan.relative_path} and {mask.relative_path}"
        return f"the first group of --case-pattern must find the same in the paths of scan and mask, {both}"
    if proposal := next((text for text in _PATTERNS if _pairs_all(inventory, text)), None):
        [group] = [
            group
            for group in pairing.pair_by_pattern(_sample(inventory), proposal, LabelReferences())
            if mask in group.masks
        ]
        return f"if {mask.relative_path} belongs to {group.scans[0].relative_path}, give --case-pattern '{proposal}'"
    if cause == pairing.UNFIT and scan.geometry and mask.geometry:
        grids = f"{scan.relative_path} has {scan.geometry.describe()}, {mask.relative_path} {mask.geometry.describe()}"
        return f"save each mask on the grid of its scan ({grids}), called after it: {_proposed_name(scan, mask)}"
    if cause in (pairing.TWO_CASES, pairing.CONTRADICTION):
        return "let folder and name say the same case, or say which part of a path is the case: --case-pattern"
    if cause == pairing.OTHER_CASE:
        return f"add the scans of these cases; or call masks after their scan, such as {_proposed_name(scan, mask)}"
    example = f"{mask.relative_path} belongs to {scan.relative_path}"
    return f"call masks after their scan, such as {_proposed_name(scan, mask)} where {example}"


def _proposed_name(scan: Scan, mask: MaskFile) -> str:
    return f"{case_name(scan.name) or scan.folder.name or scan.name}_{mask.path.name}"


def _sample(inventory: SourceInventory) -> SourceInventory:
    return SourceInventory(scans=inventory.scans[:_TRIED], masks=inventory.masks[:_TRIED])


def _pairs_all(inventory: SourceInventory, pattern: str) -> bool:
    """Whether a pattern gives every mask one scan, on whose grid it lies, and most scans masks."""
    part = _sample(inventory)
    groups = pairing.pair_by_pattern(part, pattern, LabelReferences())
    labelled = [group for group in groups if group.masks]
    return (
        not part.unmatched
        and 2 * len(labelled) > len(groups)
        and not any(group.is_ambiguous for group in groups)
        and all(lies_on_grid(mask, group) for group in labelled for mask in group.masks if mask.kind == "file")
    )
