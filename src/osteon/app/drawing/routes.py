"""The routes below a drawing page's address; docs/drawing.md lists them."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from osteon.app.dataset_edits import add_structure, correct_structures
from osteon.app.drawing.clicks import answer_points, click_models, click_tools
from osteon.app.drawing.drafts import remove_draft
from osteon.app.drawing.labels import (
    DrawnLabel,
    conflict_answer,
    describe_case,
    keep_label_draft,
    names_of,
    read_draft_label,
    read_label,
    read_prediction,
    restore_version,
    save_drawing,
)
from osteon.app.drawing.transfer import Drawing, entries_from
from osteon.app.results import result_files
from osteon.app.workspace import Item, read_about
from osteon.core.errors import ConflictError, DiskFullError, OsteonError
from osteon.dataset.case_history import read_history
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import PacedBody
from osteon.web.uploads import ByteCounter, write_body

if TYPE_CHECKING:
    from osteon.app.state import AppState

BASE = "/look/{dataset_id}/{case_id}/draw"
ENTRIES, SHAPE, ABOUT = "X-Osteon-Entries", "X-Osteon-Shape", "X-Osteon-Draft"
"""Headers of a drawing: `[[name, value], …]` and what is known of a draft, as JSON with what is not ASCII escaped as in
addresses; and the length of each axis."""
LONGEST_AUTHOR, LONGEST_NAME, LONGEST_TEXT = 80, 120, 500
MAX_JSON, MAX_CLICK_JSON = 64_000, 8_000_000
MAX_VOXELS = 2 * 1024**3
"""Of a drawing: as many as a scan of 1,000 slices of 1,448 × 1,448."""
INCOMING = "cache/drawings"
"""In the workspace: what is coming in."""
Handler = Callable[[Request, Item, str], Awaitable[Response]]


def drawing_routes(app: AppState) -> list[Route]:
    """All of them, for an application's router."""

    def route(path: str, method: str, handler: Handler) -> Route:
        async def guarded(request: Request) -> Response:
            return await _answer(app, request, handler)

        return Route(BASE + path, guarded, methods=[method])

    async def state(_: Request, item: Item, case: str) -> Response:
        described = await app.reader.run(describe_case, item.path, case)
        found = [{"id": result.id, "title": result.title} for result, _ in predictions_of(app, item, case)]
        tools = await asyncio.to_thread(click_tools, runs())
        return JSONResponse(described | {"results": found, "tools": tools}, headers=_FRESH)

    async def label(request: Request, item: Item, case: str) -> Response:
        version, about = request.query_params.get("version", ""), dict[str, Any]()
        if version == "draft":
            drawing, about = await app.reader.run(read_draft_label, item.path, case, _author(request))
        elif version == "result":
            results = {result.id: path for result, path in predictions_of(app, item, case)}
            path = results.get(request.query_params.get("result", ""))
            if path is None:
                raise RejectedError(404, "this result is no longer here", hint="reload the page")
            drawing = await app.reader.run(read_prediction, item.path, case, path)
        else:
            drawing = await app.reader.run(read_label, item.path, case, _number(version, "version"))
        return _drawing_response(drawing, about)

    async def draft(request: Request, item: Item, case: str) -> Response:
        async with _received(app, request, item, case) as drawn:
            return JSONResponse(await app.reader.run(keep_label_draft, item.path, case, drawn))

    async def drop_draft(request: Request, item: Item, case: str) -> Response:
        await app.reader.run(remove_draft, item.path, case, _author(request))
        return JSONResponse({})

    async def save(request: Request, item: Item, case: str) -> Response:
        async with _received(app, request, item, case) as drawn:
            version = await app.reader.run(save_drawing, item.path, case, drawn)
        return JSONResponse(version | {"version": version["number"]}, 201)

    async def restore(request: Request, item: Item, case: str) -> Response:
        data = await _json(request)
        number, base = (_number(data.get(key), key) for key in ("number", "base"))
        author = _text(data.get("author"), LONGEST_AUTHOR) or "somebody"
        return JSONResponse(await app.reader.run(restore_version, item.path, case, number, author, base))

    async def structures(request: Request, item: Item, case: str) -> Response:
        data = await _json(request)
        name, fresh = (_text(data.get(key), LONGEST_NAME) for key in ("name", "rename"))
        colour = data.get("colour")
        if colour is not None and not (isinstance(colour, str) and re.fullmatch("#[0-9a-fA-F]{6}", colour)):
            raise RejectedError(422, "the colour is none", hint="choose another")
        if data.get("add"):
            await app.reader.run(add_structure, item.path, name, colour)
        else:
            known = await app.reader.run(describe_case, item.path, case)
            if name not in {structure["name"] for structure in known["structures"]}:
                raise RejectedError(422, "this structure is no longer there", hint="reload the page")
            names, colours = {name: fresh} if fresh else {}, {} if colour is None else {name: colour}
            await app.reader.run(correct_structures, item.path, names, colours)
        return await state(request, item, case)

    async def click(request: Request, item: Item, case: str) -> Response:
        asked, models = await _json(request, MAX_CLICK_JSON), await asyncio.to_thread(click_models, runs())
        return JSONResponse(await app.reader.run(answer_points, item.path, case, asked, models), headers=_FRESH)

    def runs() -> list[tuple[str, str, Path]]:
        return [(run.id, run.title, run.path) for run in app.models()]

    async def presence(request: Request, item: Item, case: str) -> Response:
        data = await _json(request)
        page = _text(data.get("page"), 64)
        if data.get("leaving"):
            app.presence.left(page)
            return JSONResponse({})
        others = app.presence.seen(page, f"{item.id}/{case}", _text(data.get("author"), LONGEST_AUTHOR))
        history = read_history(item.path, case)
        author = history.version.author if history.version is not None else ""
        return JSONResponse({"others": others, "current": history.current, "author": author}, headers=_FRESH)

    return [
        route("/state", "GET", state),
        route("/versions", "GET", state),
        route("/label", "GET", label),
        route("/label", "POST", save),
        route("/draft", "PUT", draft),
        route("/draft", "DELETE", drop_draft),
        route("/restore", "POST", restore),
        route("/structures", "POST", structures),
        route("/presence", "POST", presence),
        route("/click", "POST", click),
    ]


def predictions_of(app: AppState, item: Item, case: str) -> list[tuple[Item, Path]]:
    """The results that have a label of a dataset's case, the newest first, each with its file."""
    found = []
    for result in app.workspace.items("results"):
        if read_about(result).get("dataset") == item.name and (path := result_files(result).get(case)) is not None:
            found.append((result, path))
    return found


def remove_incoming(app: AppState) -> None:
    """Remove what a killed server was receiving."""
    shutil.rmtree(app.workspace.root / INCOMING, ignore_errors=True)


_FRESH = {"Cache-Control": "no-store"}


async def _answer(app: AppState, request: Request, handler: Handler) -> Response:
    try:
        item, case = await asyncio.to_thread(_find, app, request)
    except OsteonError as error:
        return JSONResponse({"message": error.message, "hint": error.hint}, 404)
    try:
        return await handler(request, item, case)
    except ConflictError as error:
        return JSONResponse(conflict_answer(item.path, case, error), 409)
    except ClientDisconnect:
        return JSONResponse({"message": "the upload was broken off", "hint": "save it again"}, 400)
    except OsteonError as error:
        status = error.status if isinstance(error, RejectedError) else 507 if isinstance(error, DiskFullError) else 422
        return JSONResponse({"message": error.message, "hint": error.hint}, status)


def _find(app: AppState, request: Request) -> tuple[Item, str]:
    found = app.find_dataset_case(request.path_params["dataset_id"], request.path_params["case_id"])
    case = found.dataset.case(found.name)
    for path in (*case.images, *([case.segmentation] if case.segmentation else [])):
        app.workspace.check_readable(found.dataset.resolve(path))
    return found.item, found.name


@asynccontextmanager
async def _received(app: AppState, request: Request, item: Item, case: str) -> AsyncIterator[DrawnLabel]:
    """What a request says of a drawing, its body in a file that is removed afterwards."""
    query = request.query_params
    entries = entries_from(_header_json(request, ENTRIES))
    kind = query.get("kind", "correction")
    if kind not in ("correction", "second reading"):
        raise RejectedError(422, "a drawing is saved as a correction or as a second reading", hint="reload the page")
    described = await app.reader.run(describe_case, item.path, case)
    given = [part for part in request.headers.get(SHAPE, "").split(",") if part]
    if given != [str(length) for length in described["shape"]]:
        text = "×".join(map(str, described["shape"]))
        raise RejectedError(422, f"the drawing is of another size than the scan, {text}", hint="reload the page")
    raw = 1
    for length in described["shape"]:
        raw *= length
    if raw > MAX_VOXELS:
        raise RejectedError(413, f"the scan has more than {MAX_VOXELS:,} voxels", hint="draw on a smaller part of it")
    raw *= 4 * (-(-max(len(entries), 1) // 32)) if described["kind"] == "picture" else 1
    counter = ByteCounter(raw + raw // 500 + 4096, "a drawing never takes more than its voxels do")
    folder = app.workspace.root / INCOMING
    folder.mkdir(exist_ok=True, mode=0o700)
    path = folder / f"{secrets.token_hex(12)}.gz"
    try:
        await write_body(PacedBody(request.stream()), path, counter.add)
        yield DrawnLabel(
            path,
            entries,
            _author(request),
            _number(query.get("base"), "base"),
            _seconds(query.get("seconds", "0")),
            _text(query.get("what"), LONGEST_TEXT),
            tuple(_text(name, LONGEST_TEXT) for name in query.getlist("looked_for")),
            "second reading" if kind == "second reading" else "correction",
        )
    finally:
        path.unlink(missing_ok=True)


def _drawing_response(drawing: Drawing, about: dict[str, Any]) -> Response:
    headers = {ENTRIES: quote(json.dumps(names_of(drawing.entries))), "Content-Encoding": "gzip", **_FRESH}
    if about:
        headers[ABOUT] = quote(json.dumps(about))
    return Response(drawing.body, media_type="application/octet-stream", headers=headers)


def _header_json(request: Request, name: str) -> Any:
    try:
        return json.loads(unquote(request.headers.get(name, ""), errors="strict"))
    except (ValueError, RecursionError):
        return None


async def _json(request: Request, most: int = MAX_JSON) -> dict[str, Any]:
    body = bytearray()
    async for chunk in PacedBody(request.stream()):
        body += chunk
        if len(body) > most:
            raise RejectedError(413, "the request is too long", hint="reload the page")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise RejectedError(422, "the request is no JSON object", hint="reload the page")
    return data


def _author(request: Request) -> str:
    return _text(request.query_params.get("author"), LONGEST_AUTHOR) or "somebody"


def _text(value: Any, longest: int) -> str:
    """What somebody wrote, in one line."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", value).strip()[:longest] if isinstance(value, str) else ""


def _number(value: Any, name: str) -> int:
    text = str(value) if type(value) in (int, str) else ""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise RejectedError(422, f"{name} does not number a version", hint="reload the page")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
