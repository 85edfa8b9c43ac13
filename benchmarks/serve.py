"""`osteon serve` under many uploads at once, then killed and started again: is a job lost, is memory bounded?

    python benchmarks/serve.py
    python benchmarks/serve.py --clients 50 --seconds 120 --queue 32

Each client sends a scan, asks every half second how far it is, fetches the mask and compares it with the one that
`osteon predict` makes of the same scan; then the next. Some uploads are larger than the limit, said or unsaid, some are
cut off. When the time is over the server is killed (SIGKILL) in the middle of its work and started again; then every
accepted job is asked for. All traffic stays on this machine's loopback address.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from osteon.core.geometry import Geometry
from osteon.core.volume import Volume

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
LIMIT = 20_000_000
GOOD, SAID, UNSAID, CUT = "scan", "too large, said", "too large, unsaid", "cut off"
KINDS, WEIGHTS = (GOOD, SAID, UNSAID, CUT), (88, 4, 4, 4)
Answers = Counter[tuple[str, str]]


@dataclass
class Tally:
    """What clients saw; its parts are added to under the lock."""

    answers: Answers = field(default_factory=Counter)
    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Scans:
    """Scans, and what `osteon predict` makes of them, unpacked."""

    files: list[bytes]
    masks: list[bytes]


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused while it was sending; the answer is there
            connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def too_much() -> Iterator[bytes]:
    for _ in range(2 * LIMIT >> 20):
        yield bytes(1 << 20)


def client(number: int, port: int, end: float, scans: Scans, tally: Tally) -> None:
    draw = random.Random(number)
    while time.monotonic() < end:
        kind = draw.choices(KINDS, WEIGHTS)[0]
        which = draw.randrange(len(scans.files))
        scan = scans.files[which]
        bodies: dict[str, Any] = {GOOD: scan, SAID: bytes(LIMIT + 1), UNSAID: too_much(), CUT: scan[: len(scan) // 2]}
        began = time.monotonic()
        try:
            status, headers, content = ask(port, "POST", "/jobs", bodies[kind])
        except (OSError, http.client.HTTPException):
            with tally.lock:
                tally.answers[kind, "none: killed" if time.monotonic() >= end else "none"] += 1
            continue
        with tally.lock:
            tally.answers[kind, str(status)] += 1
        if status == 202:
            job_id = json.loads(content)["id"]
            with tally.lock:
                tally.accepted[job_id] = (kind, which)
            follow(port, job_id, began, end, scans, tally)
        elif status == 429:
            time.sleep(min(float(headers["retry-after"]), max(0.0, end - time.monotonic())))


def follow(port: int, job_id: str, began: float, end: float, scans: Scans, tally: Tally) -> None:
    while time.monotonic() < end:
        time.sleep(0.5)
        with suppress(OSError, http.client.HTTPException):
            state = json.loads(ask(port, "GET", f"/jobs/{job_id}")[2])["state"]
            if state in ("done", "failed"):
                took = time.monotonic() - began
                problem = check(port, job_id, state, scans, tally)
                with tally.lock:
                    tally.finished[job_id] = took
                    tally.wrong += [problem] if problem else []
                return


def check(port: int, job_id: str, state: str, scans: Scans, tally: Tally) -> str:
    """What is wrong with a job that is over; empty where nothing is."""
    kind, which = tally.accepted[job_id]
    if kind == CUT:
        return "" if state == "failed" else f"a scan that was cut off is {state}"
    if state != "done":
        return f"a scan is {state}"
    status, _, mask = ask(port, "GET", f"/jobs/{job_id}/mask.nii.gz")
    return "" if status == 200 and gzip.decompress(mask) == scans.masks[which] else "a mask is another"


@dataclass
class Server:
    """`osteon serve` in a process of its own, and the memory that it takes."""

    process: subprocess.Popen[bytes]
    port: int
    start_s: float
    samples: list[tuple[float, int, int]] = field(default_factory=list)

    def sample(self, end: float) -> None:
        """Seconds, and the resident bytes of server and predicting process, twice a second."""
        server, began = psutil.Process(self.process.pid), time.monotonic()
        while time.monotonic() < end:
            with suppress(psutil.Error):
                held = max((child.memory_info().rss for child in server.children(recursive=True)), default=0)
                self.samples.append((time.monotonic() - began, server.memory_info().rss, held))
            time.sleep(0.5)


def started(run: Path | str, folder: Path, queue: int, more: Sequence[str] = (), files: int = 0) -> Server:
    """A server that answers; with `files` it may have no more open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "osteon.cli", "serve", str(run), "--folder", str(folder), "--port", str(port)]
    began = time.monotonic()
    line += ["--queue", str(queue), "--max-upload", f"{LIMIT}", "--device", "cpu", *more]
    if files:
        line = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *line]
    process = subprocess.Popen(line)
    while True:
        with suppress(OSError, http.client.HTTPException):
            if ask(port, "GET", "/health")[0] == 200:
                return Server(process, port, time.monotonic() - began)
        assert process.poll() is None, "the server ended"
        time.sleep(0.1)


def prepare(work: Path) -> tuple[Path, Scans]:
    """The tests' tiny model of two boxes, six scans of 96 x 80 x 64 voxels with noise, and the masks it makes of them.

    The model is small, so that it is the server that is under load.
    """
    from helpers import spacing_affine, two_boxes
    from osteon.formats import write_volume
    from osteon.predicting.model_folder import load_model
    from osteon.predicting.predictor import predict
    from osteon.predicting.scans import find_scans
    from osteon.runs.fit import train
    from runs import CPU, cohort, learning_plan

    train(cohort(work / "data"), learning_plan(), work / "run", CPU)
    for number in range(6):
        image, _, _ = two_boxes(seed=number)
        fine = image.repeat(8, 0).repeat(8, 1).repeat(8, 2).astype(np.int16)
        fine += np.random.default_rng(number).integers(-20, 20, fine.shape, np.int16)
        geometry = Geometry(fine.shape, spacing_affine(0.125, 0.125, 0.125))
        write_volume(work / f"scans/{number}.nii.gz", Volume(fine[None], geometry))
    predict(load_model(work / "run"), find_scans([work / "scans"]), work / "masks")
    paths = [work / f"scans/{number}.nii.gz" for number in range(6)]
    masks = [gzip.decompress((work / "masks" / path.name).read_bytes()) for path in paths]
    assert all(any(mask[352:]) for mask in masks)
    return work / "run", Scans([path.read_bytes() for path in paths], masks)


def settle(server: Server, scans: Scans, tally: Tally, patience_s: float) -> dict[str, int]:
    """Ask the new server for every job that the old one accepted."""
    came = Counter[str]()
    end = time.monotonic() + patience_s
    for job_id in tally.accepted:
        before = "over before the kill" if job_id in tally.finished else "under way at the kill"
        state = "queued"
        while state in ("queued", "running") and time.monotonic() < end:
            status, _, content = ask(server.port, "GET", f"/jobs/{job_id}")
            state = json.loads(content)["state"] if status == 200 else "gone"
            time.sleep(0.2 if state in ("queued", "running") else 0)
        over = state in ("done", "failed")
        good = over and not check(server.port, job_id, state, scans, tally)
        came[f"{before}: {'right' if good else 'lost'}"] += 1
    return dict(came)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--queue", type=int, default=32)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, scans = prepare(Path(folder))
        sizes = [len(scan) / 1e6 for scan in scans.files]
        print(f"{len(sizes)} scans of {min(sizes):.1f} to {max(sizes):.1f} MB; --max-upload {LIMIT / 1e6:.0f} MB")
        server = started(run, Path(folder) / "jobs", asked.queue)
        tally, end = Tally(), time.monotonic() + asked.seconds
        threads = [threading.Thread(target=server.sample, args=(end,))]
        threads += [
            threading.Thread(target=client, args=(n, server.port, end, scans, tally)) for n in range(asked.clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(max(0.0, end - time.monotonic()))
        server.process.kill()
        server.process.wait()
        for thread in threads:
            thread.join()
        again = started(run, Path(folder) / "jobs", asked.queue)
        try:
            came = settle(again, scans, tally, 300)
        finally:
            again.process.kill()
            again.process.wait()
    report(asked, server, again, tally, came)


def report(asked: argparse.Namespace, server: Server, again: Server, tally: Tally, came: dict[str, int]) -> None:
    statuses = sorted({status for _, status in tally.answers})
    print(f"\n| upload | {' | '.join(statuses)} |\n| --- |{' --- |' * len(statuses)}")
    for kind in KINDS:
        print(f"| {kind} | {' | '.join(str(tally.answers[kind, status]) for status in statuses)} |")
    times = sorted(tally.finished.values())
    p50, p95 = statistics.median(times), times[int(0.95 * (len(times) - 1))]
    half = [sample for sample in server.samples if sample[0] >= asked.seconds / 2]
    rows = {
        "accepted": len(tally.accepted),
        "over within the time": len(times),
        "wrong masks or states": len(tally.wrong),
        "from upload to result, p50": f"{p50:.1f} s",
        "p95": f"{p95:.1f} s",
        "server, peak memory": f"{max(s[1] for s in server.samples) / 1e6:.0f} MB",
        "server, peak in the second half": f"{max(s[1] for s in half) / 1e6:.0f} MB",
        "predicting process, peak": f"{max(s[2] for s in server.samples) / 1e6:.0f} MB",
        "predicting process, peak in the second half": f"{max(s[2] for s in half) / 1e6:.0f} MB",
        "killed, started again in": f"{again.start_s:.1f} s",
        **came,
    }
    print("\n| | |\n| --- | --- |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    for problem, count in Counter(tally.wrong).items():
        print(f"wrong: {problem} ({count})")


if __name__ == "__main__":
    main()
