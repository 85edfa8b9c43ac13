"""Metrics in Prometheus' text form (version 0.0.4 of its exposition formats)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name: Of it, without what stands before all.
        kind: How it behaves over time.
        what: What it says, in a line.
        values: Labels, as `{state="done"}`, after a suffix such as `_sum` where there is one → value; empty for none.
    """

    name: str
    kind: Literal["gauge", "counter", "summary"]
    what: str
    values: Mapping[str, float]


def write_metrics(prefix: str, metrics: Iterable[Metric]) -> str:
    """The text; `prefix` stands before every name."""
    lines = []
    for metric in metrics:
        name = f"{prefix}_{metric.name}"
        lines += [f"# HELP {name} {metric.what}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{labels} {value:.10g}" for labels, value in metric.values.items()]
    return "\n".join(lines) + "\n"
