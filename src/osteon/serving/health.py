"""The state of the server, for whoever watches over it."""

from __future__ import annotations

import shutil
from typing import Literal

from pydantic import BaseModel, Field

from osteon.serving.predictor import Dispatcher
from osteon.web.uploads import SPARE_BYTES

LONG_S, LONG_FACTOR = 60.0, 10
"""A job is long that takes so many seconds, and so many times what the last ones took; or half of its limit."""


class Health(BaseModel):
    """The state of the server."""

    status: Literal["ok", "starting", "degraded"] = Field(
        description="ok; starting: the predicting process is not ready; degraded: it works, but see why"
    )
    ready: bool = Field(
        description="whether a scan that is sent now will be worked on: the predicting process is up, and not stuck"
    )
    why: list[str] = Field(description="why the server is not ok")
    waiting: int = Field(description="jobs that wait")
    receiving: int = Field(description="uploads that are coming in")
    free: int = Field(description="places of the queue that are free")
    busy_since: str | None = Field(description="when the job that is worked on was begun: ISO 8601, UTC; null: none is")
    busy_s: float | None = Field(description="seconds for which it has been worked on")
    job_limit_s: float = Field(description="seconds that a job may take; then it is ended, and fails")


def check_health(dispatcher: Dispatcher) -> Health:
    """The state of the server now."""
    queue, limit_s = dispatcher.queue, dispatcher.limit_s
    with queue.changed:
        busy_s, mean_s = queue.busy_s, queue.mean_s
        long_s = limit_s / 2 if mean_s is None else min(limit_s / 2, max(LONG_S, LONG_FACTOR * mean_s))
        why, stuck = [], busy_s is not None and busy_s > long_s
        if stuck:
            why.append(f"a job has been worked on for {busy_s:.0f} s; after {limit_s:.0f} s it is ended")
        if not queue.free:
            why.append("the queue is full")
        if shutil.disk_usage(queue.store.folder).free < SPARE_BYTES:
            why.append("the disk is nearly full")
        alive = dispatcher.predictor.alive
        return Health(
            status="degraded" if why else "ok" if alive else "starting",
            ready=alive and not stuck,
            why=why if alive else [*why, "the predicting process is not ready"],
            waiting=len(queue.waiting),
            receiving=len(queue.slots.held),
            free=queue.free,
            busy_since=None if queue.running is None else queue.jobs[queue.running].started,
            busy_s=None if busy_s is None else round(busy_s, 1),
            job_limit_s=limit_s,
        )
