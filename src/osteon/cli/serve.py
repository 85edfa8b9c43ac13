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


def serve(
    model: Annotated[
        Path, typer.Argument(help="A model folder, the run that made it, or hf:ORGANISATION/NAME@COMMIT.")
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
    queue: Annotated[int, typer.Option(min=1, help="Limit for current uploads and waiting jobs together.")] = 32,
    max_upload: Annotated[str, typer.Option(help="The largest upload, as 2GB.")] = "2GB",
    keep: Annotated[
        str, typer.Option(help="How long jobs are kept when they are over, while the server runs: 7d, 12h.")
    ] = "7d",
    keep_size: Annotated[
        str | None, typer.Option(help="What they may take on the disk, as 50GB: beyond, the oldest go.")
    ] = None,
    job_limit: Annotated[str, typer.Option(help="How long a job may take: 30min, 90s; then it fails.")] = "30min",
    max_voxels: Annotated[int, typer.Option(min=1, help="Voxels of the largest scan that is taken.")] = 10**9,
    speed: Annotated[str, typer.Option(help="As osteon predict has it: fast, balanced, best.")] = "balanced",
    postprocess: Annotated[str, typer.Option(help="As osteon predict has it.")] = "auto",
    engine: Annotated[str, typer.Option(help="What runs the network; auto: as `osteon doctor MODEL` measured.")] = (
        "torch"
    ),
    memory: Annotated[str | None, typer.Option(help="Memory limit for a scan, such as 4GB.")] = None,
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
    """Put a model behind HTTP: send a scan, ask how far it is, fetch the mask."""
    if any(find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise UsageError("the server is not installed", hint="pip install 'osteon[serve]'")
    if (protocol == "monailabel") != (dataset is not None) or (dataset is None and click_model is not None):
        raise UsageError(
            "--protocol monailabel and --dataset belong together, and --click-model needs both",
            hint="osteon serve MODEL --protocol monailabel --dataset DATASET",
        )
    parse_seconds(train_budget)
    from osteon.serving.guard import find_token
    from osteon.serving.jobs import JobQueue
    from osteon.serving.predictor import Dispatcher, start_predictor
    from osteon.serving.server import Labelling, create_server, hold_jobs_folder, read_tls
    from osteon.serving.worker import ServedModel
    from osteon.web.address import ServerAddress

    limit = None if memory is None else parse_bytes(memory)
    served = ServedModel(model, speed, engine, postprocess, device, limit, max_voxels, click_model)
    address, tls = ServerAddress(host, port), read_tls(tls_cert, tls_key)
    most_bytes, keep_s, limit_s = parse_bytes(max_upload), parse_seconds(keep), parse_seconds(job_limit)
    with hold_jobs_folder(folder):
        address.check()
        token, made = find_token(token_file, os.environ.get("OSTEON_TOKEN", ""), folder, local=address.local)
        jobs = JobQueue(folder, queue)
        predictor = start_predictor(served)
        if dataset is None and predictor.facts["interactive"]:
            predictor.kill()
            raise UsageError(
                f"{model}: answers clicks, and finds nothing by itself",
                hint="osteon serve MODEL --protocol monailabel --dataset DATASET",
            )
        most_kept = None if keep_size is None else parse_bytes(keep_size)
        dispatcher = Dispatcher(jobs, predictor, keep_s, limit_s, most_kept)
        labelling = None if dataset is None else Labelling(folder, dataset, train_budget)
        server = create_server(dispatcher, address, token, most_bytes, labelling, tls)
        _print_address(address.local or tls is not None, folder, token if made else "", jobs.damaged)
        out.print(f"listening {escape(address.url(tls=tls is not None))}")
        out.print("stop      Ctrl-C; waiting jobs are done when it is started again")
        server.run()
        dispatcher.stop()


def _print_address(safe: bool, folder: Path, made: str, damaged: int) -> None:
    if damaged:
        warn(f"{damaged} jobs cannot be read, and are skipped")
    if not safe:
        warn("anyone who sees the network's traffic can read it; use a proxy with TLS, or an SSH tunnel")
    out.print(f"jobs      {escape(str(folder))}")
    if made:
        out.print(f"token     {made}   (kept in {escape(str(folder / 'token'))}; it is not shown again)")
