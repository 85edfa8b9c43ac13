"""`osteon serve` under attack: is an honest client served beside a scan that hangs, slow heads and slow bodies?

    python benchmarks/serve_attack.py
    python benchmarks/serve_attack.py --clients 30 --seconds 60 --heads 1100 --bodies 40 --job-limit 10s

Honest clients do as in benchmarks/serve.py: send a scan, wait for its mask, compare it with that of `osteon predict`.
Beside them another process holds connections with half a head of a request, adding a line to each now and then, and
uploads that bring a byte a second; whatever is closed it opens again. The predicting process is stopped (SIGSTOP) over
one scan, as a scan does that hangs. The server may have 1024 open files. All traffic stays on the loopback address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import serve
from serve import GOOD, Scans, Server, Tally, ask, client, prepare, started

LINE_EVERY_S, BYTE_EVERY_S = 5.0, 1.0
HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"


async def attack(port: int, seconds: float, heads: int, bodies: int) -> Counter[str]:
    """Hold as many slow connections as asked for. Returns how often each was opened, and what ended it."""
    seen, end = Counter[str](), time.monotonic() + seconds

    async def hold(kind: str, begin: bytes, more: bytes, every_s: float) -> None:
        while time.monotonic() < end:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                seen[f"{kind}: opened"] += 1
                writer.write(begin)
                response = asyncio.create_task(reader.read(12))
                while time.monotonic() < end and not (await asyncio.wait([response], timeout=every_s))[0]:
                    writer.write(more)
                if response.done():
                    seen[f"{kind}: {response.result()[9:].decode() or 'closed'}"] += 1
                response.cancel()
                writer.close()
            except OSError:
                seen[f"{kind}: closed"] += 1
            await asyncio.sleep(0.5)

    slow = [hold("head", HEAD, b"X: y\r\n", LINE_EVERY_S) for _ in range(heads)]
    await asyncio.gather(*slow, *(hold("body", BODY, b"x", BYTE_EVERY_S) for _ in range(bodies)))
    return seen


def probe(port: int, end: float, checks: list[tuple[float, str]]) -> None:
    """Ask for the health, twice a second: seconds until the answer, and the status that it tells."""
    while time.monotonic() < end:
        began = time.monotonic()
        state = "none"
        with suppress(Exception):
            status, _, content = ask(port, "GET", "/health")
            state = json.loads(content)["status"] if status == 200 else str(status)
        checks.append((time.monotonic() - began, state))
        time.sleep(0.5)


def hang(server: Server, scans: Scans) -> str:
    """Send a scan, and stop the predicting process over it. Returns the job's id."""
    job_id = str(json.loads(ask(server.port, "POST", "/jobs", scans.files[0])[2])["id"])
    while json.loads(ask(server.port, "GET", f"/jobs/{job_id}")[2])["state"] == "queued":
        time.sleep(0.01)
    children = psutil.Process(server.process.pid).children(recursive=True)
    held = next(child for child in children if "resource_tracker" not in " ".join(child.cmdline()))
    held.send_signal(signal.SIGSTOP)
    return job_id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--heads", type=int, default=1100)
    parser.add_argument("--bodies", type=int, default=40)
    parser.add_argument("--job-limit", default="10s", help="empty: none is given")
    parser.add_argument("--attack", type=int, help="attack this port, and do nothing else")
    asked = parser.parse_args()
    if asked.attack:
        print(json.dumps(asyncio.run(attack(asked.attack, asked.seconds, asked.heads, asked.bodies))))
        return
    serve.KINDS, serve.WEIGHTS = (GOOD,), (1,)
    with tempfile.TemporaryDirectory() as folder:
        run, scans = prepare(Path(folder))
        more = ["--job-limit", asked.job_limit] if asked.job_limit else []
        server = started(run, Path(folder) / "jobs", 32, more, files=1024)
        try:
            hung = hang(server, scans)
            line = [sys.executable, __file__, "--attack", str(server.port), "--seconds", str(asked.seconds)]
            line += ["--heads", str(asked.heads), "--bodies", str(asked.bodies)]
            attackers = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
            tally, checks, end = Tally(), list[tuple[float, str]](), time.monotonic() + asked.seconds
            threads = [
                threading.Thread(target=server.sample, args=(end,)),
                threading.Thread(target=probe, args=(server.port, end, checks)),
                *(
                    threading.Thread(target=client, args=(n, server.port, end, scans, tally))
                    for n in range(asked.clients)
                ),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seen = json.loads(attackers.communicate()[0])
            fate = json.loads(ask(server.port, "GET", f"/jobs/{hung}")[2])
            report(server, tally, checks, seen, f"{fate['state']}: {fate['error']}" if fate["error"] else fate["state"])
        finally:
            server.process.kill()
            server.process.wait()


def report(server: Server, tally: Tally, checks: list[tuple[float, str]], seen: dict[str, int], fate: str) -> None:
    times, waits = sorted(tally.finished.values()), sorted(wait for wait, _ in checks)
    rows = {
        **{f"uploads of honest clients: {status}": count for (_, status), count in sorted(tally.answers.items())},
        "their jobs over within the time": len(times),
        "wrong masks or states": len(tally.wrong),
        "from upload to result, p50": f"{statistics.median(times):.1f} s" if times else "",
        "p95": f"{times[int(0.95 * (len(times) - 1))]:.1f} s" if times else "",
        **{f"/health: {state}": count for state, count in sorted(Counter(state for _, state in checks).items())},
        "/health, median and longest wait": f"{1000 * statistics.median(waits):.0f} ms, {waits[-1]:.2f} s",
        "the scan that hangs": fate,
        **{f"slow {what}": count for what, count in sorted(seen.items())},
        "server, peak memory": f"{max(s[1] for s in server.samples) / 1e6:.0f} MB",
    }
    print("\n| | |\n| --- | --- |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    for problem, count in Counter(tally.wrong).items():
        print(f"wrong: {problem} ({count})")


if __name__ == "__main__":
    main()
