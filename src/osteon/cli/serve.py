"""`osteon serve`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.option_values import ServeProtocol
from osteon.cli.output import out, warn
from osteon.cli.shared_options import device_option
from osteon.core.errors import UsageError
from osteon.core.quantities import parse_bytes, parse_seconds
from osteon.core.text import pluralise


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="Model folders, runs that made them, or hf:ORGANISATION/NAME@COMMIT; NAME=MODEL names one.",
        ),
    ],
    folder: Annotated[Path, typer.Option(help="Where uploads and results are kept.")] = Path("osteon-jobs"),
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine's own need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token to ask for; or OSTEON_TOKEN in the environment.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS: the server's certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="TLS: its private key (PEM).")] = None,
    queue: Annotated[int, typer.Option(min=1, help="Limit for uploads and waiting jobs, of each model.")] = 32,
    max_upload: Annotated[str, typer.Option(help="The largest upload, as 2GB.")] = "2GB",
    keep: Annotated[
        str, typer.Option(help="How long jobs are kept when they are over, while the server runs: 7d, 12h.")
    ] = "7d",
    keep_size: Annotated[
        str | None, typer.Option(help="What they may take on the disk, as 50GB: beyond, the oldest go.")
    ] = None,
    grace_period: Annotated[
        str, typer.Option(help="How long predictions that run may go on when the server is asked to end.")
    ] = "30s",
    job_limit: Annotated[str, typer.Option(help="How long a job may take: 30min, 90s; then it fails.")] = "30min",
    max_voxels: Annotated[int, typer.Option(min=1, help="Voxels of the largest scan that is taken.")] = 10**9,
    speed: Annotated[str, typer.Option(help="As osteon predict has it: fast, balanced, best.")] = "balanced",
    postprocess: Annotated[str, typer.Option(help="As osteon predict has it.")] = "auto",
    engine: Annotated[str, typer.Option(help="What runs the network; auto: as `osteon doctor MODEL` measured.")] = (
        "torch"
    ),
    memory: Annotated[str | None, typer.Option(help="Memory limit for a scan, such as 4GB; of each model.")] = None,
    device: Annotated[str, device_option("What to predict on.")] = "auto",
    protocol: Annotated[
        ServeProtocol, typer.Option(help="monailabel: 3D Slicer's plug-in MONAI Label and its like are answered, too.")
    ] = "osteon",
    dataset: Annotated[Path | None, typer.Option(help="For monailabel: the dataset that is labelled.")] = None,
    click_model: Annotated[
        Path | None, typer.Option(help="For monailabel: a model that answers clicks, or the run that made it.")
    ] = None,
    train_budget: Annotated[
        str, typer.Option(help="For monailabel: how long a training takes that a viewer starts.")
    ] = "1h",
) -> None:
    """Put models behind HTTP: send a scan, ask how far it is, fetch the mask."""
    if any(find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise UsageError("the server is not installed", hint="pip install 'osteon[serve]'")
    if (protocol == "monailabel") != (dataset is not None) or (dataset is None and click_model is not None):
        raise UsageError(
            "--protocol monailabel and --dataset belong together, and --click-model needs both",
            hint="osteon serve MODEL --protocol monailabel --dataset DATASET",
        )
    parse_seconds(train_budget)
    from osteon.serving.dispatcher import Dispatcher, DispatcherGroup
    from osteon.serving.guard import find_token
    from osteon.serving.job_record import FINISHED
    from osteon.serving.jobs import JobQueue
    from osteon.serving.model_names import name_models
    from osteon.serving.predictor import END_S, start_predictors
    from osteon.serving.server import Labelling, create_server, hold_jobs_folder, read_tls
    from osteon.serving.worker import ServedModel, share_memory
    from osteon.web.address import ServerAddress

    named = name_models(models)
    limit = share_memory(len(named)) if memory is None else parse_bytes(memory)
    served = [
        ServedModel(path, speed, engine, postprocess, device, limit, max_voxels, None if number else click_model, name)
        for number, (name, path) in enumerate(named.items())
    ]
    address, tls = ServerAddress(host, port), read_tls(tls_cert, tls_key)
    most_bytes, keep_s, limit_s = parse_bytes(max_upload), parse_seconds(keep), parse_seconds(job_limit)
    most_kept, grace_s = None if keep_size is None else parse_bytes(keep_size), parse_seconds(grace_period)
    with hold_jobs_folder(folder):
        address.check()
        token, made = find_token(token_file, os.environ.get("OSTEON_TOKEN", ""), folder, local=address.local)
        jobs = JobQueue(folder, queue, list(named))
        with start_predictors(served) as predictors:
            for predictor in predictors if dataset is None else ():
                if predictor.facts["interactive"]:
                    raise UsageError(
                        f"{predictor.model.folder}: answers clicks, and finds nothing by itself",
                        hint="osteon serve MODEL --protocol monailabel --dataset DATASET",
                    )
            dispatchers = DispatcherGroup([Dispatcher(jobs, one, keep_s, limit_s, most_kept) for one in predictors])
            labelling = None if dataset is None else Labelling(folder, dataset, train_budget)
            server = create_server(dispatchers, address, token, most_bytes, labelling, tls, grace_s)
            _print_address(address.local or tls is not None, folder, token if made else "", jobs.damaged)
            if len(named) > 1:
                out.print(f"models    {escape(', '.join(named))}")
            if unserved := jobs.unserved():
                warn(f"jobs wait for models that are not served: {escape(', '.join(unserved))}")
            out.print(f"listening {escape(address.url(tls=tls is not None))}")
            out.print("stop      Ctrl-C; waiting jobs are done when it is started again")
            server.run()
            dispatchers.stop()
            dispatchers.join(END_S)  # so that a process which is being started is there to be ended
            waiting = sum(job.state not in FINISHED for job in jobs.jobs.values())
            out.print(f"stopped   {pluralise(waiting, 'job')} to be done when it is started again")


def _print_address(safe: bool, folder: Path, made: str, damaged: int) -> None:
    if damaged:
        warn(f"{damaged} jobs cannot be read, and are skipped")
    if not safe:
        warn("anyone who sees the network's traffic can read it; use a proxy with TLS, or an SSH tunnel")
    out.print(f"jobs      {escape(str(folder))}")
    if made:
        out.print(f"token     {made}   (kept in {escape(str(folder / 'token'))}; it is not shown again)")
