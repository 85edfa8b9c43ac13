"""The soft Jaccard index as a loss."""

from __future__ import annotations

import torch

from osteon.training.losses import Loss


def jaccard(probabilities: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """1 − the mean soft Jaccard index of the structures that are annotated; arguments as `Loss.function` has them."""
    axes = (2, 3, 4)
    both = (probabilities * target).sum(axes)
    either = (probabilities + target).sum(axes) - both
    return (1 - (both + 1) / (either + 1))[annotated].sum() / annotated.sum().clamp(min=1)


JACCARD = Loss("Jaccard", function=jaccard)
