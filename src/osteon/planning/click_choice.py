"""What a plan decides otherwise where the network answers clicks: it sees one structure at a time, not whole scans."""

from __future__ import annotations

import math

import numpy as np

from osteon.core.text import significant
from osteon.plan.schema import Clicks, Plan
from osteon.planning.fingerprint import CaseFacts, Fingerprint

ROOM, QUANTILE = 1.5, 0.75
"""A window is so many times as large, along each axis, as this part of the structures are at most."""
CLICK_RADIUS = 2.0
"""Voxels: the SD of the spot that a click makes."""


def windows_around_structures(fingerprint: Fingerprint) -> Fingerprint:
    """The same cases, each no larger than a window around one structure: grid and patch are chosen for that."""
    extents = [facts.extent_mm for case in fingerprint.cases for facts in case.structures.values() if facts.voxels]
    if not extents:
        return fingerprint
    window_mm = ROOM * np.quantile(extents, QUANTILE, axis=0)

    def reduce(case: CaseFacts) -> CaseFacts:
        wanted = [math.ceil(mm / spacing) for mm, spacing in zip(window_mm, case.spacing_mm, strict=True)]
        i, j, k = (min(n, max(1, w)) for n, w in zip(case.shape, wanted, strict=True))
        return case.model_copy(update={"shape": (i, j, k)})

    return fingerprint.model_copy(update={"cases": [reduce(case) for case in fingerprint.cases]})


def with_clicks(plan: Plan) -> Plan:
    """The plan of a network that answers clicks: every patch shows a structure, which is then the one that is meant."""
    spacing = [s for s, n in zip(plan.grid.spacing_mm, plan.patch.size, strict=True) if n > 1]
    clicks = Clicks(
        radius=significant(CLICK_RADIUS * float(np.exp(np.mean(np.log(spacing))))),
        why=[f"as asked (--interactive); a click is a spot whose SD is {CLICK_RADIUS:g} voxels"],
    )
    window = (
        f"grid and patch are chosen for a window around one structure: {ROOM:g} times what {QUANTILE:.0%} of them "
        "measure at most; where reasons speak of a scan, it is this window"
    )
    patch = plan.patch.model_copy(update={"why": [window, *plan.patch.why]})
    why = [*plan.training.why, "every patch lies around a structure: one in it is clicked"]
    training = plan.training.model_copy(update={"foreground_share": 1.0, "why": why})
    return plan.model_copy(
        update={"clicks": clicks, "sequence": None, "zoom": None, "training": training, "patch": patch}
    )
