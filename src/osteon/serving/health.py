"""The state of the server, for whoever watches over it."""

from __future__ import annotations

import shutil
from typing import Literal

from pydantic import BaseModel, Field

from osteon.serving.dispatcher import Dispatcher, DispatcherGroup
from osteon.web.uploads import SPARE_BYTES

LONG_S, LONG_FACTOR = 60.0, 10
"""A job is long that takes so many seconds, and so many times what the last ones took; or half of its limit."""


class ModelHealth(BaseModel):
    """The state of a model, or of all together."""

    status: Literal["ok", "starting", "degraded", "ending"] = Field(
        description="ok; starting: no predicting process is ready; degraded: it works, but see why; ending: the server "
        "was asked to end, and takes no more jobs"
    )
    ready: bool = Field(
        description="whether a scan that is sent now will be worked on: the predicting process is up, and not stuck; "
        "of several models: that of any"
    )
    why: list[str] = Field(description="why it is not ok")
    waiting: int = Field(description="jobs that wait")
    receiving: int = Field(description="uploads that are coming in")
    free: int = Field(description="places of the queue that are free")
    busy_since: str | None = Field(description="when the job that is worked on was begun: ISO 8601, UTC; null: none is")
    busy_s: float | None = Field(description="seconds for which it has been worked on; of several the longest")
    job_limit_s: float = Field(description="seconds that a job may take; then it is ended, and fails")


class Health(ModelHealth):
    """The state of the server."""

    models: dict[str, ModelHealth] = Field(description="that of each model, by name")


def check_model(dispatcher: Dispatcher) -> ModelHealth:
    """The state of a model now."""
    jobs, limit_s = dispatcher.queue, dispatcher.limit_s
    queue = jobs.of(dispatcher.model)
    with jobs.changed:
        busy_s, mean_s = queue.busy_s, queue.mean_s
        long_s = limit_s / 2 if mean_s is None else min(limit_s / 2, max(LONG_S, LONG_FACTOR * mean_s))
        why, stuck = [], busy_s is not None and busy_s > long_s
        if jobs.closed:
            why.append("the server is ending")
        if stuck:
            why.append(f"a job has been worked on for {busy_s:.0f} s; after {limit_s:.0f} s it is ended")
        if not queue.free:
            why.append("the queue is full")
        if shutil.disk_usage(jobs.store.folder).free < SPARE_BYTES:
            why.append("the disk is nearly full")
        alive = dispatcher.predictor.alive
        return ModelHealth(
            status="ending" if jobs.closed else "degraded" if why else "ok" if alive else "starting",
            ready=alive and not stuck and not jobs.closed,
            why=why if alive else [*why, "the predicting process is not ready"],
            waiting=len(queue.waiting),
            receiving=len(queue.slots.held),
            free=queue.free,
            busy_since=None if queue.running is None else jobs.jobs[queue.running].started,
            busy_s=None if busy_s is None else round(busy_s, 1),
            job_limit_s=limit_s,
        )


def check_health(dispatchers: DispatcherGroup) -> Health:
    """The state of the server now."""
    models = {name: check_model(dispatcher) for name, dispatcher in dispatchers.by_model.items()}
    states = list(models.values())
    if len(states) == 1:
        return Health(**states[0].model_dump(), models=models)
    busiest = max(states, key=lambda state: state.busy_s or 0.0)
    statuses = {state.status for state in states}
    return Health(
        status=statuses.pop() if len(statuses) == 1 else "degraded",
        ready=any(state.ready for state in states),
        why=[f"{name}: {reason}" for name, state in models.items() for reason in state.why],
        waiting=sum(state.waiting for state in states),
        receiving=sum(state.receiving for state in states),
        free=sum(state.free for state in states),
        busy_since=busiest.busy_since,
        busy_s=busiest.busy_s,
        job_limit_s=busiest.job_limit_s,
        models=models,
    )
