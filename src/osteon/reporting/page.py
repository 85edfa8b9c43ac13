"""The page of a comparison: HTML, charts and pictures and all; what names many cases goes on on further pages."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy import stats

from osteon.core.errors import OsteonError
from osteon.core.html_pages import PagePosition, paginate, render, write_pages
from osteon.core.labels import Segmentation
from osteon.core.progress import track
from osteon.core.statistics import SampleStatistics
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_placement import place_segmentation
from osteon.drawing.overview import PictureRow, paint_overview
from osteon.evaluating.summary import NO_CASES, Summary
from osteon.formats.label_meanings import read_named_labels
from osteon.formats.registry import known_suffixes
from osteon.reporting import charts
from osteon.reporting.comparison import ComparisonResult, Entry
from osteon.reporting.confusion import Confusion, count_confusion
from osteon.reporting.piece_pictures import colour_pieces

TEMPLATE = "report.html.j2"
MIX_UPS = 12
"""Mix-ups that are listed for each submission."""
PICTURED = 6
"""Submissions of which cases are shown."""


def write_page(path: Path, made: ComparisonResult, dataset: Dataset | None) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        made: What was compared.
        dataset: With the scans, for pictures and mix-ups; None leaves these out.
    """
    numbers = {entry.name: number for number, entry in enumerate(made.entries)}
    confidence = [found for entry in made.entries if (found := _confidence(entry)) is not None]
    named = [*_not_scored(made), *_to_review(made, {one["name"] for one in confidence}), *_trained_on(made)]
    shown = {
        "made": made,
        "title": dataset.manifest.name if dataset is not None else "Comparison",
        "lines": [_line(entry, made) for entry in made.entries],
        "names": [structure.name for structure in made.structures],
        "colours": {structure.name: structure.colour for structure in made.structures},
        "distances": _distances(made.entries[0].overall),
        "swatches": {name: charts.colour_of(number) for name, number in numbers.items()},
        "verdict": made.ranking.verdict.splitlines() if made.ranking else [],
        "boxes": _boxes(made, "dice", "Dice"),
        "curves": _curves(made, numbers),
        "altman": _bland_altman(made),
        "confidence": confidence,
        "tests": [_tests(name, comparison) for name, comparison in made.against_best.items()],
        "pieces": _pieces(made),
        "looks": _looks(made, dataset),
        "counts": Counter((one.about, one.name) for one in named),
    }

    def html(page: PagePosition, items: Sequence[_Named]) -> str:
        by_subject: dict[tuple[str, str], list[_Named]] = defaultdict(list)
        for one in items:
            by_subject[one.about, one.name].append(one)
        return render("osteon.reporting", TEMPLATE, page=page, by_subject=by_subject, **shown)

    write_pages(path, paginate(named), html)


@dataclass(frozen=True)
class _Named:
    """A case that the page names.

    Attributes:
        about: `not scored`, `review` or `trained on`.
        name: The submission.
        case: Its id.
        why: What is said of it; may be empty.
    """

    about: str
    name: str
    case: str
    why: str = ""


def _not_scored(made: ComparisonResult) -> Iterator[_Named]:
    for entry in made.entries:
        for failure in entry.failures:
            yield _Named("not scored", entry.name, failure.case, failure.message)
        for case in entry.missing:
            yield _Named("not scored", entry.name, case, "no prediction")


def _to_review(made: ComparisonResult, names: Container[str]) -> Iterator[_Named]:
    """What a person should look at, the worst first."""
    for entry in made.entries:
        if entry.name in names:
            means, cases = _means(entry.scores, "dice"), {score.case for score in entry.scores}
            found = {case: reasons for case, reasons in entry.submission.reviews().items() if case in cases}
            for case in sorted(found, key=lambda case: means.get(case, 0.0)):
                yield _Named("review", entry.name, case, "; ".join(found[case]))


def _trained_on(made: ComparisonResult) -> Iterator[_Named]:
    for name, cases in made.trained_on.items():
        yield from (_Named("trained on", name, case) for case in cases)


def _means(scores: Iterable[Any], metric: str) -> dict[str, float]:
    """Mean Dice of each case that has one; F1, of pieces."""
    found: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        if (value := getattr(score, metric)) is not None:
            found[score.case].append(value)
    return {case: fmean(values) for case, values in found.items()}


def _line(entry: Entry, made: ComparisonResult) -> dict[str, Any]:
    place = next((p for p in made.ranking.places if p.run == entry.name), None) if made.ranking else None
    by_name = {summary.structure: summary for summary in entry.summaries}
    nothing = SampleStatistics(0, None, None, None)
    return {
        "name": entry.name,
        "rank": place.rank if place else 1,
        "dice": entry.overall.dice,
        "error": entry.overall.volume_error_cm3,
        "percent": entry.overall.volume_error_percent,
        "metrics": entry.overall.metrics,
        "missed": entry.overall.false_negatives,
        "invented": entry.overall.false_positives,
        "wrong_level": entry.overall.wrong_level,
        "structures": [by_name[s.name].dice if s.name in by_name else nothing for s in made.structures],
    }


def _distances(overall: Summary) -> list[str]:
    """The metrics of surfaces that the table shows: HD95, ASSD and the NSD at the first tolerance."""
    found = [next((name for name in overall.metrics if name.startswith(start)), None) for start in _SHOWN]
    return [name for name in found if name is not None]


_SHOWN = ("hd95_", "assd_", "nsd_")


def _boxes(made: ComparisonResult, metric: str, label: str) -> str:
    values: dict[str, dict[str, list[float]]] = {s.name: {} for s in made.structures}
    for entry in made.entries:
        for score in entry.scores:
            value = getattr(score, metric)
            if value is not None:
                values[score.structure].setdefault(entry.name, []).append(value)
    return charts.boxes({name: of for name, of in values.items() if of}, label)


def _curves(made: ComparisonResult, numbers: dict[str, int]) -> str | None:
    runs = {entry.name: rows for entry in made.entries if (rows := entry.submission.curve())}
    return charts.curves(runs, numbers) if runs else None


def _bland_altman(made: ComparisonResult) -> list[tuple[str, str]]:
    colours = {structure.name: structure.colour for structure in made.structures}
    found = []
    for entry in made.entries:
        volumes: dict[str, list[tuple[float, float]]] = {}
        for score in entry.scores:
            if score.reference_cm3 is not None and score.predicted_cm3 is not None and score.state != "absent":
                volumes.setdefault(score.structure, []).append((score.reference_cm3, score.predicted_cm3))
        if volumes:
            found.append((entry.name, charts.bland_altman(volumes, colours, "cm³")))
    return found


def _confidence(entry: Entry) -> dict[str, Any] | None:
    """Whether low confidence really meant low Dice."""
    expected, reviews = entry.submission.confidence(), entry.submission.reviews()
    pairs, flagged = [], []
    for score in entry.scores:
        value = expected.get(score.case, {}).get(score.structure)
        if value is not None and score.dice is not None:
            pairs.append((value, score.dice))
            flagged.append(score.case in reviews)
    if len(pairs) < 3:
        return None
    varies = len({p[0] for p in pairs}) > 1 and len({p[1] for p in pairs}) > 1
    rank = float(stats.spearmanr(*zip(*pairs, strict=True)).statistic) if varies else None
    return {
        "name": entry.name,
        "chart": charts.confidence(pairs, flagged),
        "rank": rank,
        "pairs": len(pairs),
        "error": fmean(abs(a - b) for a, b in pairs),
    }


def _tests(name: str, comparison: Any) -> dict[str, Any]:
    return {"name": name, "rows": [*comparison.structures, comparison.overall]}


def _pieces(made: ComparisonResult) -> list[dict[str, Any]]:
    """For each structure whose pieces are numbered a line of each submission, with its test against the first."""
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in made.entries:
        tests = made.pieces_against_best.get(entry.name)
        by_name = {test.structure: test for test in tests.structures} if tests else {}
        for summary in entry.piece_summaries:
            distances = {name: values for name, values in summary.pair_metrics.items() if name.startswith(_SHOWN)}
            lines[summary.structure].append(
                {
                    "name": entry.name,
                    "cases": summary.cases,
                    **summary.metrics,
                    "dice": summary.pair_metrics.get("dice", NO_CASES),
                    "distances": distances,
                    "test": by_name.get(summary.structure),
                }
            )
    return [
        {
            "structure": name,
            "lines": own,
            "distances": list(dict.fromkeys(d for line in own for d in line["distances"])),
        }
        for name, own in lines.items()
    ]


def _looks(made: ComparisonResult, dataset: Dataset | None) -> list[dict[str, Any]]:
    """For each submission its worst, median and best case as a picture, and what it took for what."""
    if dataset is None:
        return []
    known = {case.id for case in dataset.manifest.labelled}
    found = []
    for entry in made.entries[:PICTURED]:
        if entry.submission.is_table:
            continue
        means = _means(entry.pieces, "f1") or _means(entry.scores, "dice")
        ordered = sorted((case for case in means if case in known), key=lambda case: means[case])
        if not ordered:
            continue
        chosen = dict.fromkeys([ordered[0], ordered[len(ordered) // 2], ordered[-1]])
        found.append(
            {
                "name": entry.name,
                "cases": [f"{case} ({means[case]:.3f})" for case in chosen],
                "measure": "F1 of pieces" if entry.pieces else "mean Dice",
                "picture": _picture(entry, {case: means[case] for case in chosen}, dataset),
                "mix_ups": _mix_ups(entry, ordered, dataset, made),
            }
        )
    return found


def _load(entry: Entry, case_id: str, dataset: Dataset, *, pieces: bool = False) -> tuple[Segmentation, Segmentation]:
    """Prediction and reference of a case, on the reference's grid."""
    path = next(
        path for suffix in known_suffixes() if (path := entry.submission.predictions / f"{case_id}{suffix}").is_file()
    )
    reference = dataset.load_segmentation(dataset.case(case_id), pieces=pieces)
    prediction = read_named_labels(path, dataset.structures, entry.legend, pieces=pieces)
    return place_segmentation(prediction, reference.geometry, name=case_id, image_name="the reference")[0], reference


def _picture(entry: Entry, means: Mapping[str, float], dataset: Dataset) -> str:
    rows = []
    for case_id, mean in means.items():
        pieces = {score.structure: score for score in entry.pieces if score.case == case_id}
        prediction, reference = _load(entry, case_id, dataset, pieces=bool(pieces))
        if pieces:
            prediction, reference = colour_pieces(prediction, reference, pieces)
        dice = {score.structure: score.dice for score in entry.scores if score.case == case_id}
        image = dataset.load_image(dataset.case(case_id), verify=False)
        title = f"{case_id}: F1 {mean:.3f}" if pieces else case_id
        rows.append(PictureRow(title, image, prediction, reference, dataset.manifest.channels[0].modality, dice))
    return base64.b64encode(paint_overview(rows)).decode()


def _mix_ups(entry: Entry, cases: Sequence[str], dataset: Dataset, made: ComparisonResult) -> list[Any]:
    confusion = Confusion.of(made.structures)
    for case_id in track(cases, f"{entry.name}: mix-ups"):
        try:
            prediction, reference = _load(entry, case_id, dataset)
        except (OsteonError, StopIteration):
            continue  # it was reported when it was scored
        confusion.add(*count_confusion(prediction, reference, made.structures))
    return confusion.mix_ups()[:MIX_UPS]
