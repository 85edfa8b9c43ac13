"""What `GET /metrics` says of the server."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress

import psutil

from osteon.serving.dispatcher import DispatcherGroup
from osteon.serving.health import check_health
from osteon.serving.job_record import FINISHED
from osteon.web.prometheus import Metric, write_metrics


def server_metrics(dispatchers: DispatcherGroup) -> str:
    """The metrics now, by model."""
    jobs, health = dispatchers.queue, check_health(dispatchers)
    with jobs.changed:
        found = Counter((jobs.model_of(job), job.state) for job in jobs.jobs.values())
        queues = {name: (dict(queue.ended), queue.worked_s) for name, queue in jobs.models.items()}
        kept = sum(jobs.sizes.values())
    names = dict.fromkeys([*queues, *sorted(name for name, _ in found)])  # jobs may be left of a model that is gone
    restarts = {_label(name): float(one.restarts) for name, one in dispatchers.by_model.items()}
    memory = {_label(name): float(_memory(one.predictor.pid)) for name, one in dispatchers.by_model.items()}
    sums = {f"_sum{_label(name)}": worked_s for name, (_, worked_s) in queues.items()}
    counts = {f"_count{_label(name)}": float(sum(ended.values())) for name, (ended, _) in queues.items()}
    by_state = {
        _label(name, state): float(found[name, state])
        for name in names
        for state in ("queued", "running", "done", "failed")
    }
    ended_by_state = {
        _label(name, state): float(ended.get(state, 0)) for name, (ended, _) in queues.items() for state in FINISHED
    }
    states = health.models.items()
    gauges: list[tuple[str, str, dict[str, float]]] = [
        (
            "ready",
            "Whether a scan that is sent now will be worked on.",
            {_label(name): float(state.ready) for name, state in states},
        ),
        ("receiving", "Uploads that are coming in.", {_label(name): state.receiving for name, state in states}),
        ("queue_free", "Places of the queue that are free.", {_label(name): state.free for name, state in states}),
        (
            "busy_seconds",
            "For how long the job that runs has been worked on; 0: none runs.",
            {_label(name): state.busy_s or 0.0 for name, state in states},
        ),
        ("kept_bytes", "What jobs take on the disk that are over.", {"": kept}),
        ("memory_bytes", "Resident memory of the server.", {"": _memory(os.getpid())}),
        ("predictor_memory_bytes", "Resident memory of the predicting process.", memory),
    ]
    return write_metrics(
        "osteon_serve",
        [
            Metric("jobs", "gauge", "Jobs by state.", by_state),
            Metric("jobs_ended_total", "counter", "Jobs that ended since the server started.", ended_by_state),
            Metric("job_seconds", "summary", "Time that those took.", counts | sums),
            Metric(
                "predictor_restarts_total",
                "counter",
                "How often the predicting process was started again.",
                restarts,
            ),
            *(Metric(name, "gauge", what, values) for name, what, values in gauges),
        ],
    )


def _label(model: str, state: str = "") -> str:
    """Labels of a value. A name needs no escaping: `serving.model_names`."""
    return f'{{model="{model}"' + (f',state="{state}"' if state else "") + "}"


def _memory(pid: int | None) -> int:
    """Bytes of a process; 0 where there is none."""
    with suppress(psutil.Error):
        return 0 if pid is None else int(psutil.Process(pid).memory_info().rss)
    return 0
