"""`osteon weights`: what pre-trained encoders start from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import info, out, plain_table, warn
from osteon.cli.shared_options import with_quiet_option
from osteon.core.errors import OsteonError
from osteon.core.progress import status
from osteon.core.quantities import format_bytes

app = typer.Typer(
    help="Weights of pre-trained encoders: list them, fetch them, check them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("list")
def list_(
    part: Annotated[str, typer.Argument(help="Only encoders whose name holds this.")] = "",
    here: Annotated[bool, typer.Option("--here", help="Only those that are on this machine.")] = False,
) -> None:
    """Encoders, where their weights lie, under which licence, and whether they are here."""
    from osteon.networks.encoder_registry import UNKNOWN
    from osteon.networks.encoder_sources import published
    from osteon.networks.weight_cache import cache_folder, cached_path, locked

    lock = locked()
    table = plain_table(("encoder", "source", "commit", "licence", "here"))
    limited = False
    for source in published():
        path = cached_path(source)
        if part not in source.encoder or (here and path is None):
            continue
        limited |= not source.commercial
        revision = source.revision or lock.get(source.name, {}).get("revision")
        table.add_row(
            source.encoder,
            source.repository,
            revision[:8] if revision else "first fetch",
            escape(source.licence) if source.commercial else f"[yellow]{escape(source.licence)}[/]",
            format_bytes(path.stat().st_size) if path else "no",
        )
    out.print(table if table.row_count else "none", soft_wrap=False)
    info(f"kept in {escape(str(cache_folder()))}")
    info(f"{UNKNOWN}: the source names no licence; any other encoder of timm is tu-NAME")
    if limited:
        warn("non-commercial: not for a product, nor for a model that goes into one")


@app.command()
@with_quiet_option
def fetch(
    names: Annotated[list[str], typer.Argument(help="Encoders: resnet34, tu-resnest50d_4s2x40d …")],
    weights: Annotated[str, typer.Option(help="Which of their weights.")] = "imagenet",
    again: Annotated[bool, typer.Option("--again", help="Fetch what is here, too.")] = False,
) -> None:
    """Fetch encoders' weights, so that training needs no network."""
    from osteon.networks.encoder_sources import source_of
    from osteon.networks.weight_cache import cache_folder, cached_path, check, fetch

    for source in [source_of(name, weights) for name in names]:
        if not source.commercial:
            warn(f"{source.encoder}: {escape(source.licence)}")
        path = cached_path(source)
        if path is not None and path.is_relative_to(cache_folder()) and not again:
            check(source, path)
            out.print(f"{source.encoder}: is here already")
            continue
        with status(f"fetching {source.encoder}"):
            path = fetch(source)
        out.print(f"{source.encoder}: {format_bytes(path.stat().st_size)}, {escape(str(path))}")


@app.command()
def verify() -> None:
    """Compare the weights that are here with the hashes they were fetched with; exit code 1 where one differs."""
    from osteon.networks.weight_cache import verify

    results = verify()
    for name, error in results.items():
        if error is None:
            out.print(f"{escape(name)}: as fetched")
            continue
        info(f"[red]{escape(name)}: {escape(error.message)}[/]")
        info(f"  → {escape(error.hint)}")
    if not results:
        out.print("there are no weights on this machine")
    if any(isinstance(error, OsteonError) for error in results.values()):
        raise typer.Exit(1)
