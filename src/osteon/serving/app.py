"""The routes of `osteon serve`, and how errors are answered."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi import Path as FromPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from osteon.core.errors import FileError, OsteonError
from osteon.core.files import read_json
from osteon.core.version import __version__
from osteon.serving.guard import ServerRules, error_response
from osteon.serving.health import Health, check_health
from osteon.serving.jobs import RESULT, RESULT_JSON, Job, State
from osteon.serving.metrics import server_metrics
from osteon.serving.page import api_page
from osteon.serving.predictor import Dispatcher
from osteon.serving.upload_slots import incoming_upload
from osteon.serving.uploads import check_headers, receive
from osteon.web.drain_request import DrainRequestMiddleware
from osteon.web.guard import Guard
from osteon.web.http_errors import RejectedError
from osteon.web.prometheus import MEDIA_TYPE

logger = logging.getLogger(__name__)
EXPORT_FORMS = ("stl", "ply", "obj", "seg-nrrd", "itk-snap", "dicom-seg", "rtstruct", "rle-csv", "coco")
"""Of `exporting.registry.FORMS` those that a single scan can be had in; a test compares."""
_MEDIA_TYPES = {".gz": "application/gzip", ".nrrd": "application/octet-stream", ".zip": "application/zip"}
DESCRIPTION = (
    "Send a scan, ask how far it is, fetch the mask. Where the server asks for a token, every request but those for "
    "this page, openapi.json, /health and /ready carries the header `Authorization: Bearer TOKEN`. Errors are JSON: "
    "`error` says what is wrong, `hint` what to do about it."
)


class Problem(BaseModel):
    """An error."""

    error: str
    hint: str


class Status(Job):
    """A job, and what came of it."""

    ahead: int | None = Field(None, description="jobs that wait before it; null where it does not wait")
    result: dict[str, Any] | None = Field(
        None,
        description="of a job that is done: confidence (the Dice to be expected of each structure; only the network's "
        "own figure where not calibrated), review (why a person should look at it), seen (whether the model was "
        "trained on this very scan), volumes (cm³, mm), files, not_made (forms that could not be, and why), and how "
        "it was made",
    )


Id = Annotated[str, FromPath(description="as POST /jobs gave it", pattern="^[0-9a-f]{32}$")]
File = Annotated[
    str, FromPath(description="one of the result's `files`, such as mask.nii.gz", pattern="^[a-z.-]{1,40}$")
]
_FORM = f"({'|'.join(EXPORT_FORMS)})"
Forms = Annotated[
    str,
    Query(
        description=f"further forms of the result, separated by commas: {', '.join(EXPORT_FORMS)}",
        max_length=200,
        json_schema_extra={"pattern": f"^({_FORM}(,{_FORM})*)?$"},  # described only: `parse_forms` says which is none
    ),
]
_SCAN = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
}

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route answers with, for its description."""
    return {code: {"model": Problem, "description": PROBLEMS[code]} for code in codes}


PROBLEMS = {
    401: "The token is missing or wrong.",
    403: "This server asks for no token, and so lists no jobs.",
    404: "There is no such job, or no such file of it (yet).",
    408: "It was too slow; or it was slow while the queue was full and others were waiting.",
    413: "The upload, or what comes out of it, is larger than --max-upload allows; no more is read.",
    415: "The upload is not a scan that osteon reads.",
    422: "The request or the archive makes no sense.",
    429: "The queue is full; the header Retry-After says when to try again.",
    507: "The disk is nearly full.",
}


def create_app(
    dispatcher: Dispatcher, rules: ServerRules, max_upload: int, *, protocol: APIRouter | None = None
) -> Callable[..., Any]:
    """The ASGI application, with guard and routes.

    Args:
        dispatcher: Hands jobs to the predicting process.
        rules: What is asked of a request.
        max_upload: Bytes of an upload.
        protocol: Routes that are served, too.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        yield
        dispatcher.stop()

    app = FastAPI(
        title="osteon serve",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # their pages load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(_routes(dispatcher, max_upload, listed=bool(rules.token)))
    if protocol is not None:
        app.include_router(protocol)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def index() -> str:
        return api_page(app.openapi())

    app.exception_handlers |= {
        OsteonError: _on_error,
        RequestValidationError: _on_invalid_request,
        HTTPException: _on_http_exception,
        ClientDisconnect: _on_disconnect,
    }
    for path, methods in app.openapi()["paths"].items():  # it is kept, and handed out as it is now
        for operation in methods.values():
            if "{job_id}" in path:
                operation["responses"].pop("422", None)  # an id or name that makes no sense names nothing: 404
    return DrainRequestMiddleware(Guard(app, rules))


def _routes(dispatcher: Dispatcher, max_upload: int, *, listed: bool) -> APIRouter:
    router = APIRouter()
    queue = dispatcher.queue

    def read_result(job_id: str) -> dict[str, Any]:
        try:
            result: dict[str, Any] = read_json(queue.store.path(job_id) / RESULT / RESULT_JSON, "the result")
        except FileError:
            queue.get(job_id)  # it may have been removed just now: 404
            raise
        return result

    @router.post(
        "/jobs",
        status_code=202,
        responses=problems(401, 408, 413, 415, 422, 429, 507),
        openapi_extra={"requestBody": _SCAN},
    )
    async def submit(request: Request, response: Response, forms: Forms = "") -> Status:
        """Send a scan, as the body of the request: `curl -T FILE -X POST`.

        NIfTI, NRRD, MetaImage, a zip of one DICOM series, a DICOM file, or a picture. What it is, is seen in its first
        bytes; its name is not asked for. All channels of the model stand in the one file.
        """
        export_forms = parse_forms(forms)
        length = check_headers(request.headers, max_upload)
        async with incoming_upload(request, queue.incoming) as (folder, body):
            await receive(body, length, folder, max_upload)
            job = await to_thread.run_sync(queue.submit, folder, export_forms)
        response.headers["Location"] = f"/jobs/{job.id}"
        return Status(**job.model_dump(), ahead=queue.ahead(job.id))

    @router.get("/jobs", responses=problems(401, 403, 422))
    def list_jobs(
        state: Annotated[State | None, Query(description="only jobs of this state")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="so many at most")] = 100,
    ) -> list[Status]:
        """The jobs, the newest first, without their results. Who has the token sees all of them."""
        if not listed:
            raise RejectedError(403, "jobs are not listed without a token", hint="start osteon serve with --token-file")
        with queue.changed:
            own = [job for job in queue.jobs.values() if state in (None, job.state)]
            own.sort(key=lambda job: job.submitted, reverse=True)
            return [Status(**job.model_dump(), ahead=queue.ahead(job.id)) for job in own[:limit]]

    @router.get("/jobs/{job_id}", responses=problems(401, 404))
    def status(job_id: Id) -> Status:
        """Where a job stands, and what came of it."""
        job = queue.get(job_id)
        result = read_result(job_id) if job.state == "done" else None
        return Status(**job.model_dump(), ahead=queue.ahead(job_id), result=result)

    @router.get("/jobs/{job_id}/{file}", response_class=FileResponse, responses=problems(401, 404))
    def fetch(job_id: Id, file: File) -> FileResponse:
        """A file of a job that is done: the mask, or a zip of a form that was asked for."""
        job = queue.get(job_id)
        if job.state != "done":
            raise RejectedError(404, f"the job is {job.state}", hint=_NOT_YET[job.state])
        folder = queue.store.path(job_id) / RESULT
        files = read_result(job_id)["files"]
        if file not in files:
            raise RejectedError(404, "the job has no such file", hint=f"it has {', '.join(files)}")
        return FileResponse(folder / file, media_type=_MEDIA_TYPES[Path(file).suffix], filename=file)

    @router.delete("/jobs/{job_id}", status_code=204, responses=problems(401, 404))
    def delete(job_id: Id) -> None:
        """Remove a job with everything that it has; one that runs is stopped."""
        dispatcher.delete(job_id)

    @router.get("/health")
    def health() -> Health:
        """Whether the server works, and how much it has to do. It answers 200 whatever the status."""
        return check_health(dispatcher)

    @router.get("/ready", responses={503: {"model": Health, "description": "It would not be worked on now."}})
    def ready(response: Response) -> Health:
        """Whether a scan that is sent now will be worked on; 503 where the predicting process is not up, or stuck."""
        health = check_health(dispatcher)
        response.status_code = 200 if health.ready else 503
        return health

    @router.get("/metrics", response_class=Response, responses={200: _TEXT, **problems(401)})
    def metrics() -> Response:
        """Jobs, queue, times and memory, in Prometheus' text form."""
        return Response(server_metrics(dispatcher), media_type=MEDIA_TYPE)

    @router.get("/model", responses=problems(401))
    def model() -> dict[str, Any]:
        """What the model finds, and in what: structures, channels, validation, weights' hash."""
        return dispatcher.predictor.facts

    return router


_NOT_YET = {
    "queued": "ask for it again when GET /jobs/ID says that it is done",
    "running": "ask for it again when GET /jobs/ID says that it is done",
    "failed": "GET /jobs/ID says why",
}


def parse_forms(text: str) -> tuple[str, ...]:
    """The forms that a request names. Raises RejectedError (422) where one is unknown."""
    forms = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [form for form in forms if form not in EXPORT_FORMS]:
        raise RejectedError(422, f"forms: {unknown[0]} is none", hint=f"there are {', '.join(EXPORT_FORMS)}")
    return forms


async def _on_error(_: Request, error: OsteonError) -> Response:
    if isinstance(error, RejectedError):
        return error_response(error.status, error.message, error.hint, error.headers)
    logger.warning(str(error))
    return error_response(
        500, "the server could not do it", "try again, or ask the server's administrator to check its disk"
    )


async def _on_invalid_request(_: Request, error: RequestValidationError) -> Response:
    places = [str(problem["loc"][-1]) for problem in error.errors()]
    if {"job_id", "file"} & set(places):
        return error_response(404, "there is no such job or file", "check the address; GET / lists the routes")
    return error_response(422, f"{', '.join(places)}: makes no sense", "GET / says what is expected")


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the error knows only the methods of the first route that has the path
        headers["Allow"] = ", ".join(_methods(request))
    return error_response(error.status_code, error.detail, "GET / lists the routes", headers)


def _methods(request: Request) -> list[str]:
    """All that a path can be asked with."""
    return [
        method
        for method in ("GET", "POST", "PUT", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _on_disconnect(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody is there to read it
