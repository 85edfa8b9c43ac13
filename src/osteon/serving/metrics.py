"""What `GET /metrics` says of the server."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

from osteon.serving.health import check_health
from osteon.serving.predictor import Dispatcher
from osteon.web.prometheus import Metric, write_metrics


def server_metrics(dispatcher: Dispatcher) -> str:
    """The metrics now."""
    queue, health = dispatcher.queue, check_health(dispatcher)
    with queue.changed:
        states = [job.state for job in queue.jobs.values()]
        ended, worked_s, kept = dict(queue.ended), queue.worked_s, sum(queue.sizes.values())
    gauges: list[tuple[str, str, float]] = [
        ("ready", "Whether a scan that is sent now will be worked on.", float(health.ready)),
        ("receiving", "Uploads that are coming in.", health.receiving),
        ("queue_free", "Places of the queue that are free.", health.free),
        ("busy_seconds", "For how long the job that runs has been worked on; 0: none runs.", health.busy_s or 0.0),
        ("kept_bytes", "What jobs take on the disk that are over.", kept),
        ("memory_bytes", "Resident memory of the server.", _memory(os.getpid())),
        ("predictor_memory_bytes", "Resident memory of the predicting process.", _memory(dispatcher.predictor.pid)),
    ]
    return write_metrics(
        "osteon_serve",
        [
            Metric(
                "jobs",
                "gauge",
                "Jobs by state.",
                {f'{{state="{s}"}}': states.count(s) for s in ("queued", "running", "done", "failed")},
            ),
            Metric(
                "jobs_ended_total",
                "counter",
                "Jobs that ended since the server started.",
                {f'{{state="{state}"}}': ended.get(state, 0) for state in ("done", "failed")},
            ),
            Metric(
                "job_seconds",
                "summary",
                "Time that those took.",
                {"_count": sum(ended.values()), "_sum": worked_s},
            ),
            Metric(
                "predictor_restarts_total",
                "counter",
                "How often the predicting process was started again.",
                {"": dispatcher.restarts},
            ),
            *(Metric(name, "gauge", what, {"": value}) for name, what, value in gauges),
        ],
    )


def _memory(pid: int | None) -> int:
    """Bytes of a process; 0 where there is none."""
    with suppress(psutil.Error):
        return 0 if pid is None else int(psutil.Process(pid).memory_info().rss)
    return 0
