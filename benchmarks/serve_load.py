"""`osteon serve` with three models under many clients, one of which hangs on purpose: do the others go on?

    python benchmarks/serve_load.py
    python benchmarks/serve_load.py --clients 50 --seconds 120 --queue 8 --job-limit 10s

Each client chooses a model, sends a scan, asks every half second how far it is, fetches the mask and compares it with
the one that `osteon predict` makes of the same scan; then the next. The process of the model `hangs` is stopped
(SIGSTOP) over every job that it begins, so that each ends by its time limit and the process is replaced. In the end the
server is asked to stop (SIGTERM) in the middle of its work. All traffic stays on this machine's loopback address.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import serve
from serve import Scans, Server, prepare, started

MODELS, WEIGHTS = ("first", "second", "hangs"), (4, 4, 2)


@dataclass
class Seen:
    """What clients saw; added to under the lock."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers_s: list[float] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    over_s: dict[str, list[float]] = field(default_factory=lambda: {model: [] for model in MODELS})
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def ask(
    seen: Seen, kind: str, port: int, method: str, path: str, body: Any = None
) -> tuple[int, dict[str, str], bytes]:
    """An answer; its time and status are counted. Status 0 where none came."""
    began = time.monotonic()
    try:
        status, headers, content = serve.ask(port, method, path, body)
    except (OSError, http.client.HTTPException) as error:
        status, headers, content = 0, {}, type(error).__name__.encode()
    with seen.lock:
        seen.answers_s.append(time.monotonic() - began)
        seen.statuses[kind, str(status) if status else f"none ({content.decode()})"] += 1
    return status, headers, content


def client(number: int, port: int, end: float, scans: Scans, seen: Seen) -> None:
    draw = random.Random(number)
    while time.monotonic() < end:
        model, which = draw.choices(MODELS, WEIGHTS)[0], draw.randrange(len(scans.files))
        began = time.monotonic()
        status, headers, content = ask(seen, f"POST, {model}", port, "POST", f"/jobs?model={model}", scans.files[which])
        if status == 429:
            time.sleep(min(float(headers["retry-after"]), max(0.0, end - time.monotonic()), 5.0))
        if status != 202:
            continue
        with seen.lock:
            seen.accepted[model] += 1
        follow(port, json.loads(content)["id"], model, began, end, scans.masks[which], seen)


def follow(port: int, job_id: str, model: str, began: float, end: float, mask: bytes, seen: Seen) -> None:
    while time.monotonic() < end:
        time.sleep(0.5)
        status, _, content = ask(seen, "GET, state", port, "GET", f"/jobs/{job_id}")
        job = json.loads(content) if status == 200 else {"state": "unknown"}
        if job["state"] not in ("done", "failed"):
            continue
        took, how = time.monotonic() - began, job["error"] or job["state"]
        if job["state"] == "done":
            status, _, found = ask(seen, "GET, mask", port, "GET", f"/jobs/{job_id}/mask.nii.gz")
            how = "done, the right mask" if status == 200 and gzip.decompress(found) == mask else "done, a wrong mask"
        with seen.lock:
            seen.over_s[model].append(took)
            seen.ends[model, how] += 1
        return


def children(server: Server) -> list[psutil.Process]:
    """The predicting processes."""
    with suppress(psutil.Error):
        found = psutil.Process(server.process.pid).children()
        return [child for child in found if "resource_tracker" not in " ".join(child.cmdline())]
    return []


def hang(server: Server, good: set[int], end: float) -> None:
    """Stop the process of the model `hangs` while it works: the one that is none of the others'."""
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException, ValueError, psutil.Error):
            there = [child for child in children(server) if child.pid not in good]  # first: the next one still loads
            if json.loads(serve.ask(server.port, "GET", "/health")[2])["models"]["hangs"]["busy_s"] is not None:
                for child in there:
                    child.send_signal(signal.SIGSTOP)
        time.sleep(0.1)


def sample(server: Server, end: float, samples: list[tuple[float, int, int, int]]) -> None:
    """Seconds; resident bytes of the server; of all predicting processes; and how many these are."""
    began = time.monotonic()
    while time.monotonic() < end:
        with suppress(psutil.Error):
            held = [child.memory_info().rss for child in children(server)]
            own = psutil.Process(server.process.pid).memory_info().rss
            samples.append((time.monotonic() - began, own, sum(held), len(held)))
        time.sleep(0.5)


def percentiles(times: Sequence[float]) -> str:
    ordered = sorted(times)
    if not ordered:
        return "-"
    picks = [ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.95, 0.99, 1.0)]
    return " / ".join(f"{pick:.2f}" for pick in picks) + " s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--queue", type=int, default=8)
    parser.add_argument("--job-limit", default="10s")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, scans = prepare(Path(folder))
        named = [f"{model}={run}" for model in MODELS]
        limits = ["--job-limit", asked.job_limit, "--grace-period", "30s"]
        server = started(named[0], Path(folder) / "jobs", asked.queue, [*named[1:], *limits])
        loaded = sorted(children(server), key=lambda child: child.create_time())  # in the models' order
        good, each = {child.pid for child in loaded[:2]}, [child.memory_full_info() for child in loaded]
        seen, samples, end = Seen(), list[tuple[float, int, int, int]](), time.monotonic() + asked.seconds
        jobs: list[threading.Thread] = [
            threading.Thread(target=sample, args=(server, end, samples)),
            threading.Thread(target=hang, args=(server, good, end)),
            *(threading.Thread(target=client, args=(n, server.port, end, scans, seen)) for n in range(asked.clients)),
        ]
        for thread in jobs:
            thread.start()
        time.sleep(max(0.0, end - time.monotonic()))
        lines = serve.ask(server.port, "GET", "/metrics")[2].decode().splitlines()
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait()
        ended_s = time.monotonic() - began
        for thread in jobs:
            thread.join()
        states = [json.loads(path.read_bytes())["state"] for path in Path(folder).glob("jobs/jobs/*/job.json")]
    left = sum(map(psutil.Process.is_running, loaded))
    report(asked, seen, samples, lines, each)
    print(f"\nSIGTERM: exit code {code} after {ended_s:.1f} s; {left} processes left")
    print(f"jobs on the disk: {dict(Counter(states))}; accepted {sum(seen.accepted.values())}")


def report(
    asked: argparse.Namespace, seen: Seen, samples: list[tuple[float, int, int, int]], lines: list[str], each: list[Any]
) -> None:
    print("\n| request | status | answers |\n| --- | --- | --- |")
    for (kind, status), count in sorted(seen.statuses.items()):
        print(f"| {kind} | {status} | {count} |")
    print(
        "\n| model | accepted | over | how | upload to result, p50 / p95 / p99 / most |"
        "\n| --- | --- | --- | --- | --- |"
    )
    for model in MODELS:
        how = "; ".join(f"{end}: {count}" for (of, end), count in sorted(seen.ends.items()) if of == model)
        times = seen.over_s[model]
        print(f"| {model} | {seen.accepted[model]} | {len(times)} | {how} | {percentiles(times)} |")
    half = [one for one in samples if one[0] >= asked.seconds / 2]
    quarter = [one for one in samples if one[0] < asked.seconds / 2]
    rows = {
        "all requests, p50 / p95 / p99 / most": percentiles(seen.answers_s),
        "each predicting process loaded: resident, its own alone": ", ".join(
            f"{info.rss / 1e6:.0f} ({info.uss / 1e6:.0f})" for info in each
        )
        + " MB",
        "server, peak in the first half, in the second": f"{peak(quarter, 1)}, {peak(half, 1)} MB",
        "predicting processes together, likewise": f"{peak(quarter, 2)}, {peak(half, 2)} MB",
        "predicting processes, most at a time": max(one[3] for one in samples),
        "median of the predicting processes together": f"{statistics.median(one[2] for one in samples) / 1e6:.0f} MB",
    }
    print("\n| | |\n| --- | --- |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    for line in lines:
        if line.startswith(("osteon_serve_jobs_ended_total", "osteon_serve_predictor_restarts")):
            print(f"| `{line.rpartition(' ')[0]}` | {line.rpartition(' ')[2]} |")


def peak(samples: list[tuple[float, int, int, int]], column: int) -> str:
    return f"{max((one[column] for one in samples), default=0) / 1e6:.0f}"


if __name__ == "__main__":
    main()
