"""Runs the console and Python blocks of pages, in their order, each page in a folder of its own.

    python tools/run_docs.py docs/tutorials/spine.md …    (`make tutorials`: all of docs/tutorials and docs/howto)

It ends with a table: blocks, commands, minutes and megabytes of each page. A command that fails ends its page,
and the exit code is 1. `--keep FOLDER` keeps what was made.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^( *)```(console|python)\n\1(.*?)^ *```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class PageRun:
    """What became of a page: its blocks, commands, seconds, bytes, and the block that failed."""

    page: str
    blocks: int
    commands: int
    seconds: float
    size: int
    failed: str = ""


def blocks_of(page: str, budget: str | None = None) -> list[tuple[str, str]]:
    """Language and text of each block that runs, those within lists too; a budget takes the place of the page's."""
    page = page if budget is None else re.sub(r"--budget \S+", f"--budget {budget}", page)
    return [(found[2], textwrap.dedent(found[1] + found[3])) for found in BLOCK.finditer(page)]


def commands_in(language: str, block: str) -> list[list[str]]:
    """What runs for a block: a process for each line of a console, one for a Python session."""
    if language == "python":
        return [[sys.executable, "-c", block]]
    return [["bash", "-euo", "pipefail", "-c", line] for line in block.splitlines() if line.strip()]


def run_page(path: Path, folder: Path, budget: str | None = None) -> PageRun:
    """Runs a page's blocks in a folder; what they print is shown."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    blocks = blocks_of(path.read_text(encoding="utf-8"), budget)
    begin = time.monotonic()
    done = 0
    failed = ""
    for language, block in blocks:
        for command in commands_in(language, block):
            since = time.monotonic()
            sys.stdout.write(f"\n$ {command[-1].strip()}\n")
            sys.stdout.flush()
            code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
            sys.stdout.write(f"[{time.monotonic() - since:.0f} s]\n")
            if code:
                failed = f"{command[-1].strip()} ended with {code}"
                break
            done += 1
        if failed:
            break
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return PageRun(path.as_posix(), len(blocks), done, time.monotonic() - begin, size, failed)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Run the blocks of pages.")
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--budget", metavar="TIME", help="train for so long, in place of what the pages say")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was made, a folder for each page")
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        for page in options.pages:
            folder = (options.keep or Path(scratch)).resolve() / page.with_suffix("").as_posix().replace("/", "-")
            folder.mkdir(parents=True)
            runs.append(run_page(page, folder, options.budget))
    lines = [f"{'page':<34} blocks commands minutes    MB"]
    for run in runs:
        figures = f"{run.blocks:>6} {run.commands:>8} {run.seconds / 60:>7.1f} {run.size / 1e6:>5.0f}"
        lines.append(f"{run.page:<34} {figures}  {run.failed}".rstrip())
    sys.stdout.write("\n".join(["", *lines, ""]))
    return 1 if any(run.failed for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
