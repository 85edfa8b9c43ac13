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
from osteon.formats.dicom_references import ImageReferences, read_references
from osteon.importing.masks.files import Heap, Mask, Scan

_WAY_OUT = "--ignore-references takes it by its place and grid"


class Links:
    """What the DICOM labels of a source refer to.

    Args:
        scans: All that a label may refer to; those without a series are named by none.
        masks: Files that are no DICOM, and damaged ones, refer to nothing.
    """

    def __init__(self, scans: Iterable[Scan] = (), masks: Iterable[Mask] = ()) -> None:
        own = {id(scan.series): scan for scan in scans if scan.series is not None}
        among = [scan.series for scan in own.values() if scan.series is not None]
        self._told: dict[Mask, ImageReferences] = {}
        self._named: dict[Mask, list[Scan]] = {}
        self._by_uid: set[Mask] = set()
        for mask in masks:
            if mask.kind == "file":
                continue
            with suppress(OsteonError):  # said when its case is read
                told = self._told[mask] = read_references(mask.path)
                named = told.named(among)
                if named:
                    self._by_uid.add(mask)
                else:
                    named = [one for one in among if told.frame_of(one) and not told.of_another_patient(one)]
                self._named[mask] = [own[id(one)] for one in named]

    def named(self, mask: Mask) -> Sequence[Scan]:
        """The scans that the mask refers to by UID, or else by its frame of reference."""
        return self._named.get(mask, ())

    def home(
        self, mask: Mask, homes: Mapping[Scan, PurePosixPath], near: PurePosixPath | None
    ) -> tuple[PurePosixPath | None, str]:
        """The folder of the case that a mask belongs to, and what is to be said about it.

        Args:
            mask: Any.
            homes: The folder of each scan's case.
            near: The nearest of these folders to the mask.

        Returns:
            The folder of the scan that the mask names; `near` where it names none, or one there. None with the reason
            where that scan is none of a case's.
        """
        named = self.named(mask)
        told = list(dict.fromkeys(homes[scan] for scan in named if scan in homes))
        if not named or near in told:
            return near, ""
        if not told:
            return None, f"{mask.path}: refers to {named[0].title}, which is passed over; so is this; {_WAY_OUT}"
        if len(told) > 1:
            listed = " and ".join(scan.title for scan in named[:4])
            return None, f"{mask.path}: refers to scans of several cases: {listed}; passed over; {_WAY_OUT}"
        where = (
            "" if near is None or near in told[0].parents else f"{mask.path}: taken for {named[0].title}, as it says"
        )
        return told[0], where

    def against(self, mask: Mask, scans: Sequence[Scan]) -> str:
        """Why the mask is none of these scans, the channels of one case; empty where nothing says so."""
        if mask not in self._told:
            return ""
        reasons = [self._against(mask, scan) for scan in scans]
        return "" if not reasons or "" in reasons else reasons[0]

    def _against(self, mask: Mask, scan: Scan) -> str:
        told, named = self._told[mask], self.named(mask)
        if scan.series is None:
            return ""
        if named and scan not in named:
            return f"refers to {named[0].title}"
        if told.frame_of(scan.series) is False:
            return "lies in another frame of reference"
        if len(told.regions) > 1 and scan.series.frame_of_reference:
            return "has regions in several frames of reference"
        if mask in self._by_uid:
            return ""
        if told.of_another_patient(scan.series):
            return "has another PatientID"
        if told.any and told.frame_of(scan.series) is None and told.study_of(scan.series) is False:
            return "refers to images of another study"
        return ""

    def refused(self, mask: Mask, groups: Iterable[Sequence[Scan]]) -> str:
        """That a mask belongs to none of the cases beside it; empty where it may belong to one."""
        groups = list(groups)
        if mask not in self._told:
            return ""
        reasons = [self.against(mask, scans) for scans in groups]
        if not all(reasons):
            return ""
        beside = f"{groups[0][0].title}" if len(groups) == 1 else f"{len(groups)} scans"
        return f"{mask.path}: lies beside {beside}, but {reasons[0]}; passed over; {_WAY_OUT}"

    def within(self, scans: list[Scan], masks: list[Mask], heap: Heap) -> tuple[list[Scan], list[Mask]]:
        """Of the scans and masks that the user gave to one case, the masks that may be theirs, and the scans that
        these refer to (all where they refer to none). What is left out is told in `heap`.
        """
        reasons = {mask: self.refused(mask, [[scan] for scan in scans]) for mask in masks}
        heap.lost += [why for why in reasons.values() if why]
        masks = [mask for mask in masks if not reasons[mask]]
        named = {scan for mask in masks for scan in self.named(mask)}.intersection(scans)
        others = [scan for scan in scans if named and scan not in named]
        heap.warnings += [f"{scan.title}: no label of its case belongs to this series; passed over" for scan in others]
        return [scan for scan in scans if scan not in others], masks

    def notes(self, taken: Iterable[tuple[Mask, Scan]]) -> list[str]:
        """What is odd about the references of masks that were taken for their scans."""
        pairs = [(mask, scan, self._told[mask], scan.series) for mask, scan in taken if mask in self._told]
        told = [(mask, scan, told, series) for mask, scan, told, series in pairs if series is not None]
        lines = [
            f"{mask.path}: refers to {scan.title}, but has another PatientID; the reference counts"
            for mask, scan, said, series in told
            if mask in self._by_uid and said.of_another_patient(series)
        ]
        strange = [mask for mask, _, said, _ in told if mask not in self._by_uid and said.any]
        if strange:
            one = len(strange) == 1
            lines.append(
                f"{'a DICOM label refers' if one else f'{len(strange)} DICOM labels refer'} to images that are not "
                f"here, and {'is' if one else 'are'} taken for the scan beside {'it' if one else 'them'}, by frame of "
                f"reference and grid: {', '.join(str(mask.path) for mask in strange[:3])}{' …' * (len(strange) > 3)}"
            )
        return lines
