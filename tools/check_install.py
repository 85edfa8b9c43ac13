"""Install the wheel as on a machine without a network, and use it: `python tools/check_install.py WHEELS`.

WHEELS is a folder of wheels: what `make wheels` fetches, and the wheel of `make dist`. Everything happens in a new
environment and in a network namespace that has no network (`unshare`); what was installed is then used by another
user (`nobody`, where this is run by root), who can write neither into it nor into the home folder, with nothing but
the environment on PATH: no compiler, no git. A line for each step, with its seconds; the first failure ends it with 1.
Takes minutes. `make dist-check` runs it. Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs")
COMPLAINTS = re.compile(r"Traceback|Warning|not a writable|Read-only|Permission denied|Errno|could not be")
"""What no step may print: each would be a library that wants more than it has here."""
COMMANDS = {
    "": (
        "osteon --version",
        "osteon doctor",
        "osteon demo demo --cases 6 --unseen 1 --budget {budget}",
        "osteon audit demo/dataset",
        "osteon report demo/predictions",
        "osteon measure demo/predictions demo/measures --report html,pdf",
        "osteon export stl demo/predictions demo/stl",
        "osteon phantom hand hand --cases 6 --size 64",
        "osteon import hand/source hands",
        "osteon train hands hand-run --epochs 1 --folds 3 --network unetplusplus --encoder resnet18 --weights none"
        " --set training.epoch_iterations=2",
    ),
    "fast": (
        "osteon export onnx demo/run demo/onnx",
        "osteon predict demo/run demo/scans/imagesTs demo/by-openvino --engine openvino",
        "osteon predict demo/run demo/scans/imagesTs demo/by-onnx --engine onnx",
    ),
    "app": ("osteon app --workspace workspace --port 8123 --no-browser",),
}
"""By extra, the job from beginning to end, what draws, what writes files of others, and networks of libraries."""
ASK = """
import subprocess, sys, time, urllib.request
app = subprocess.Popen(sys.argv[1:])
for _ in range(600):
    time.sleep(0.2)
    try:
        page = urllib.request.urlopen("http://127.0.0.1:8123/", timeout=60).read()
        break
    except OSError:
        if app.poll() is not None:
            sys.exit("the app ended by itself")
app.terminate()
app.wait(60)
sys.exit(0 if b"<html" in page.lower() else "no page")
"""
"""Starts the app, asks it for its first page, and ends it."""


class StepError(Exception):
    """A step failed; its text is what it printed."""


def tool(name: str) -> str:
    """The path of one of the system's programs, which commands do not find on PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or name


def namespace(loopback: bool = False) -> list[str]:
    """The command before each that leaves no network, but for this host itself where that is asked for."""
    before = [tool("unshare"), "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    return [*before, tool("sh"), "-c", f'{tool("ip")} link set lo up && exec "$@"', "sh"] if loopback else before


def run(name: str, command: list[str], place: Path, environment: Mapping[str, str]) -> str:
    """Run a step, print how long it took, and return what it printed. Raises StepError."""
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=place, env=environment, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    sys.stdout.write(f"{time.monotonic() - began:7.1f} s  {name}\n")
    sys.stdout.flush()
    if done.returncode or COMPLAINTS.search(done.stdout):
        raise StepError(f"{name}: ended with {done.returncode}, and printed\n{done.stdout[-6000:]}")
    return done.stdout


def install(place: Path, wheels: Path, python: str, extras: str, dist: Path) -> None:
    """A new environment with the wheel in it."""
    folder = place / "environment"
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python")]
    wheel = next(dist.glob("osteon-*.whl"))
    wanted = f"{wheel}[{extras}]" if extras else str(wheel)
    options = ["--no-index", "--find-links", str(wheels), "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    clean["PIP_CONFIG_FILE"] = os.devnull
    run(f"pip install --no-index osteon[{extras}]", [*namespace(), *pip, "install", *options, wanted], place, clean)
    run("pip check", [*pip, "check"], place, clean)


def use(place: Path, programs: Path, options: argparse.Namespace) -> None:
    """Run every command as another user, from a folder that this user may write to."""
    home, work = place / "home", place / "work"
    for folder in (home, work):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (work / "tmp").mkdir()
    as_user = (tool("setpriv"), *NOBODY) if os.geteuid() == 0 else ()
    for folder in (work, work / "tmp") if as_user else ():
        os.chown(folder, 65534, 65534)
    home.chmod(0o555)
    environment = {"PATH": str(programs), "HOME": str(home), "TMPDIR": str(work / "tmp"), "LANG": "C.UTF-8"}
    extras = options.extras.split(",")
    steps = [step for extra, steps in COMMANDS.items() if extra in ("", *extras) for step in steps]
    for step in steps:
        words = shlex.split(step.format(budget=options.budget))
        inner = [str(programs / words[0]), *words[1:]]
        if words[1] == "app":
            inner = [str(programs / "python"), "-c", ASK, *inner]
        command = [*namespace(loopback=words[1] == "app"), *as_user, *inner]
        run(shlex.join(words), command, work, environment)


def main() -> int:
    """Install and use; 1 where a step fails."""
    parser = argparse.ArgumentParser(description="Install the wheel off-line and use it.")
    parser.add_argument("wheels", type=Path, help="a folder of wheels")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the wheel of `make dist` lies")
    parser.add_argument("--python", default=sys.executable, help="that of the new environment")
    parser.add_argument("--extras", default="", help="separated by commas")
    parser.add_argument("--budget", default="30s", help="of the demo's training")
    parser.add_argument("--place", type=Path, help="where to work; an environment that is there is taken, and stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="osteon-install-") as name:
        place = Path(name) if options.place is None else options.place.resolve()
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
        try:
            programs = place / "environment/bin"
            if not (programs / "osteon").exists():
                install(place, options.wheels.resolve(), options.python, options.extras, options.dist.resolve())
            use(place, programs, options)
        except StepError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
