"""Storage commitment (PS3.4, J): a station says that it keeps instances, so that the sender may remove its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.archive.dimse import DimseArchive
from osteon.archive.dimse_messages import SUCCESS, read_status
from osteon.core.errors import ArchiveError
from osteon.formats.dicom_files import read_dataset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST = 1
"""Type of the action; and of the events:"""
_ALL_KEPT, _SOME_NOT = 1, 2
_NO_SUCH_INSTANCE = 0x0112


def make_request(files: Sequence[Path]) -> Dataset:
    """What asks for commitment to files, under a TransactionUID that no other request has."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    headers = [read_dataset(path, pixels=False) for path in files]
    request = Dataset()
    request.TransactionUID = generate_uid(prefix=None)
    request.ReferencedSOPSequence = [_reference(header.SOPClassUID, header.SOPInstanceUID) for header in headers]
    return request


def make_report(request: Dataset, kept: Callable[[str], bool]) -> Dataset:
    """The report on a request: what is kept, and what is not there."""
    from pydicom.dataset import Dataset

    report, lost = Dataset(), []
    report.TransactionUID, report.ReferencedSOPSequence = request.TransactionUID, []
    for asked in request.get("ReferencedSOPSequence") or []:
        item = _reference(asked.ReferencedSOPClassUID, asked.ReferencedSOPInstanceUID)
        if kept(str(asked.ReferencedSOPInstanceUID)):
            report.ReferencedSOPSequence.append(item)
        else:
            item.FailureReason = _NO_SUCH_INSTANCE
            lost.append(item)
    if lost:
        report.FailedSOPSequence = lost
    if not report.ReferencedSOPSequence:
        del report.ReferencedSOPSequence
    return report


def failed_instances(report: Dataset) -> dict[str, int]:
    """SOPInstanceUID → reason, of those that are not kept."""
    failed = report.get("FailedSOPSequence") or []
    return {str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", 0) or 0) for item in failed}


def send_request(archive: DimseArchive, request: Dataset) -> None:
    """Ask for commitment; the report comes later, to this station's listener.

    Raises:
        ArchiveDownError: The archive does not answer.
        NotOfferedError: It commits to nothing.
        ArchiveError: It refuses the request.
    """
    with archive.associated([(COMMITMENT, None)]) as association:
        answer, _ = association.send_n_action(request, REQUEST, COMMITMENT, _INSTANCE)
        _check(archive, answer, "storage commitment is refused")


def send_report(station: DimseArchive, report: Dataset) -> None:
    """Tell a station that asked. Raises ArchiveDownError, ArchiveError as `send_request`."""
    from pynetdicom import build_role

    kind = _SOME_NOT if "FailedSOPSequence" in report else _ALL_KEPT
    roles = [build_role(COMMITMENT, scp_role=True)]
    with station.associated([(COMMITMENT, None)], roles=roles) as association:
        answer, _ = association.send_n_event_report(report, kind, COMMITMENT, _INSTANCE)
        _check(station, answer, "a report on storage commitment is refused")


def _check(station: DimseArchive, answer: Dataset, problem: str) -> None:
    if (number := read_status(answer)) != SUCCESS:
        raise ArchiveError(f"{station}: {problem} (status 0x{number:04X})", hint="its log says why")


def _reference(kind: str, uid: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, uid
    return item
