"""`osteon`: the commands, their exit codes, and how errors look."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from osteon.cli import app as browser
from osteon.cli import (
    archive,
    audit,
    compare,
    dataset,
    demo,
    doctor,
    evaluate,
    export,
    import_model,
    labels,
    measure,
    models,
    phantom,
    publish,
    report,
    serve,
    suggest,
    sweep,
    vote,
    weights,
)
from osteon.cli.output import info
from osteon.cli.shared_options import Quiet, with_cluster_option, with_quiet_option
from osteon.cli.terminal import is_memory_error, matplotlib_folder, restart_in_utf8, warn_memory_limit
from osteon.core.errors import OsteonError, summarise_error
from osteon.core.files import write_error
from osteon.core.garbage import skip_last_collection
from osteon.core.processes import handle_termination_signals, received_signal
from osteon.core.progress import print_messages, show_progress
from osteon.core.version import __version__

INTERRUPTED = 130
NO_MEMORY = "close other programs, raise the limit (`ulimit -v`, the container's, the job's), and run the same command"

app = typer.Typer(
    help="From labelled bone scans to a segmentation model you can trust, on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
ON_CLUSTERS = {"import", "audit", "plan", "predict", "evaluate", "compare", "export", "measure"}
"""Commands whose work over cases may be done on a cluster; `train` has the option for what comes before it."""
for command, name in (
    (demo.demo, "demo"),
    (phantom.phantom, "phantom"),
    (dataset.import_, "import"),
    (audit.audit, "audit"),
    (dataset.plan, "plan"),
    (models.train, "train"),
    (sweep.sweep, "sweep"),
    (models.predict, "predict"),
    (suggest.suggest, "suggest"),
    (serve.serve, "serve"),
    (vote.vote, "vote"),
    (evaluate.evaluate, "evaluate"),
    (compare.compare, "compare"),
    (measure.measure, "measure"),
    (report.report, "report"),
    (export.export, "export"),
    (browser.app, "app"),
    (import_model.import_model, "import-model"),
    (publish.publish, "publish"),
    (doctor.doctor, "doctor"),
):
    app.command(name)(with_quiet_option(with_cluster_option(command) if name in ON_CLUSTERS else command))
app.add_typer(archive.app, name="archive")
app.add_typer(labels.app, name="labels")
app.add_typer(weights.app, name="weights")


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"osteon {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 (its callback answers)
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and stop.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Options before the command."""
    warn_memory_limit()
    context.with_resource(matplotlib_folder())
    context.with_resource(print_messages())
    context.with_resource(show_progress(not quiet))


def main() -> None:
    """Entry of the `osteon` command.

    Exit codes: 0 all done, 1 some cases failed, 2 wrong use, 128 and the signal's number where one ended it
    (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP).
    """
    restart_in_utf8()
    skip_last_collection()
    handle_termination_signals()
    try:
        app()
    except OsteonError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except (MemoryError, ImportError, RuntimeError, SystemError, OSError) as error:
        if is_memory_error(error):
            _print_error(
                OsteonError(f"there is not enough memory to continue ({summarise_error(error)})", hint=NO_MEMORY)
            )
        elif isinstance(error, OSError):
            _print_error(write_error(Path(error.filename or "."), error))
        else:
            raise
        sys.exit(1)
    except KeyboardInterrupt:  # before typer looks for one, or after it
        _exit_interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer makes this of a KeyboardInterrupt
            _exit_interrupted()
        raise


def _exit_interrupted() -> NoReturn:
    """Say how the command was ended and how to go on, and exit with its code."""
    number = received_signal()
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    info(f"{how}; {_resume_hint(sys.argv[1:])}")
    sys.exit(128 + number)


STARTS_ANEW = "what is written is whole, and the same command starts again"
RESUME_HINTS = {
    "serve": "waiting jobs are done when it is started again",
    "app": "jobs continue without it",
    **dict.fromkeys(
        ("evaluate", "compare", "report", "export", "phantom", "import-model", "publish", "doctor", "weights"),
        STARTS_ANEW,
    ),
}
"""By command, for those that do not go on from where they were ended."""


def _resume_hint(arguments: Sequence[str]) -> str:
    """How to go on with a command that was ended."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    return RESUME_HINTS.get(command, "the same command continues from here")


def _print_error(error: OsteonError) -> None:
    info(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        info(f"  → {escape(error.hint)}")
