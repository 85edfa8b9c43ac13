"""One answer of several models' predictions. A verb imports what it needs when called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.api.paths import PathLike

if TYPE_CHECKING:
    from osteon.voting.fit import FittedParameter, VoteFit
    from osteon.voting.report import VoteReport
    from osteon.voting.rules import Method, Threshold, Weights


def vote(
    members: Sequence[PathLike],
    out: PathLike,
    *,
    method: Method = "hard",
    threshold: Threshold | None = None,
    weights: Weights | None = None,
    image_size: tuple[int, int] | None = None,
    dataset: PathLike | None = None,
    overwrite: bool = False,
) -> VoteReport:
    """Make one answer of several models' predictions.

    Args:
        members: Folders of predictions, or tables of RLE.
        out: A folder, or a .csv where the members are tables.
        method: `hard`, `soft` (folders with probabilities), or `staple`.
        threshold: Votes that a structure needs: one number, a number by structure, or a file; None: more than half.
        weights: What each member's vote counts: a number each, or a file; None: 1.
        image_size: Rows and columns of the pictures of tables; None: the dataset's, or 2048 x 2048.
        dataset: A dataset whose structures, grids and picture sizes count.
        overwrite: Do again what is done, and replace what no vote has written.

    Example:
        >>> report = osteon.vote(["predictions", "run/predictions"], "voted")
        >>> len(report.cases)
        6
    """
    from osteon.voting.run import vote

    paths, known = [Path(member) for member in members], None if dataset is None else Path(dataset)
    return vote(
        paths,
        Path(out),
        method=method,
        threshold=threshold,
        weights=weights,
        image_size=image_size,
        dataset=known,
        overwrite=overwrite,
    )


def fit_vote(
    members: Sequence[PathLike],
    dataset: PathLike,
    out: PathLike,
    *,
    method: Method = "hard",
    part: FittedParameter | None = None,
    overwrite: bool = False,
) -> VoteFit:
    """Choose for each structure what gives the best mean Dice, and write it for `threshold` or `weights` of `vote`.

    Args:
        members: As for `vote`.
        dataset: With labels of cases that the members have predicted, and that they were not trained on.
        out: A .yaml file.
        method: `hard` or `soft`.
        part: `threshold` (with `hard` alone) or `weights`; None: thresholds for `hard`, weights for `soft`.
        overwrite: Replace a file that is there.

    Example:
        >>> fit = osteon.fit_vote(["predictions", "run/predictions"], "spine", "thresholds.yaml")
        >>> fit.part
        'threshold'
    """
    from osteon.voting.fit import fit

    paths = [Path(member) for member in members]
    return fit(paths, Path(dataset), Path(out), method=method, part=part, overwrite=overwrite)
