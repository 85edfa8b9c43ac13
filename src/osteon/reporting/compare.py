"""`osteon compare`: runs, folders of predictions and tables of RLE, side by side on the same scans."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osteon.core.errors import DatasetError, UsageError
from osteon.core.files import write_text
from osteon.core.instances import InstanceScores
from osteon.core.labels import Structure
from osteon.core.spreadsheets import tabulate, to_csv
from osteon.core.statistics import SampleStatistics
from osteon.core.text import pluralise
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.evaluating.comparison import RunComparison, compare_runs
from osteon.evaluating.evaluate import evaluate
from osteon.evaluating.instance_summary import instances_to_row, summarise_instances
from osteon.evaluating.metrics import distance_metrics
from osteon.evaluating.ranking import rank_runs
from osteon.evaluating.record import DIGITS, Evaluation, Failure
from osteon.evaluating.scores import ALL_METRICS, MetricOptions, Score
from osteon.evaluating.summary import Summary, overall, summarise
from osteon.formats.label_folders import find_label_files
from osteon.formats.label_meanings import LabelMeanings, label_meanings_for, piece_meanings_for
from osteon.formats.rle_convention import DEFAULT_CONVENTION
from osteon.predicting.training_cases import TRAINED
from osteon.reporting.comparison import ComparisonResult, Entry
from osteon.reporting.entries import Submission, find_submissions
from osteon.reporting.rle_evaluation import score_table

logger = logging.getLogger(__name__)
PAGE, TABLE, CASES, PIECES = "report.html", "comparison.csv", "cases.csv", "pieces.csv"


def compare(
    paths: Sequence[Path],
    reference: Path,
    out: Path | None = None,
    *,
    measures: MetricOptions = ALL_METRICS,
    labels: Mapping[str, int | str] | None = None,
) -> ComparisonResult:
    """Score each on the cases that all have, rank them, and write the page and two tables.

    Args:
        paths: Runs (their validation's predictions), folders of predictions, CSVs of RLE.
        reference: A dataset, or a folder of label files; a dataset where a CSV is compared, or pictures are wanted.
        out: Folder of report.html, comparison.csv, cases.csv and, of numbered pieces, pieces.csv; None writes nothing.
        measures: What is measured.
        labels: What numbers mean in predictions that name no structures; see `evaluating.pairing.match_predictions`.

    Raises:
        UsageError: Nothing to compare, or not what the three kinds are.
        DatasetError: There is no case that all have.
    """
    if not paths:
        raise UsageError("there is nothing to compare", hint="osteon compare RUN… --reference DATASET")
    submissions = find_submissions(paths)
    dataset = Dataset.open(reference) if (reference / MANIFEST).is_file() else None
    scored = [_score(submission, reference, dataset, measures, labels) for submission in submissions]
    shared = _shared_cases([result.scores for result in scored])
    if not shared:
        raise DatasetError(
            "there is no case that all of them have", hint="compare predictions of the same scans, with the same names"
        )
    everyone = {score.case for result in scored for score in result.scores}
    left_out = sorted(everyone - set(shared))
    if left_out:
        logger.warning(f"left out, since not all have them: {pluralise(len(left_out), 'case')}")
    known = _trained_on(submissions, scored, shared)
    trained = {case for cases in known.values() for case in cases}
    new = [case for case in shared if case not in trained]
    for name, cases in known.items():
        why = "left out" if new else "no test, and no case is left without these"
        message = f"{why}: {len(cases)} cases that {name} was trained on: {', '.join(cases)}"
        logger.warning(message)
    shared = new or shared
    entries = [_entry(c, r, set(shared)) for c, r in zip(submissions, scored, strict=True)]
    structures = scored[0].structures
    ranking = None
    against: dict[str, RunComparison] = {}
    pieces_against: dict[str, RunComparison] = {}
    if len(entries) > 1:
        ranking = rank_runs({entry.name: entry.scores for entry in entries})
        order = [place.run for place in ranking.places]
        entries.sort(key=lambda entry: order.index(entry.name))
        best = entries[0]
        for entry in entries[1:]:
            names = entry.name, best.name
            against[entry.name] = compare_runs(entry.scores, best.scores, names=names)
            if entry.pieces and best.pieces:
                pieces_against[entry.name] = compare_runs(entry.pieces, best.pieces, metric="f1", names=names)
    made = ComparisonResult(structures, entries, shared, left_out, ranking, against, known, pieces_against)
    if out is None:
        return made
    from osteon.reporting.page import write_page  # matplotlib takes its time

    write_text(out / TABLE, published_table(made))
    write_text(out / CASES, cases_table(made))
    if any(entry.pieces for entry in made.entries):
        write_text(out / PIECES, pieces_table(made))
    write_page(out / PAGE, made, dataset)
    return ComparisonResult(**{**vars(made), "page": out / PAGE})


@dataclass(frozen=True)
class _ScoredCases:
    structures: tuple[Structure, ...]
    scores: Sequence[Score]
    failures: Sequence[Failure]
    missing: Sequence[str]
    legend: LabelMeanings | None = None
    training_roles: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[InstanceScores] = ()


def _score(
    submission: Submission,
    reference: Path,
    dataset: Dataset | None,
    measures: MetricOptions,
    labels: Mapping[str, int | str] | None,
) -> _ScoredCases:
    if not submission.is_table:
        found: Evaluation = evaluate(submission.predictions, reference, measures=measures, labels=labels)
        for note in found.notes:
            logger.warning(f"{submission.name}: {note}")
        files = find_label_files(submission.predictions, "the prediction").values()
        legend = label_meanings_for(files, labels) or piece_meanings_for(files, found.structures)
        return _ScoredCases(
            found.structures, found.scores, found.failures, found.missing, legend, found.training_roles, found.pieces
        )
    if dataset is None:
        raise UsageError(
            f"{submission.predictions}: a table of RLE needs a dataset as reference, which knows the pictures' sizes",
            hint="--reference DATASET",
        )
    table = score_table(submission.predictions, dataset, measures)
    if table.convention.order != DEFAULT_CONVENTION.order:
        logger.info(f"{submission.predictions}: {table.convention.describe()}")
    return _ScoredCases(tuple(dataset.structures), table.scores, table.failures, table.missing)


def _shared_cases(everything: Sequence[Sequence[Score]]) -> list[str]:
    """Cases that all have, in the order of the first."""
    sets = [{score.case for score in scores} for scores in everything]
    return [case for case in dict.fromkeys(score.case for score in everything[0]) if all(case in s for s in sets)]


def _trained_on(
    submissions: Sequence[Submission], scored: Sequence[_ScoredCases], shared: Sequence[str]
) -> dict[str, list[str]]:
    """By submission the shared cases that it was trained on; those that were trained on none are left out."""
    found = {
        c.name: [case for case in shared if r.training_roles.get(case) == TRAINED]
        for c, r in zip(submissions, scored, strict=True)
    }
    return {name: cases for name, cases in found.items() if cases}


def _entry(submission: Submission, scored: _ScoredCases, cases: set[str]) -> Entry:
    scores = [score for score in scored.scores if score.case in cases]
    summaries = summarise(scores)
    failures, missing = list(scored.failures), list(scored.missing)
    pieces = [score for score in scored.pieces if score.case in cases]
    return Entry(
        submission,
        scores,
        summaries,
        overall(summaries, scores),
        failures,
        missing,
        scored.legend,
        pieces,
        summarise_instances(pieces),
    )


def published_table(made: ComparisonResult) -> str:
    """comparison.csv: a line for each submission, as published tables have it: mean ± SD, overall and by structure.

    Of numbered pieces too, where there are such: over cases, and over pairs of pieces that match.
    """
    metrics = ["dice", "volume_error_cm3", "volume_error_percent"]
    metrics += distance_metrics(score for entry in made.entries for score in entry.scores)
    names = [structure.name for structure in made.structures]
    head: list[object] = ["name", "rank", "cases"]
    for metric in metrics:
        head += [f"mean_{metric}", f"sd_{metric}"]
    head += [f"{part}_dice_{name}" for name in names for part in ("mean", "sd")]
    pieces = [_piece_figures(entry) for entry in made.entries]
    piece_names = list(dict.fromkeys(name for figures in pieces for name in figures))
    head += [f"{part}_{name}" for name in piece_names for part in ("mean", "sd")]
    rows = [head]
    ranks = {place.run: place.rank for place in made.ranking.places} if made.ranking else {}
    for entry, figures in zip(made.entries, pieces, strict=True):
        row: list[object] = [entry.name, ranks.get(entry.name, 1), len(made.cases)]
        for metric in metrics:
            spread = entry.overall.metrics.get(metric)
            row += [_digits(spread.mean if spread else None), _digits(spread.sd if spread else None)]
        by_name: Mapping[str, Summary] = {summary.structure: summary for summary in entry.summaries}
        for name in names:
            own = by_name.get(name)
            row += [_digits(own.dice.mean if own else None), _digits(own.dice.sd if own else None)]
        for name in piece_names:
            values = figures.get(name)
            row += [_digits(values.mean if values else None), _digits(values.sd if values else None)]
        rows.append(row)
    return to_csv(rows)


def cases_table(made: ComparisonResult) -> str:
    """cases.csv: a line for each submission, case and structure."""
    from osteon.evaluating.metrics import score_to_row

    rows = [{"name": entry.name, **score_to_row(score)} for entry in made.entries for score in entry.scores]
    return _to_table(rows)


def pieces_table(made: ComparisonResult) -> str:
    """pieces.csv: a line for each submission, case and structure whose pieces are numbered."""
    return _to_table([{"name": e.name, **instances_to_row(score)} for e in made.entries for score in e.pieces])


def _piece_figures(entry: Entry) -> dict[str, SampleStatistics]:
    """The figures of numbered pieces by their columns' names: `f1_bone`, `pair_dice_bone` …."""
    found: dict[str, SampleStatistics] = {}
    for summary in entry.piece_summaries:
        found |= {f"{name}_{summary.structure}": values for name, values in summary.metrics.items()}
        found |= {f"pair_{name}_{summary.structure}": values for name, values in summary.pair_metrics.items()}
    return found


def _to_table(rows: Sequence[Mapping[str, object]]) -> str:
    names = list(dict.fromkeys(key for row in rows for key in row))
    return to_csv(tabulate(({key: _digits(value) for key, value in row.items()} for row in rows), names))


def _digits(value: object) -> object:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
