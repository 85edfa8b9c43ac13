"""The audit of a dataset: every case measured once, findings ranked, a page written.

DATASET/audit/report.html            for people
DATASET/audit/audit.json             findings and measurements
DATASET/audit/cases/<case id>.json   what was measured of a case; written last, so that the others are there
DATASET/audit/cases/<case id>.npy    its borders
DATASET/audit/cases/<case id>.jpg    its picture
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from osteon.auditing.coarse_grid import choose_step
from osteon.auditing.cohort import Cohort
from osteon.auditing.facts import CaseFacts
from osteon.auditing.finding import SEVERITIES, Finding, rank_findings
from osteon.auditing.measure import measure_case
from osteon.auditing.page import write_page
from osteon.auditing.picture import case_picture
from osteon.auditing.rules import find_problems
from osteon.core.errors import FileError, OsteonError
from osteon.core.files import atomic_write, read_json, write_json
from osteon.core.geometry import Geometry
from osteon.core.parallel import CASE_BYTES_PER_VOXEL, for_each, worker_count
from osteon.core.progress import status
from osteon.dataset.case_stamps import CaseStamp, renew_stamp, stamp_case, warn_changed
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.formats.io import header_warnings

FOLDER = "audit"
MEASURES_VERSION = "4"
"""Raised whenever measuring changes: what was measured before is then measured again."""
MANY_VOXELS = 100e6
"""Below this, starting processes takes longer than they save."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The result of an audit.

    Attributes:
        findings: Ranked, the worst first.
        cohort: The measurements.
        failed: Cases that could not be measured, with the reason; each is among the findings too.
        page: The HTML page.
    """

    findings: list[Finding]
    cohort: Cohort
    failed: dict[str, OsteonError]
    page: Path

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity."""
        return {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}

    @property
    def clean(self) -> bool:
        """Whether there is nothing but notes."""
        return not self.counts["error"] and not self.counts["warning"]

    def summary(self) -> str:
        """One sentence."""
        cases = f"{len(self.cohort.cases)} case{'s' * (len(self.cohort.cases) != 1)}"
        counted = ", ".join(f"{n} {severity}{'s' * (n != 1)}" for severity, n in self.counts.items() if n)
        if self.clean:
            notes = f"; {counted} to know" if counted else ""
            if not self.cohort.manifest.labelled:
                return f"{cases}, none of them with a label: there is nothing to train on{notes}"
            return f"{cases}: nothing found that should keep you from training{notes}"
        return f"{cases}: {counted}"


def audit(dataset: Dataset, *, workers: int | None = None) -> Audit:
    """Measure every case, compare them, write DATASET/audit; unchanged cases are not read again.

    Args:
        dataset: The dataset.
        workers: Processes; None: as memory and cores allow.

    Raises:
        FileError: The folder cannot be written.
    """
    folder = dataset.folder / FOLDER
    cases = dataset.manifest.cases
    grids = {case.id: grid for case in cases if (grid := _grid(dataset, case)) is not None}
    step = choose_step(list(grids.values())) if grids else 1.0
    key = _key(dataset, step)
    known = {case.id: facts for case in cases if (facts := _read_facts(folder, case.id, key)) is not None}
    with status("comparing files"):  # those that were touched are read
        found = {
            case.id: _refresh_mark(folder, known[case.id], mark)
            for case in cases
            if case.id in known and (mark := renew_stamp(dataset, case, known[case.id].mark)) is not None
        }
    left = [case for case in cases if case.id not in found]
    failed: dict[str, OsteonError] = {}
    if left:
        warn_changed(dataset, {case.id: known[case.id].mark for case in left if case.id in known}, "measured")
        voxels = [int(np.prod(grids[case.id].shape)) for case in left if case.id in grids]
        channels = len(dataset.manifest.channels)
        count = worker_count(len(left), max(voxels, default=0) * channels * CASE_BYTES_PER_VOXEL)
        work = [(dataset.restrict_to(case), case, key, step) for case in left]
        chosen = workers or (count if sum(voxels) > MANY_VOXELS else 1)
        for outcome in for_each(_measure, work, "auditing", name=lambda item: f"case {item[1].id}", workers=chosen):
            case = outcome.item[1]
            if outcome.result is not None:
                found[case.id] = outcome.result
            elif outcome.error is not None:
                failed[case.id] = outcome.error
    measured = [found[case.id] for case in cases if case.id in found]
    profiles = _Profiles(folder, [facts.id for facts in measured if facts.structures])
    cohort = Cohort(dataset.manifest, measured, profiles, step)
    failed = {case.id: failed[case.id] for case in cases if case.id in failed}
    unreadable = [_unreadable(case, error) for case, error in failed.items()]
    findings = rank_findings(
        [*find_problems(cohort), *unreadable, *_header_findings(dataset, [facts.id for facts in measured])]
    )
    result = Audit(findings, cohort, failed, folder / "report.html")
    _write_json(folder / "audit.json", result)
    write_page(result.page, result.summary(), cohort, findings, folder / "cases")
    return result


def _grid(dataset: Dataset, case: Case) -> Geometry | None:
    try:
        return dataset.geometry(case)
    except OsteonError:
        return None  # measuring it will say why


def _key(dataset: Dataset, step: float) -> str:
    """What the labels look like, and how cases are measured; what one was measured from is its mark."""
    identity = "|".join(f"{s.name} {s.colour} {s.values if s.instances else ''}" for s in dataset.structures)
    channels = "|".join(channel.modality for channel in dataset.manifest.channels)
    return f"{identity}|{channels}|step {step:g}|measures {MEASURES_VERSION}"


def _read_facts(folder: Path, case_id: str, key: str) -> CaseFacts | None:
    """What was measured before, where it still holds."""
    path = folder / "cases" / f"{case_id}.json"
    if not path.is_file() or not path.with_name(f"{case_id}.jpg").is_file():
        return None
    try:
        facts = CaseFacts.model_validate(read_json(path, "the measurements"))
    except (OsteonError, ValidationError):
        return None  # only measurements: they are made again
    here = not facts.structures or path.with_name(f"{case_id}.npy").is_file()
    return facts if facts.key == key and here else None


def _refresh_mark(folder: Path, facts: CaseFacts, mark: CaseStamp) -> CaseFacts:
    """The facts with a mark of the same bytes, kept where a file was touched: it is not read for that again."""
    if mark != facts.mark:
        facts = facts.model_copy(update={"mark": mark})
        write_json(folder / "cases" / f"{facts.id}.json", facts.model_dump())
    return facts


def _measure(work: tuple[Dataset, Case, str, float]) -> CaseFacts:
    dataset, case, key, step = work
    mark = stamp_case(dataset, case)
    image = dataset.load_image(case, verify=False)  # that it is another one is a finding
    labels = dataset.load_segmentation(case, pieces=True) if case.segmentation is not None else None
    measured = measure_case(case.id, key, image, labels, step=step)
    facts = measured.facts.model_copy(update={"mark": mark})
    cases = dataset.folder / FOLDER / "cases"
    with atomic_write(cases / f"{case.id}.jpg") as temporary:
        temporary.write_bytes(case_picture(measured, dataset.manifest.channels[0].modality))
    if measured.profiles is not None:
        with atomic_write(cases / f"{case.id}.npy") as temporary:
            np.save(temporary, measured.profiles, allow_pickle=False)
    write_json(cases / f"{case.id}.json", facts.model_dump())
    return facts


@dataclass(frozen=True)
class _Profiles(Mapping[str, npt.NDArray[np.float16]]):
    """The borders of cases, read whenever they are asked for: those of thousands are not held.

    Attributes:
        folder: DATASET/audit.
        cases: Their ids.
    """

    folder: Path
    cases: Sequence[str]

    def __getitem__(self, case: str) -> npt.NDArray[np.float16]:
        """Those of a case. Raises FileError where its file is damaged."""
        path = self.folder / "cases" / f"{case}.npy"
        try:
            profiles: npt.NDArray[np.float16] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise FileError(f"{path}: is damaged ({error})", hint=f"remove {self.folder}; it is made again") from error
        return profiles

    def __iter__(self) -> Iterator[str]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)


def _unreadable(case: str, error: OsteonError) -> Finding:
    return Finding(
        severity="error",
        kind="unreadable",
        cases=[case],
        what=error.message,
        action=error.hint or "restore the file, or leave the case out",
        strength=1.0,
    )


def _header_findings(dataset: Dataset, cases: Sequence[str]) -> Iterator[Finding]:
    """Warnings about the headers of cases' files: one finding for each kind, which shows the first."""
    by_kind: dict[tuple[str, bool], list[tuple[str, str]]] = {}
    for case in map(dataset.case, cases):
        files = [(dataset.resolve(path), False) for path in case.images]
        files += [(dataset.resolve(case.segmentation), True)] if case.segmentation else []
        for path, label in files:
            for warning in header_warnings(path, label=label):
                by_kind.setdefault((warning.kind, warning.severe), []).append((case.id, f"{path.name}: {warning.what}"))
    for (_, severe), found in by_kind.items():
        more = f"; also in {len(found) - 1} more file{'s' * (len(found) > 2)}" if len(found) > 1 else ""
        yield Finding(
            severity="warning" if severe else "note",
            kind="header",
            cases=list(dict.fromkeys(case for case, _ in found)),
            what=f"{found[0][1]}{more}",
            action="make sure that this is right, and correct the header: other programs may read it otherwise"
            if severe
            else "nothing, if that is right",
            strength=0.3,
        )


def _write_json(path: Path, result: Audit) -> None:
    """Write audit.json, the cases one by one: as one text all of them would take more memory than the scan of any."""
    result_head = {
        "osteon": 1,
        "dataset": result.cohort.manifest.name,
        "summary": result.summary(),
        "counts": result.counts,
        "findings": [finding.model_dump() for finding in result.findings],
    }
    head = json.dumps(result_head, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as text:
        text.write(f'{head.removesuffix("}").rstrip()},\n "cases": [')
        for number, facts in enumerate(result.cohort.cases):
            text.write(f"{',' * (number > 0)}\n  {facts.model_dump_json(exclude={'key', 'mark', 'thumbnail'})}")
        text.write("\n ]\n}\n")
