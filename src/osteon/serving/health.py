"""How the server is, for whoever watches over it."""

from __future__ import annotations

import shutil
from typing import Literal

from pydantic import BaseModel, Field

from osteon.serving.http_errors import SPARE_BYTES
from osteon.serving.predictor import Dispatcher

LONG_S, LONG_TIMES = 60.0, 10
"""A job is long that takes so many seconds, and so many times what the last ones took; or half of its limit."""


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok", "starting", "degraded"] = Field(
        description="ok; starting: the predicting process is not ready; degraded: it works, but see why"
    )
    why: list[str] = Field(description="why the server is not ok")
    waiting: int = Field(description="jobs that wait")
    receiving: int = Field(description="uploads that are coming in")
    free: int = Field(description="places of the queue that are free")
    busy_since: str | None = Field(description="when the job that is worked on was begun: ISO 8601, UTC; null: none is")
    busy_s: float | None = Field(description="seconds for which it has been worked on")
    job_limit_s: float = Field(description="seconds that a job may take; then it is ended, and fails")


def health_of(dispatcher: Dispatcher) -> Health:
    """How the server is now."""
    load, limit_s = dispatcher.store.load(), dispatcher.limit_s
    long_s = limit_s / 2 if load.usual_s is None else min(limit_s / 2, max(LONG_S, LONG_TIMES * load.usual_s))
    why = []
    if load.busy_s is not None and load.busy_s > long_s:
        why.append(f"a job has been worked on for {load.busy_s:.0f} s; after {limit_s:.0f} s it is ended")
    if not load.free:
        why.append("the queue is full")
    if shutil.disk_usage(dispatcher.store.folder).free < SPARE_BYTES:
        why.append("the disk is nearly full")
    alive = dispatcher.predictor.alive
    return Health(
        status="degraded" if why else "ok" if alive else "starting",
        why=why if alive else [*why, "the predicting process is not ready"],
        waiting=load.waiting,
        receiving=load.receiving,
        free=load.free,
        busy_since=load.since,
        busy_s=None if load.busy_s is None else round(load.busy_s, 1),
        job_limit_s=limit_s,
    )
