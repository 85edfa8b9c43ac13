"""A scan of a viewer's segmented by the server's queue and predicting process, and the answer that viewers expect."""

from __future__ import annotations

import json
import secrets
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from osteon.core.files import link_or_copy, read_json, write_json
from osteon.core.labels import Structure
from osteon.formats.io import read_structures
from osteon.formats.registry import suffix_of
from osteon.serving.click_tasks import ClickTask, write_click_task
from osteon.serving.dispatcher import DispatcherGroup
from osteon.serving.job_record import FINISHED
from osteon.serving.jobs import CASE_JSON, RESULT, RESULT_JSON, SCAN
from osteon.serving.monailabel.datastore import Datastore
from osteon.serving.monailabel.forms import incoming_form
from osteon.serving.monailabel.sessions import Sessions
from osteon.serving.uploads import name_or_unpack
from osteon.web.http_errors import RejectedError

Output = Literal["all", "image", "json", "dicom_seg"]
POLL_S = 0.05
"""How often is looked whether a scan is done."""
_MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Inference:
    """What segments scans for viewers.

    Attributes:
        dispatchers: Of the server: the queue, and the processes that predict.
        datastore: In which ids of images are.
        sessions: Those of the server.
        max_upload: Bytes of a request.
    """

    dispatchers: DispatcherGroup
    datastore: Datastore
    sessions: Sessions
    max_upload: int

    async def answer(
        self,
        request: Request,
        image: str,
        session_id: str,
        output: Output,
        read_clicks: Callable[[dict[str, Any]], ClickTask | None],
        model: str,
    ) -> Response:
        """Segment a scan: the file of the form, else the session's, else the dataset's image. Nothing of it is kept.

        Args:
            request: With a form.
            image: A case's id, and `session_id` a session's; empty where there is none.
            session_id: See `image`.
            output: What is answered with.
            read_clicks: Gives the points of the form's `params`, or None where it has none and needs none.
            model: The name of the one whose process answers.

        Raises:
            RejectedError: 404, there is no such image or session; 422, there is none at all, or it cannot be
                segmented; 503, the server ends before it is; and as `incoming_form`.
        """
        queue = self.dispatchers.queue
        async with incoming_form(request, queue, self.max_upload, model) as (folder, form):
            sent, clicks = form.file("file"), await to_thread.run_sync(read_clicks, form.params)
            await to_thread.run_sync(self._place_scan, folder, sent and sent[0], image, session_id)
            for path, _ in (file for files in form.files.values() for file in files):
                path.unlink(missing_ok=True)  # a label (scribbles) is of no use to the model
            forms = ("dicom-seg",) if output == "dicom_seg" else ()
            if output in ("all", "image") and form.params.get("result_extension") == ".seg.nrrd":
                forms = ("seg-nrrd",)
            if clicks is not None:
                write_click_task(folder, clicks)
            job = await to_thread.run_sync(queue.submit, folder, forms, model)
        try:
            while (state := queue.get(job.id)).state not in FINISHED:
                if await request.is_disconnected():
                    return Response(status_code=400)  # nobody is there to read it
                if state.state == "queued":  # nobody could fetch it from the next server
                    queue.check_open()
                await anyio.sleep(POLL_S)
            if state.state == "failed":
                raise RejectedError(422, state.error, hint=state.hint)
            return await to_thread.run_sync(_make_answer, queue.store.path(job.id) / RESULT, forms, output)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._forget, job.id)

    def _place_scan(self, folder: Path, sent: Path | None, image: str, session_id: str) -> None:
        """Make `folder`/scan of a file that was sent, a session's scan, or a case."""
        scan = folder / SCAN
        if sent is not None:
            scan.mkdir()
            name_or_unpack(sent.rename(scan / "upload"), self.max_upload)
        elif session_id:
            source = self.sessions.scan(self.sessions.get(session_id))
            shutil.copytree(source, scan, copy_function=lambda a, b: link_or_copy(Path(a), Path(b)))
        elif image:
            dataset, case = self.datastore.case(image)
            write_json(scan / CASE_JSON, {"dataset": str(dataset.folder.resolve()), "case": case.id})
        else:
            raise RejectedError(422, "no image is named, and none is sent", hint="?image=ID, ?session_id=ID or a file")

    def _forget(self, job_id: str) -> None:
        if job_id in self.dispatchers.queue.jobs:
            self.dispatchers.delete(job_id)


def _make_answer(result: Path, forms: tuple[str, ...], output: Output) -> Response:
    """What `output` asks for of a result."""
    facts = read_json(result / RESULT_JSON, "the result")
    mask = result / facts["files"][0]
    params = {
        "label_names": _name_values(read_structures(mask), facts["volumes"]),
        **{key: facts[key] for key in ("confidence", "calibrated", "review", "seen", "seconds") if key in facts},
    }
    if output == "json":
        return JSONResponse(params)
    name, content = f"{secrets.token_hex(8)}{suffix_of(mask)}", mask.read_bytes()
    for form in forms:
        if form in facts["not_made"]:
            raise RejectedError(422, facts["not_made"][form], hint="ask for another output")
        with zipfile.ZipFile(result / f"{form}.zip") as archive:
            made = archive.namelist()[0]
            name, content = f"{secrets.token_hex(8)}{suffix_of(Path(made)) or '.dcm'}", archive.read(made)
    if output == "all":
        return _multipart(params, name, content)
    media_type = "application/dicom" if output == "dicom_seg" else _MEDIA_TYPE
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _name_values(structures: tuple[Structure, ...], measured: dict[str, Any]) -> dict[str, int]:
    """Name → value of each structure, and numbered piece, that the mask shows, by ascending value.

    3D Slicer gives these names, in their order, to the values that it finds: one more would shift all after it.
    """
    pieces = (
        structure.piece(number) if structure.instances else structure
        for structure in structures
        for number in range(len(structure.values))
    )
    found = {piece.name: piece.value for piece in pieces if piece.name in measured}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _multipart(params: dict[str, Any], name: str, content: bytes) -> Response:
    """A form with `params` and the file `image`, as MONAI Label answers."""
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f'{json.dumps(params)}\r\n--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        f"Content-Type: {_MEDIA_TYPE}\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")
