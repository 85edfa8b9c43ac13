"""A trial in a process of its own: its memory is freed and its crash is no one else's.

    python -m osteon.sweeping.trial_process DATASET RUN OPTIONS    (OPTIONS: fields of TrainOptions as JSON)

It ends, saved, when its standard input is closed: the sweep wants it to, or is there no more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from osteon.core.errors import OsteonError
from osteon.core.garbage import skip_last_collection
from osteon.core.processes import handle_termination_signals, interrupt_self, received_signal
from osteon.core.progress import print_messages, show_progress


def main(arguments: list[str]) -> int:
    """Entry of the process; its exit code: that of the error, 128 and the signal's number where it was ended."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background begins with it ignored
    handle_termination_signals()
    skip_last_collection()
    threading.Thread(target=_end_with_input, daemon=True).start()
    from osteon.dataset.dataset import Dataset
    from osteon.plan.schema import FILE_NAME, read_plan
    from osteon.runs.fit import train
    from osteon.runs.options import TrainOptions

    folder, run, options = arguments
    try:
        plan = read_plan(Path(run) / FILE_NAME)
        with print_messages(), show_progress():
            train(Dataset.open(Path(folder)), plan, Path(run), TrainOptions(**json.loads(options)))
    except OsteonError as error:
        sys.stderr.write(f"error: {error.message}\n  → {error.hint}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + received_signal()
    return 0


def _end_with_input() -> None:
    # Not sys.stdin: a thread that holds its lock when the interpreter ends makes that end a crash.
    while os.read(0, 1024):
        pass
    interrupt_self()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
