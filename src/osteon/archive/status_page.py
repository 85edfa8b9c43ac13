"""How a watch is: a page for people and /metrics for Prometheus, on a port of this machine. Neither knows a patient."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import get_args

from osteon.archive.work_list import State, WorkItem, WorkList
from osteon.core.errors import UsageError
from osteon.core.progress import format_duration
from osteon.web.address import LOOPBACK, host_name
from osteon.web.prometheus import MEDIA_TYPE, Metric, write_metrics

MOST_ROWS = 200
"""Studies on the page."""
_SLOW_S = 10.0
"""A client that says nothing for so long is left."""


@dataclass
class WatchStatus:
    """How a watch is, for its status page.

    Attributes:
        work: The work list.
        last_contact: When the archive answered last, in seconds of the epoch; 0: never.
        problem: Why nothing goes on; empty: all is well.
        seconds: By step: how often it was done, and how long it took in all.
    """

    work: WorkList
    last_contact: float = 0.0
    problem: str = ""
    seconds: dict[str, tuple[int, float]] = field(default_factory=dict)

    def count(self, item: WorkItem, before: dict[str, float]) -> None:
        """Count the steps of a study that were done since `before`."""
        for step, seconds in item.seconds.items():
            if before.get(step) != seconds:
                number, total = self.seconds.get(step, (0, 0.0))
                self.seconds = self.seconds | {step: (number + 1, total + seconds)}


@contextmanager
def serve_status(address: str, status: WatchStatus) -> Iterator[None]:
    """Answer at `host:port` while the block runs. Raises UsageError where that cannot be listened on."""
    host, _, port = address.rpartition(":")

    class Handler(BaseHTTPRequestHandler):
        timeout = _SLOW_S

        def do_GET(self) -> None:
            """Answer with the page or the metrics."""
            pages = {"/": ("text/html; charset=utf-8", status_html), "/metrics": (MEDIA_TYPE, metrics_text)}
            kind, write = pages.get(self.path, ("", None))
            if write is None or (host in LOOPBACK and host_name(self.headers.get("Host", "")) not in LOOPBACK):
                return self.send_error(HTTPStatus.NOT_FOUND if write is None else HTTPStatus.FORBIDDEN)
            body = write(status).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    try:
        server = ThreadingHTTPServer((host, int(port)), Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"status: {address} cannot be listened on ({error})", hint="give another port") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def metrics_text(status: WatchStatus) -> str:
    """The metrics in Prometheus' text form."""
    counts, oldest, now = status.work.counts(), status.work.oldest_waiting(), time.time()
    states = {f'{{state="{name}"}}': counts[name] for name in get_args(State)}
    steps = {
        f'_{what}{{step="{step}"}}': value
        for step, (count, total) in status.seconds.items()
        for what, value in (("count", count), ("sum", total))
    }
    gauges = [
        ("oldest_waiting_seconds", "Age of the oldest study that is not over.", now - (oldest or now)),
        ("last_contact_timestamp_seconds", "When the archive answered last.", status.last_contact),
        ("up", "Whether archive and disk do what they should.", float(not status.problem)),
    ]
    return write_metrics(
        "osteon_watch",
        [
            Metric("studies", "gauge", "Studies by state.", states),
            Metric("step_seconds", "summary", "Time of each step of a study.", steps),
            *(Metric(name, "gauge", what, {"": value}) for name, what, value in gauges),
        ],
    )


def status_html(status: WatchStatus) -> str:
    """The page: what is wrong, counts, and the studies that wait or failed, the newest first."""
    counts, now = status.work.counts(), time.time()
    contact = f"{format_duration(now - status.last_contact)} ago" if status.last_contact else "none yet"
    problem = f"<p role=alert><strong>{html.escape(status.problem)}</strong></p>" if status.problem else ""
    shown = sorted((item for item in status.work if item.state != "answered"), key=lambda item: -item.found_at)
    rows = "".join(
        f"<tr><td>{item.name}<td>{item.state}<td>{format_duration(max(now - item.found_at, 0))}<td>"
        f"{item.failures or ''}<td>{html.escape(item.reason)}"
        for item in shown[:MOST_ROWS]
    )
    totals = "".join(f"<tr><th scope=row>{name}<td>{counts[name]}" for name in get_args(State))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=30>"
        "<meta name=viewport content='width=device-width'><title>osteon archive watch</title>"
        "<style>:root{color-scheme:light dark;font:16px/1.5 system-ui}"
        "body{max-width:70rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;margin:1rem 0}td,th{text-align:left;padding:.2rem 1rem .2rem 0;"
        "vertical-align:top;font-variant-numeric:tabular-nums}</style>"
        f"<main><h1>osteon archive watch</h1>{problem}<p>Last contact with the archive: {contact}</p>"
        f"<table>{totals}</table><h2>Studies that are not answered</h2>"
        f"<table><thead><tr><th>study<th>state<th>found ago<th>failures<th>reason<tbody>{rows}</table></main></html>"
    )
