"""A finding: what is wrong, where, how one knows, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Finding(BaseModel):
    """One thing to look at.

    Attributes:
        severity: `error`: a model would learn something false. `warning`: look before training. `note`: good to know.
        kind: A word for programs, such as `shifted`.
        cases: The cases concerned; none where it is about the dataset.
        structures: The structures concerned; none where it is about the whole case.
        what: What was measured, with its numbers.
        against: What it was compared with.
        action: What to do.
        strength: From 0 to 1: how sure and how harmful it is among those of the same severity.
    """

    model_config = ConfigDict(frozen=True)

    severity: Severity
    kind: str
    cases: list[str] = []
    structures: list[str] = []
    what: str
    against: str = ""
    action: str
    strength: float


def rank_findings(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, then strength, then case."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.strength, f.cases, f.structures))
