"""The records of what a network said of scans: one for each, measured again only where scan or model has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from osteon.core.case_records import CaseRecords
from osteon.core.errors import OsteonError
from osteon.core.parallel import case_failure
from osteon.core.progress import track
from osteon.labelling.network_signals import ScanProbe
from osteon.predicting.model import Model
from osteon.predicting.scans import Scan

NAME = "signals.json"


class _Record(BaseModel):
    model: str
    input: list[list[Any]]
    features: list[float]
    agreement: dict[str, float | None]
    look: str
    looks: int


def measure_scans(
    model: Model, scans: Iterable[Scan], folder: Path, failed: dict[str, OsteonError]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The record of each scan, by id; any number of processes may measure into one folder.

    Args:
        model: With its own network.
        scans: Of a dataset.
        folder: That holds the records.
        failed: Gets the error of each that cannot be measured.
    """
    probe, records = ScanProbe(model), CaseRecords(folder, NAME, _Record)
    for scan in track(list(scans), "measuring"):
        try:
            yield scan.id, _measure_scan(scan, probe, records)
        except Exception as error:  # noqa: BLE001 (bugs are raised again)
            failed[scan.id] = case_failure(scan.id, error, "close other programs, or use a machine with more memory")
    records.remove_empty()


def _measure_scan(scan: Scan, probe: ScanProbe, records: CaseRecords) -> dict[str, Any]:
    """A scan's signals, as they are recorded or as they are measured now."""
    if (before := _up_to_date(scan, probe, records)) is not None:
        return before
    with records.claim(scan.id, wait=True):
        if (before := _up_to_date(scan, probe, records)) is not None:  # another process's
            return before
        fingerprint, volume = scan.fingerprint(), scan.load()
        probe.model.check(volume, scan.id)
        signals = asdict(probe.measure(probe.model.prepare(volume)))
        record = {"model": probe.model.sha256, "input": fingerprint, **signals}
        records.write(scan.id, record)
        return record


def _up_to_date(scan: Scan, probe: ScanProbe, records: CaseRecords) -> dict[str, Any] | None:
    before = records.get(scan.id)
    same = before is not None and before["model"] == probe.model.sha256
    return before if before and same and scan.refresh_fingerprint(before["input"]) is not None else None
