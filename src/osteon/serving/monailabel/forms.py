"""What MONAI Label's clients send: JSON, and forms with files (multipart/form-data, RFC 7578) that lie on the disk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request

from osteon.core.files import write_error
from osteon.serving.jobs import JobQueue
from osteon.serving.upload_slots import incoming_upload
from osteon.serving.uploads import announced_length, count_bytes
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import PacedBody
from osteon.web.uploads import BUFFER_BYTES, MOST_FILES, ByteCounter, write_body

MOST_TEXT = 1 << 20
"""Bytes of JSON, and of a field that is no file."""


@dataclass(frozen=True)
class Form:
    """A form that was received.

    Attributes:
        fields: Name → text.
        files: Name → files on the disk, each with the name that the client gave it.
    """

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        """The field `params`. Raises RejectedError (422) where it is not a JSON object."""
        return parse_object(self.fields.get("params", "{}"), "params")

    def file(self, name: str) -> tuple[Path, str] | None:
        """The first file of that name; None where there is none."""
        return next(iter(self.files.get(name, ())), None)


@asynccontextmanager
async def incoming_form(
    request: Request, queue: JobQueue, limit: int, model: str = ""
) -> AsyncIterator[tuple[Path, Form]]:
    """A form, and the folder in which its files lie, which is removed afterwards; it holds a place of the queue.

    Args:
        request: That brings it.
        queue: Of the server.
        limit: Bytes that it may have.
        model: Whose queue it is.

    Raises:
        RejectedError: 408, 413, 422, 429, 503, 507.
        FileError: It cannot be written.
    """
    length = announced_length(request.headers, limit)
    async with incoming_upload(request, partial(queue.incoming, model=model)) as (folder, body):
        path = folder / "form"
        try:
            await write_body(body, path, count_bytes(limit), announced=length)
            form = await to_thread.run_sync(split_form, path, folder)
        except OSError as error:
            raise write_error(Path("the upload"), error) from error
        yield folder, form


def split_form(path: Path, folder: Path) -> Form:
    """The parts of a form; its files are written into the folder, and the form is removed.

    Its first line is the boundary: MONAI Label's client may send the header of an earlier request.

    Raises:
        RejectedError: 422 where it is none.
    """
    form = Form()
    if path.stat().st_size:
        with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            for number, (head, start, stop) in enumerate(_parts(data)):
                _add_part(form, head, data, (start, stop), folder / f"part-{number}")
    path.unlink()
    return form


def _parts(data: mmap) -> Iterator[tuple[bytes, int, int]]:
    """The head of each part, and where its content begins and ends."""
    boundary = data[: max(0, data.find(b"\r\n", 0, 200))]
    if not boundary.startswith(b"--"):
        raise _broken("begins without a boundary")
    at, last, count = len(boundary), False, 0
    while not last:
        stop = data.find(b"\r\n" + boundary, at)
        head_stop = data.find(b"\r\n\r\n", at, stop)
        if stop < 0 or head_stop < 0:
            raise _broken("ends within a part")
        if count == MOST_FILES or head_stop - at > MOST_TEXT:
            raise _broken(f"has more than {MOST_FILES:,} parts, or a long head")
        yield data[at + 2 : head_stop + 2], head_stop + 4, stop
        at, count = stop + 2 + len(boundary), count + 1
        last = data[at : at + 2] == b"--"


def _add_part(form: Form, head: bytes, data: mmap, span: tuple[int, int], path: Path) -> None:
    headers, (start, stop) = BytesHeaderParser().parsebytes(head), span
    name, file_name = headers.get_param("name", header="content-disposition"), headers.get_filename()
    if not isinstance(name, str):
        raise _broken("has a part without a name")
    if file_name is not None:
        with path.open("xb") as out:
            for begin in range(start, stop, BUFFER_BYTES):
                out.write(data[begin : min(stop, begin + BUFFER_BYTES)])
        form.files.setdefault(name, []).append((path, file_name))
    elif stop - start > MOST_TEXT:
        raise RejectedError(413, f"{name}: more than {MOST_TEXT:,} bytes of text", hint="send it as a file")
    else:
        form.fields[name] = data[start:stop].decode("utf-8", errors="replace")


def _broken(problem: str) -> RejectedError:
    return RejectedError(422, f"the form {problem}", hint="send multipart/form-data, as MONAI Label's clients do")


async def receive_object(request: Request) -> dict[str, Any]:
    """The body of a request, a JSON object; empty where there is no body. Raises RejectedError: 408, 413, 422."""
    counter, text = ByteCounter(MOST_TEXT, "send the values alone"), bytearray()
    async for chunk in PacedBody(request.stream()):
        counter.add(len(chunk))
        text += chunk
    return parse_object(text.decode("utf-8", errors="replace"), "the body")


def parse_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object; an empty one of no text. Raises RejectedError (422) where `text` is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RejectedError(422, f"{what}: not a JSON object", hint='send {"key": value}')
    return found


def client_name(params: dict[str, Any]) -> str:
    """Who sends a request, as it says itself: one printable line."""
    name = "".join(filter(str.isprintable, str(params.get("client_id") or "")))[:100].strip()
    return name or "MONAI Label"
