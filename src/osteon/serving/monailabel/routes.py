"""The routes that MONAI Label's clients call."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse
from starlette.responses import Response

from osteon.serving.descriptions import Problem, problems
from osteon.serving.guard import OPEN_PATHS
from osteon.serving.jobs import SCAN
from osteon.serving.monailabel.datastore import FINAL
from osteon.serving.monailabel.forms import Form, client_name, incoming_form, receive_object
from osteon.serving.monailabel.inference import Inference, Output
from osteon.serving.monailabel.label_server import LabelServer
from osteon.serving.monailabel.strategies import STRATEGIES
from osteon.serving.uploads import detect_suffix, name_or_unpack
from osteon.web.guard import secrets_match
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import PacedBody

MONAILABEL_OPEN_PATHS = (*OPEN_PATHS, "/auth/", "/auth/token")
"""What is answered without a token: whether one is needed, and the exchange of a password for one."""
_TAG = "MONAI Label"
Image = Annotated[str, Query(description="a case of the dataset", max_length=200)]
_JSON = {"content": {"application/json": {"schema": {"type": "object"}}}}


def _form(**files: bool) -> dict[str, Any]:
    """The description of a form: its files, each with whether it is needed."""
    binary = {"type": "string", "format": "binary"}
    properties = {"params": {"type": "string", "description": "JSON"}} | dict.fromkeys(files, binary)
    schema = {"type": "object", "properties": properties, "required": [name for name, need in files.items() if need]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, in this protocol's words."""
    own = {404: _NO_SUCH, 409: "It is there already, or has changed meanwhile."}
    return {
        401: problems(401)[401],
        422: {"model": Problem, "description": "The request makes no sense, or what was sent cannot be taken."},
        **{
            code: {"model": Problem, "description": own[code]} if code in own else problems(code)[code]
            for code in codes
        },
    }


_NO_SUCH = "There is no such model, strategy, image, label or session, or no training runs."
_RECEIVING = (408, 413, 415, 429, 503, 507)


def monailabel_routes(server: LabelServer) -> APIRouter:
    """All routes."""
    router = APIRouter(tags=[_TAG])
    for add in (_add_access, _add_models, _add_datastore, _add_sessions, _add_training):
        add(router, server)
    return router


def _add_access(router: APIRouter, server: LabelServer) -> None:
    token = server.rules.token

    @router.get("/info/", responses=_problems())
    def info() -> dict[str, Any]:
        """Models, labels, strategies, trainers, and how far the labelling is."""
        return server.info()

    @router.get("/auth/")
    def auth() -> dict[str, Any]:
        """Whether a token is needed."""
        return {"enabled": bool(token), "client_id": "osteon", "realm": "osteon"}

    @router.post("/auth/token", responses=problems(401, 408, 413), openapi_extra={"requestBody": _LOGIN})
    async def log_in(request: Request) -> dict[str, Any]:
        """The token for the password, which is the token itself; the user's name may be any."""
        text = bytearray()
        async for chunk in PacedBody(request.stream()):
            text += chunk
            if len(text) > _MOST_LOGIN:
                raise RejectedError(413, "the request is too long", hint="send username and password")
        given = parse_qs(text.decode("utf-8", errors="replace")).get("password", [""])[0]
        if not secrets_match(given, token):
            raise RejectedError(401, "the password is wrong", hint="the password is the server's token")
        return {"access_token": token, "token_type": "bearer"}

    @router.get("/auth/token/valid", responses=problems(401))
    def check_token() -> dict[str, Any]:
        """Whether the token that comes along is the right one: else the answer is 401."""
        return {"username": "osteon", "enabled": bool(token)}


_MOST_LOGIN = 10_000
_LOGIN = {
    "required": True,
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {"type": "object", "properties": {"username": {"type": "string"}, "password": {"type": "string"}}}
        }
    },
}


def _add_models(router: APIRouter, server: LabelServer) -> None:
    inference = Inference(server.dispatchers, server.datastore, server.sessions, server.max_upload)

    @router.post("/activelearning/{strategy}", responses=_problems(404, 408, 413), openapi_extra={"requestBody": _JSON})
    async def next_sample(strategy: str, request: Request) -> dict[str, Any]:
        """A scan without a label: its id, name, checksum, for viewers on this machine its path, and why; or nothing."""
        row = STRATEGIES.get(strategy)
        if row is None:
            raise RejectedError(404, "there is no such strategy", hint=f"there are {', '.join(STRATEGIES)}")
        await receive_object(request)

        def choose() -> dict[str, Any]:
            dataset, cases = server.datastore.unlabelled()
            if not cases:
                return {}
            case, why = row.choose(dataset, cases)
            sample = server.datastore.sample(case, dataset, local=server.rules.local)
            return sample | ({"why": why} if why else {})

        return await to_thread.run_sync(choose)

    @router.post(
        "/infer/{model}",
        response_class=Response,
        responses=_problems(404, *_RECEIVING),
        openapi_extra=_form(file=False, label=False),
    )
    async def infer(
        model: str, request: Request, image: Image = "", session_id: str = "", output: Output = "all"
    ) -> Response:
        """Segment an image of the dataset, a session's, or one that is sent along; or answer points in it.

        Of models of the type deepgrow, `params` has the points: `foreground` and `background` (`[[i, j, k], …]`, the
        scan's own voxels) and the structure's name as `label`; or a list for each structure, under its name.

        `all` answers with a form: `params` (JSON: label_names as the mask has them, confidence, reasons to look at it)
        and the file `image`; `image`, `json` and `dicom_seg` with one of these, or with a DICOM SEG of a scan that is
        DICOM.
        """
        dispatcher, _ = server.find_model(model)
        clicks = partial(server.read_clicks, model)
        return await inference.answer(request, image, session_id, output, clicks, dispatcher.model)


def _add_datastore(router: APIRouter, server: LabelServer) -> None:
    store = server.datastore

    @router.get("/datastore/", responses=_problems())
    def datastore(output: Literal["stats", "all"] = "stats") -> dict[str, Any]:
        """How many images and labels there are; all: each of them."""
        return store.objects() if output == "all" else store.statistics()

    @router.get("/datastore/image", response_class=FileResponse, responses=_problems(404))
    def image(image: Image) -> FileResponse:
        """The file of an image; of its first channel, where each has a file."""
        path = store.image(image)
        return FileResponse(path, filename=store.case(image)[1].id + detect_suffix(path))

    @router.put("/datastore/", responses=_problems(404, 409, *_RECEIVING), openapi_extra=_form(file=True))
    @router.put("/datastore/image", responses=_problems(404, 409, *_RECEIVING), openapi_extra=_form(file=True))
    async def add_image(request: Request, image: Image = "") -> dict[str, Any]:
        """Add a scan to the dataset, under an id that is not there yet."""
        async with incoming_form(request, server.dispatchers.queue, server.max_upload) as (_, form):
            path, name = _one_file(form, "file")
            image_id = image or PureWindowsPath(name).name.split(".")[0]
            author = client_name(form.params)
            return {"image": await to_thread.run_sync(store.add_image, image_id, path, author)}

    @router.put("/datastore/label", responses=_problems(404, 409, *_RECEIVING), openapi_extra=_form(label=True))
    async def save_label(
        request: Request, image: Image, tag: Annotated[str, Query(description="final", max_length=100)] = ""
    ) -> dict[str, Any]:
        """Keep a label as the newest version; none is replaced.

        `params` may have `label_info` (`[{"name": …, "idx": …}]`: what its values mean), `client_id` (who it is from)
        and `version` (the one that it was made from: 409 where a newer one is there).
        """
        if tag not in ("", FINAL):
            raise RejectedError(422, f"labels are kept under the tag {FINAL}", hint="leave out the tag")
        async with incoming_form(request, server.dispatchers.queue, server.max_upload) as (_, form):
            path, _name = _one_file(form, "label")
            params = form.params
            base = params.get("version")
            if base is not None and (type(base) is not int or base < 0):
                raise RejectedError(422, "version: not a number from 0 on", hint="GET /datastore/?output=all says it")

            def save() -> int:
                info = params.get("label_info")
                return store.save_label(image, path, client_name(params), label_info=info, base=base)

            return {"image": image, "label": image, "version": await to_thread.run_sync(save)}

    @router.get("/datastore/label", response_class=FileResponse, responses=_problems(404))
    def label(
        label: Image, tag: Annotated[str, Query(description="final, original, or v1, v2 …", max_length=100)] = FINAL
    ) -> FileResponse:
        """The file of a label."""
        path = store.label(label, tag or FINAL)
        return FileResponse(path, filename=path.name)


def _one_file(form: Form, name: str) -> tuple[Path, str]:
    """A file of a form, under a suffix that readers know. Raises RejectedError: 415, 422 where there is none."""
    sent = form.file(name)
    if sent is None:
        raise RejectedError(422, f"the form has no file {name!r}", hint="send multipart/form-data with that file")
    path, client_path = sent
    suffix = detect_suffix(path)
    if suffix in (".zip", ".dcm"):
        raise RejectedError(415, "the file is DICOM, or an archive", hint="send NIfTI, NRRD or MetaImage")
    if client_path.lower().endswith(".seg.nrrd") and suffix == ".nrrd":
        suffix = ".seg.nrrd"
    return path.rename(path.with_name(f"{path.name}{suffix}")), client_path


def _add_sessions(router: APIRouter, server: LabelServer) -> None:
    sessions = server.sessions

    @router.put("/session/", responses=_problems(*_RECEIVING), openapi_extra=_form(files=True))
    async def create(request: Request, expiry: int = 0) -> dict[str, Any]:
        """Send a scan that is to be segmented, and not kept: a file, a zip of one DICOM series, or its files."""
        async with incoming_form(request, server.dispatchers.queue, server.max_upload) as (folder, form):
            await to_thread.run_sync(sessions.check_room)
            if not form.files.get("files"):
                raise RejectedError(422, "the form has no file 'files'", hint="send the scan")
            await to_thread.run_sync(_place_files, folder, form, server.max_upload)
            client = client_name(form.params | form.fields)
            session = await to_thread.run_sync(sessions.add, folder, client, expiry)
        return {"session_id": session.name, "session_info": session.model_dump()}

    @router.get("/session/{session_id}", responses=_problems(404))
    def get(session_id: str) -> dict[str, Any]:
        """A session; it is kept for its time from now on."""
        return sessions.get(session_id).model_dump()

    @router.delete("/session/{session_id}", responses=_problems(404))
    def remove(session_id: str) -> dict[str, Any]:
        """Remove a session, with its scan."""
        return sessions.remove(session_id).model_dump()


def _place_files(folder: Path, form: Form, limit: int) -> None:
    """Make `folder`/scan of the files of a form, as a job has it."""
    scan, files = folder / SCAN, form.files["files"]
    scan.mkdir()
    if len(files) == 1:
        name_or_unpack(files[0][0].rename(scan / "upload"), limit)
        return
    series = scan / "scan"
    series.mkdir()
    for number, (path, _) in enumerate(files):
        path.rename(series / f"{number:06d}{detect_suffix(path)}")


def _add_training(router: APIRouter, server: LabelServer) -> None:
    trainings = server.trainings

    @router.get("/train/", responses=_problems(404))
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        """How the last training stands, or all of them. `check_if_running`: 404 where none runs."""
        if all:
            return JSONResponse([trainings.describe(training) for training in trainings.all()])
        return trainings.status(running=check_if_running)

    @router.post("/train/", responses=_problems(404, 408, 413, 429), openapi_extra={"requestBody": _JSON})
    async def start_all(request: Request) -> dict[str, Any]:
        """Train the server's model on, on the dataset as it is now."""
        params = await receive_object(request)
        own = params.get(server.name)
        chosen = params | own if isinstance(own, dict) else params
        started = await to_thread.run_sync(trainings.start, chosen, client_name(params))
        return {server.name: {"result": started, "detail": None}}

    @router.post("/train/{model}", responses=_problems(404, 408, 413, 429), openapi_extra={"requestBody": _JSON})
    async def start(model: str, request: Request) -> dict[str, Any]:
        """Train a model on, on the dataset as it is now; `budget` says for how long."""
        server.check_trainer(model)
        params = await receive_object(request)
        return await to_thread.run_sync(trainings.start, params, client_name(params))

    @router.delete("/train/", responses=_problems(404))
    def stop() -> dict[str, Any]:
        """Stop the training that runs."""
        return trainings.stop()
