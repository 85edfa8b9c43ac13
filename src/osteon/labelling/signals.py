"""What speaks for labelling a scan: a table of signals, each with its weight, the reason for that, and its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from osteon.predicting.review import MIN_LEVEL_PROBABILITY

Figures = Mapping[str, float | None]
DIFFERENCE = "difference"
"""The signal of what is unlike the scans that are labelled, or suggested before."""
_SHOWN = 2
"""Structures that a reason names."""
_LOOKS = {"mirror": "the scan and its mirror image", "noise": "the scan and the same with noise"}


@dataclass(frozen=True)
class Candidate:
    """A scan that may be suggested, and what is known of it.

    Attributes:
        case: Its id.
        subject: Whose scan it is, where that is known.
        confidence: Expected Dice of each structure; None for one that was not found.
        calibrated: Whether these are expected Dice; else they are the network's own figures.
        missing: Structures that were not found and that nearly all training scans show: `fibula (9 of 10)`.
        levels: How a row of bodies was named, as the record of a prediction has it.
        agreement: Dice between several looks at the scan, of each structure; None for one that no look has found.
        look: In what looks differ, as `network_signals.Look`.
        looks: How many there were.
        label_dice: Of a labelled scan, validation Dice by a network that was not trained on it.
        features: Of the network; empty where they are unknown.
        unusual: Why its image is unlike those of the training scans, where it is.
    """

    case: str
    subject: str | None = None
    confidence: Figures = field(default_factory=dict)
    calibrated: bool = True
    missing: Sequence[str] = ()
    levels: Mapping[str, Any] | None = None
    agreement: Figures = field(default_factory=dict)
    look: str = "fold"
    looks: int = 0
    label_dice: Figures = field(default_factory=dict)
    features: Sequence[float] = ()
    unusual: str = ""


@dataclass(frozen=True)
class Signal:
    """A reason to label a scan.

    Attributes:
        name: As suggestions.json has it.
        weight: Beside the others'.
        why: The reason for the weight.
        measure: The more, the better to label; None where it is unknown of a scan.
        describe: In words; empty where there is nothing to say.
    """

    name: str
    weight: float
    why: str
    measure: Callable[[Candidate], float | None] = lambda _: None
    describe: Callable[[Candidate], str] = lambda _: ""


def _shortfall(figures: Figures, missing: int = 0) -> float | None:
    """1 less the mean of the figures that are known, where `missing` more count as 0; None where there is none."""
    known = [*(value for value in figures.values() if value is not None), *[0.0] * missing]
    return 1 - fmean(known) if known else None


def _lowest(figures: Figures, shown: int = _SHOWN) -> str:
    known = sorted((value, name) for name, value in figures.items() if value is not None)
    return ", ".join(f"{name} {value:.2f}" for value, name in known[:shown])


def _measure_uncertainty(candidate: Candidate) -> float | None:
    shortfall = _shortfall(candidate.confidence, len(candidate.missing))
    return 1.0 if shortfall is None and candidate.confidence else shortfall  # nothing was found


def _describe_uncertainty(candidate: Candidate) -> str:
    parts = [f"not found: {', '.join(candidate.missing)}"] if candidate.missing else []
    if (shortfall := _shortfall(candidate.confidence)) is not None:
        figure = f"{1 - shortfall:.2f}"
        mean = f"expected Dice {figure}" if candidate.calibrated else f"confidence {figure}, uncalibrated"
        parts.append(f"{mean} (lowest: {_lowest(candidate.confidence)})")
    return "; ".join(parts) or ("nothing was found" if candidate.confidence else "")


def _measure_names(candidate: Candidate) -> float | None:
    return None if candidate.levels is None else 1 - float(candidate.levels["margin"])


def _describe_names(candidate: Candidate) -> str:
    ways = [] if candidate.levels is None else candidate.levels.get("assignments", [])
    if not ways or ways[0]["probability"] >= MIN_LEVEL_PROBABILITY:
        return ""
    shown = []
    for way in ways[:2]:
        names = [name for name in way["names"] if name] or ["?"]
        if way.get("first") == names[-1]:
            names.reverse()
        row = names[0] if len(names) == 1 else f"{names[0]}…{names[-1]}"
        shown.append(f"{row} {way['probability']:.0%}")
    return f"names in doubt: {', '.join(shown)}"


def _describe_disagreement(candidate: Candidate) -> str:
    if not (lowest := _lowest(candidate.agreement, 1)):
        return ""
    name, dice = lowest.rsplit(" ", 1)
    looks = _LOOKS.get(candidate.look, f"the {candidate.looks} folds")
    return f"{looks} differ most in {name}: Dice {dice} between them"


def _describe_label(candidate: Candidate) -> str:
    lowest = _lowest(candidate.label_dice)
    return f"label and prediction (by a network that was not trained on it) differ: Dice {lowest}" if lowest else ""


SIGNALS = (
    Signal(
        "uncertainty",
        1.0,
        "the model's own uncertainty is the best single figure in comparisons (nnActive, arXiv:2511.19183)",
        _measure_uncertainty,
        _describe_uncertainty,
    ),
    Signal(
        "disagreement",
        0.5,
        "tells much the same as uncertainty, and also where a network is sure and wrong (Beluch et al., CVPR 2018)",
        lambda candidate: _shortfall(candidate.agreement),
        _describe_disagreement,
    ),
    Signal(
        "names",
        0.5,
        "a row that is named one level off is wrong as a whole, and no voxel's confidence shows it",
        _measure_names,
        _describe_names,
    ),
    Signal(
        "label",
        1.0,
        "of labelled scans, which are looked at again to find wrong labels: nothing shows these better",
        lambda candidate: _shortfall(candidate.label_dice),
        _describe_label,
    ),
    Signal(
        DIFFERENCE,
        1.0,
        "as much as uncertainty: the scans that a model is least sure of resemble each other, and a batch of these "
        "teaches one thing (Sener and Savarese, ICLR 2018; ClaSP PE, arXiv:2601.13677)",
    ),
)
"""`difference` is no figure of a scan alone, and follows in `ranking`."""
