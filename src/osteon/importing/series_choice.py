"""Which of several DICOM series of one patient and study is meant: `--series`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from osteon.core.text import shorten_list
from osteon.formats.dicom import check_series_choice, select_series, series_titles
from osteon.importing.masks.files import Scan

_LISTED = 8


def choose_series(
    cases: Iterable[Sequence[Scan]], which: str | None, warnings: list[str], lost: list[str]
) -> list[list[Scan]]:
    """Of several series of one study in a case, those that `--series` names; a study's only series stays.

    Args:
        cases: The scans of each case.
        which: A SeriesNumber, a SeriesInstanceUID or a SeriesDescription; None leaves all.
        warnings: How many series were skipped is added.
        lost: Studies in which no series is the one that was asked for are added.

    Returns:
        The scans of each case that are left, in their order.

    Raises:
        UsageError: No series at all is called so.
    """
    chosen = [list(scans) for scans in cases]
    if which is None:
        return chosen
    everything = [scan.series for scans in chosen for scan in scans if scan.series is not None]
    check_series_choice(everything, which)
    passed: list[Scan] = []
    for scans in chosen:
        scan_of = {id(scan.series): scan for scan in scans if scan.series is not None}
        kept, without = select_series([scan.series for scan in scans if scan.series is not None], which)
        lost += [
            f"none of these is --series {which}; skipped: {describe_scans([scan_of[id(one)] for one in study])}"
            for study in without
        ]
        stay = {id(one) for one in kept}
        astray = {id(one) for study in without for one in study}
        passed += [scan for one, scan in scan_of.items() if one not in stay | astray]
        scans[:] = [scan for scan in scans if scan.series is None or id(scan.series) in stay]
    if passed:
        warnings.append(f"skipped, as not --series {which}: {len(passed)} series, such as {passed[0].title}")
    return chosen


def is_one_study(scans: Iterable[Scan]) -> bool:
    """Whether all are DICOM series of one study, so that a person can say which of them is meant."""
    studies = {(scan.series.patient_key, scan.series.study) if scan.series else None for scan in scans}
    return len(studies) == 1 and None not in studies


def series_hint(scans: Iterable[Scan], otherwise: str) -> str:
    """The hint where nothing says which of several scans is meant: the option, where they are DICOM series."""
    all_series = all(scan.series for scan in scans)
    return "choose a series by its number, description or UID: --series" if all_series else otherwise


def describe_scans(scans: Sequence[Scan]) -> str:
    """Several scans in words, by which people tell them apart."""
    words = iter(series_titles([scan.series for scan in scans if scan.series is not None]))
    names = [f"{scan.path} ({next(words)})" if scan.series is not None else str(scan.path) for scan in scans]
    return shorten_list(names, _LISTED)
