"""A SLURM of one node, this machine, from Debian's slurm-wlm and munge; as root, without systemd, in a folder.

python tests/slurm_node.py FOLDER     # runs until Ctrl-C; export SLURM_CONF=FOLDER/slurm.conf elsewhere
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin"
DEADLINE_S = 120
CONFIGURATION = """ClusterName=osteon
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no SLURM can be started here; empty where one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SBIN) is None]
    if missing:
        return f"SLURM is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "SLURM's daemons are started as root"


@contextmanager
def slurm_node(folder: Path) -> Iterator[Path]:
    """SLURM while the block runs; yields its slurm.conf, which SLURM_CONF names to its commands."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host, ports=ports))
    daemons: list[subprocess.Popen[bytes]] = []
    environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": SBIN}

    def start(*command: object) -> None:
        with (folder / f"{command[0]}.log").open("ab") as log:
            daemons.append(subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log))

    try:
        files = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
        start("munged", "--foreground", "--force", *files, f"--socket={folder}/munge.socket")
        _wait(lambda: (folder / "munge.socket").exists())
        start("slurmctld", "-D", "-f", configuration)
        start("slurmd", "-D", "-f", configuration, "-N", host)
        idle = ["sinfo", "--noheader", "--states=idle", "--format=%n"]
        _wait(lambda: subprocess.run(idle, env=environment, capture_output=True, check=False).stdout.strip())
        yield configuration
    finally:
        subprocess.run(["scancel", "--full", "--state=RUNNING"], env=environment, capture_output=True, check=False)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # steps are nobody's children
                if process.name() == "slurmstepd" and Path(process.cwd()).is_relative_to(folder.parent):
                    process.kill()


def _wait(met: object) -> None:
    until = time.monotonic() + DEADLINE_S
    while not met():  # type: ignore[operator]
        if time.monotonic() > until:
            raise TimeoutError("SLURM has not started: see the logs of its daemons")
        time.sleep(0.1)


def main() -> None:
    if reason := why_not():
        sys.exit(reason)
    with slurm_node(Path(sys.argv[1])) as configuration:
        sys.stdout.write(f"export SLURM_CONF={configuration}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
