"""Which scan a DICOM SEG or RTSTRUCT refers to, and what speaks against the scan that lies beside it.

References come first, places and grids second. Where a label names no image that is here, it may still belong to the
scan beside it: anonymisers give new UIDs to images and labels apart. Then frame of reference, patient and study must
not contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from osteon.core.errors import OsteonError
from osteon.core.text import shorten_list
from osteon.formats.dicom_references import ImageReferences, read_references
from osteon.importing.masks.files import MaskFile, Scan, SourceInventory

_WAY_OUT = "--ignore-references takes it by its place and grid"


class LabelReferences:
    """What the DICOM labels of a source refer to.

    Args:
        scans: All that a label may refer to; those without a series are named by none.
        masks: Files that are no DICOM, and damaged ones, refer to nothing.
    """

    def __init__(self, scans: Iterable[Scan] = (), masks: Iterable[MaskFile] = ()) -> None:
        by_series = {id(scan.series): scan for scan in scans if scan.series is not None}
        series = [scan.series for scan in by_series.values() if scan.series is not None]
        self._references: dict[MaskFile, ImageReferences] = {}
        self._referenced: dict[MaskFile, list[Scan]] = {}
        self._by_uid: set[MaskFile] = set()
        for mask in masks:
            if mask.kind == "file":
                continue
            with suppress(OsteonError):  # reported when its case is read
                found = self._references[mask] = read_references(mask.path)
                named = found.named(series)
                if named:
                    self._by_uid.add(mask)
                else:
                    named = [one for one in series if found.frame_of(one) and not found.of_another_patient(one)]
                self._referenced[mask] = [by_series[id(one)] for one in named]

    def referenced_scans(self, mask: MaskFile) -> Sequence[Scan]:
        """The scans that the mask refers to by UID, or else by its frame of reference."""
        return self._referenced.get(mask, ())

    def find_home(
        self, mask: MaskFile, homes: Mapping[Scan, PurePosixPath], nearest: PurePosixPath | None
    ) -> tuple[PurePosixPath | None, str]:
        """The folder of the case that a mask belongs to, and a note about it.

        Args:
            mask: Any.
            homes: The folder of each scan's case.
            nearest: The nearest of these folders to the mask.

        Returns:
            The folder of the scan that the mask names; `nearest` where it names none, or one there. None with the
            reason where that scan is none of a case's.
        """
        named = self.referenced_scans(mask)
        folders = list(dict.fromkeys(homes[scan] for scan in named if scan in homes))
        if not named or nearest in folders:
            return nearest, ""
        if not folders:
            return None, f"{mask.path}: refers to {named[0].title}, which is skipped; so is this; {_WAY_OUT}"
        if len(folders) > 1:
            listed = " and ".join(scan.title for scan in named[:4])
            return None, f"{mask.path}: refers to scans of several cases: {listed}; skipped; {_WAY_OUT}"
        where = (
            ""
            if nearest is None or nearest in folders[0].parents
            else f"{mask.path}: taken for {named[0].title}, as it says"
        )
        return folders[0], where

    def why_not(self, mask: MaskFile, scans: Sequence[Scan]) -> str:
        """Why the mask is none of these scans, the channels of one case; empty where nothing says so."""
        if mask not in self._references:
            return ""
        reasons = [self._why_not_scan(mask, scan) for scan in scans]
        return "" if not reasons or "" in reasons else reasons[0]

    def _why_not_scan(self, mask: MaskFile, scan: Scan) -> str:
        references, named = self._references[mask], self.referenced_scans(mask)
        if scan.series is None:
            return ""
        if named and scan not in named:
            return f"refers to {named[0].title}"
        if references.frame_of(scan.series) is False:
            return "lies in another frame of reference"
        if len(references.regions) > 1 and scan.series.frame_of_reference:
            return "has regions in several frames of reference"
        if mask in self._by_uid:
            return ""
        if references.of_another_patient(scan.series):
            return "has another PatientID"
        if references.any and references.frame_of(scan.series) is None and references.study_of(scan.series) is False:
            return "refers to images of another study"
        return ""

    def explain_rejection(self, mask: MaskFile, groups: Iterable[Sequence[Scan]]) -> str:
        """That a mask belongs to none of the cases beside it; empty where it may belong to one."""
        groups = list(groups)
        if mask not in self._references:
            return ""
        reasons = [self.why_not(mask, scans) for scans in groups]
        if not all(reasons):
            return ""
        beside = f"{groups[0][0].title}" if len(groups) == 1 else f"{len(groups)} scans"
        return f"{mask.path}: lies beside {beside}, but {reasons[0]}; skipped; {_WAY_OUT}"

    def select_for_case(
        self, scans: list[Scan], masks: list[MaskFile], inventory: SourceInventory
    ) -> tuple[list[Scan], list[MaskFile]]:
        """Of the scans and masks that the user gave to one case, the masks that may belong to it, and the scans that
        these refer to (all where they refer to none). What is left out is added to `inventory`.
        """
        reasons = {mask: self.explain_rejection(mask, [[scan] for scan in scans]) for mask in masks}
        inventory.lost += [why for why in reasons.values() if why]
        masks = [mask for mask in masks if not reasons[mask]]
        named = {scan for mask in masks for scan in self.referenced_scans(mask)}.intersection(scans)
        others = [scan for scan in scans if named and scan not in named]
        inventory.warnings += [f"{scan.title}: no label of its case belongs to this series; skipped" for scan in others]
        return [scan for scan in scans if scan not in others], masks

    def describe_oddities(self, used: Iterable[tuple[MaskFile, Scan]]) -> list[str]:
        """What is odd about the references of masks that were taken for their scans."""
        pairs = [(mask, scan, self._references[mask], scan.series) for mask, scan in used if mask in self._references]
        in_series = [(mask, scan, in_series, series) for mask, scan, in_series, series in pairs if series is not None]
        lines = [
            f"{mask.path}: refers to {scan.title}, but has another PatientID; the reference counts"
            for mask, scan, found, series in in_series
            if mask in self._by_uid and found.of_another_patient(series)
        ]
        unmatched = [mask for mask, _, found, _ in in_series if mask not in self._by_uid and found.any]
        if unmatched:
            one = len(unmatched) == 1
            lines.append(
                f"{'a DICOM label refers' if one else f'{len(unmatched)} DICOM labels refer'} to images that are not "
                f"here, and {'is' if one else 'are'} taken for the scan beside {'it' if one else 'them'}, by frame of "
                f"reference and grid: {shorten_list([str(mask.path) for mask in unmatched], 3)}"
            )
        return lines
