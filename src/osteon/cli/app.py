"""`osteon app`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import info, out, warn
from osteon.core.errors import UsageError
from osteon.core.quantities import parse_bytes


def app(
    workspace: Annotated[
        Path, typer.Option(help="The folder in which everything is kept; nothing outside it is read or written.")
    ] = Path("osteon-workspace"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8080,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine's own need the token.")
    ] = "127.0.0.1",
    data: Annotated[
        list[Path] | None, typer.Option(help="A folder outside the workspace that may be read, too; repeatable.")
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="Ask for the token on this machine, too: others work on it.")
    ] = False,
    upload_limit: Annotated[str, typer.Option(help="Largest upload, after unpacking.")] = "20GB",
    archives: Annotated[
        Path | None, typer.Option(help="YAML file that names the archives (PACS) of the pages: docs/app.md.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Prepare data, train, segment, look and compare in a browser, on this machine."""
    if find_spec("nicegui") is None:
        raise UsageError("the browser app is not installed", hint="pip install 'osteon[app]'")
    from osteon.app.archives import read_archives
    from osteon.app.server import access_rules, page_url, serve
    from osteon.app.state import AppState
    from osteon.app.views import NIIVUE_HINT, has_niivue, why_no_niivue
    from osteon.app.workspace import Workspace
    from osteon.web.address import ServerAddress

    address = ServerAddress(host, port)
    address.check()
    known = {} if archives is None else read_archives(archives)
    opened = Workspace.open(workspace, tuple(data or ()))
    rules = access_rules(opened, address, ask_token=token)
    if not has_niivue():
        warn(f"slices and 3D cannot be shown: {escape(why_no_niivue())}")
        info(f"  → {escape(NIIVUE_HINT)}")
    if not address.local:
        warn("the connection is not encrypted, and others on the network can read it; use an SSH tunnel")
    out.print(f"workspace {escape(str(opened.root))}")
    out.print(f"open      {escape(page_url(address, rules))}")
    out.print("stop      Ctrl-C; jobs continue without it")
    state = AppState(opened, parse_bytes(upload_limit), archives=known)
    serve(state, address, rules, show=not no_browser and address.local)
