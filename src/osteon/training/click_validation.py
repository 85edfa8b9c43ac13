"""How well a network that answers clicks does: each structure of a scan, by a patient person's first clicks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from osteon.core.clicks import Click, next_click
from osteon.plan.schema import Plan
from osteon.predicting.click_windows import answer_click
from osteon.preparing.cache import CachedCase

CLICKS = 3
"""After so many the Dice counts."""


def click_through(network: nn.Module, case: CachedCase, plan: Plan) -> np.ndarray:
    """What a prepared scan comes to: each annotated structure after `CLICKS` clicks.

    Returns:
        As the case's labels: index `[i, j, k]`, or multi-hot `[structure, i, j, k]`.
    """
    image, labels = torch.from_numpy(np.asarray(case.image, dtype=np.float32)), np.asarray(case.labels)
    found = np.zeros_like(labels)
    for number in range(len(plan.structures)):
        reference = labels[number] > 0 if plan.overlapping else labels == number + 1
        if not case.annotated[number] or not reference.any():
            continue
        probability = torch.zeros(reference.shape)
        clicks: list[Click] = []
        for _ in range(CLICKS):
            click = next_click(probability.numpy() > 0.5, reference)
            if click is None:
                break
            clicks.append(click)
            answer_click(network, image, plan, clicks, probability)
        mask = probability.numpy() > 0.5
        if plan.overlapping:
            found[number] = mask
        else:
            found[mask & (found == 0)] = number + 1
    return found
