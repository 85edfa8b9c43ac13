"""The routes beside NiceGUI's own: uploads, scenes, pictures, downloads.

URLs hold ids alone; names come in headers, which no log shows.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from osteon.app.drawing.routes import drawing_routes
from osteon.app.uploads import Upload
from osteon.app.workspace import ABOUT, safe_name
from osteon.core.case_records import RECORDS_FOLDER
from osteon.core.errors import OsteonError
from osteon.core.html_pages import page_name, page_number
from osteon.exporting.output_record import FILE_NAME as RECORD
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import PacedBody

if TYPE_CHECKING:
    from osteon.app.state import AppState

CACHED = {"Cache-Control": "private, max-age=3600"}
NOT_FOUND = JSONResponse({"message": "this is no longer here", "hint": "reload the page"}, 404)
REPORT = "report.html"
CHUNK = 1 << 20
"""Bytes of a download that are read at a time."""


def routes(app: AppState) -> list[Route]:
    """All routes, for an application's router."""

    async def start_upload(request: Request) -> Response:
        suffixes = tuple(k.strip().lower() for k in request.headers.get("x-osteon-kinds", "").split(",") if k.strip())
        return JSONResponse({"id": app.uploads.start(suffixes).id})

    async def receive_file(request: Request) -> Response:
        upload = app.uploads.open.get(request.path_params["upload_id"])
        if upload is None:
            return NOT_FOUND
        try:
            return await _receive(upload, request)
        except ClientDisconnect:
            app.uploads.interrupt(upload)
            return JSONResponse({"message": "the upload was broken off", "hint": "upload it again"}, 400)

    async def cancel_upload(request: Request) -> Response:
        app.uploads.cancel(request.path_params["upload_id"])
        return JSONResponse({})

    async def scene_file(request: Request) -> Response:
        name = request.path_params["name"]
        path = app.scene_file(request.path_params["scene_id"], name)
        if path is None:
            return NOT_FOUND
        if name.endswith(".bin"):  # the browser unpacks it
            return FileResponse(
                path, media_type="application/octet-stream", headers=CACHED | {"Content-Encoding": "gzip"}
            )
        kind = "image/png" if name.endswith(".png") else "application/gzip"
        return FileResponse(path, media_type=kind, headers=CACHED | {"Content-Encoding": "identity"})

    async def audit_picture(request: Request) -> Response:
        item = app.workspace.find("datasets", request.path_params["dataset_id"])
        folder = item.path / "audit/cases" if item else None
        if item is None or folder is None or not folder.is_dir():
            return NOT_FOUND
        name = app.find_case(item, (path.stem for path in folder.glob("*.jpg")), request.path_params["case_id"])
        return NOT_FOUND if name is None else FileResponse(folder / f"{name}.jpg", headers=CACHED)

    async def training_sample(request: Request) -> Response:
        item = app.workspace.find("runs", request.path_params["run_id"])
        number = request.path_params["number"]
        path = item.path / "samples" / f"{number}.jpg" if item else None
        return FileResponse(path, headers={"Cache-Control": "no-store"}) if path and path.is_file() else NOT_FOUND

    async def download(request: Request) -> Response:
        item = app.workspace.find("exports", request.path_params["export_id"])
        return NOT_FOUND if item is None else zip_response(item.path, safe_name(item.title), app.workspace.may_read)

    async def report(request: Request) -> Response:
        item = app.workspace.find("exports", request.path_params["export_id"])
        name = request.path_params.get("page", REPORT)
        path = item.path / name if item and page_number(REPORT, name) else None
        if item is None or path is None or not path.is_file():
            return NOT_FOUND
        if "page" not in request.path_params and (item.path / page_name(REPORT, 2)).is_file():
            return RedirectResponse(f"/report/{item.id}/{REPORT}")  # where the names in its links lead to its pages
        return FileResponse(path, media_type="text/html")

    return [
        Route("/api/uploads", start_upload, methods=["POST"]),
        Route("/api/uploads/{upload_id}/files", receive_file, methods=["POST"]),
        Route("/api/uploads/{upload_id}", cancel_upload, methods=["DELETE"]),
        Route("/v/{scene_id}/{name}", scene_file),
        Route("/p/{dataset_id}/{case_id}", audit_picture),
        Route("/s/{run_id}/{number:int}", training_sample),
        Route("/d/{export_id}", download),
        Route("/report/{export_id}", report),
        Route("/report/{export_id}/{page}", report),
        *drawing_routes(app),
    ]


async def _receive(upload: Upload, request: Request) -> Response:
    try:
        name = unquote(request.headers.get("x-osteon-name", ""), errors="strict")
        await upload.receive(name, PacedBody(request.stream()))
    except OsteonError as error:
        status = error.status if isinstance(error, RejectedError) and error.status in (408, 413) else 422
        return JSONResponse({"message": error.message, "hint": error.hint}, status)
    except UnicodeDecodeError:
        return JSONResponse({"message": "a file's name is not written in UTF-8", "hint": "rename the file"}, 400)
    return JSONResponse({"bytes": upload.received.size})


def zip_response(folder: Path, name: str, may_read: Callable[[Path], bool]) -> Response:
    """A folder's files as one download: a lone file as it is, more of them as a zip that is made while it is sent."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (RECORD, ABOUT) and may_read(path)
        if RECORDS_FOLDER not in path.relative_to(folder).parts
    ]
    if not files:
        return NOT_FOUND
    single = len(files) == 1
    file_name = files[0].name if single else f"{name}.zip"
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name)}",
        "Content-Encoding": "identity",
        "Cache-Control": "no-store",
    }
    if single:
        return FileResponse(files[0], media_type="application/octet-stream", headers=headers)
    return StreamingResponse(_zip(folder, files), media_type="application/zip", headers=headers)


class _ZipBuffer(io.RawIOBase):
    """What a zip is written into, in pieces that are handed on."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.buffer += data
        return len(data)

    def pop(self) -> bytes:
        data, self.buffer = bytes(self.buffer), bytearray()
        return data


def _zip(folder: Path, files: list[Path]) -> Iterator[bytes]:
    buffer = _ZipBuffer()
    with zipfile.ZipFile(cast(IO[bytes], buffer), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            entry = zipfile.ZipInfo.from_file(file, file.relative_to(folder).as_posix())
            entry.compress_type = zipfile.ZIP_STORED if file.suffix == ".gz" else zipfile.ZIP_DEFLATED
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield buffer.pop()
    yield buffer.pop()
