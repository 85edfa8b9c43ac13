"""The routes of `osteon serve`, and how errors are answered."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from osteon.core.errors import FileError, OsteonError
from osteon.core.files import read_json
from osteon.core.version import __version__
from osteon.serving.descriptions import DESCRIPTION, File, Forms, Id, Model, Status, parse_forms, problems
from osteon.serving.dispatcher import DispatcherGroup
from osteon.serving.guard import ServerRules, error_response
from osteon.serving.health import Health, ModelHealth, check_health, check_model
from osteon.serving.job_record import Job, State
from osteon.serving.jobs import RESULT, RESULT_JSON
from osteon.serving.metrics import server_metrics
from osteon.serving.page import api_page
from osteon.serving.upload_slots import incoming_upload
from osteon.serving.uploads import check_headers, receive
from osteon.web.drain_request import DrainRequestMiddleware
from osteon.web.guard import Guard
from osteon.web.http_errors import RejectedError
from osteon.web.prometheus import MEDIA_TYPE

logger = logging.getLogger(__name__)
_MEDIA_TYPES = {".gz": "application/gzip", ".nrrd": "application/octet-stream", ".zip": "application/zip"}
_SCAN = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
}

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def create_app(
    dispatchers: DispatcherGroup, rules: ServerRules, max_upload: int, *, protocol: APIRouter | None = None
) -> Callable[..., Any]:
    """The ASGI application, with guard and routes.

    Args:
        dispatchers: Hand jobs to the models' processes.
        rules: What is asked of a request.
        max_upload: Bytes of an upload.
        protocol: Routes that are served, too.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dispatchers.start()
        yield
        dispatchers.stop()

    app = FastAPI(
        title="osteon serve",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # their pages load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
    )
    app.include_router(_routes(dispatchers, max_upload, listed=bool(rules.token)))
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


def _routes(dispatchers: DispatcherGroup, max_upload: int, *, listed: bool) -> APIRouter:
    router = APIRouter()
    queue = dispatchers.queue

    def describe(job: Job, result: dict[str, Any] | None = None) -> Status:
        status = Status(**job.model_dump(), ahead=queue.ahead(job.id), result=result)
        status = status.model_copy(update={"model": queue.model_of(job)})
        if job.state == "queued" and status.model not in queue.models:
            return status.model_copy(update={"hint": _NO_MODEL})
        return status

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
        responses=problems(401, 404, 408, 413, 415, 422, 429, 503, 507),
        openapi_extra={"requestBody": _SCAN},
    )
    async def submit(request: Request, response: Response, forms: Forms = "", model: Model = "") -> Status:
        """Send a scan, as the body of the request: `curl -T FILE -X POST`.

        NIfTI, NRRD, MetaImage, a zip of one DICOM series, a DICOM file, or a picture. What it is, is seen in its first
        bytes; its name is not asked for. All channels of the model stand in the one file.
        """
        export_forms = parse_forms(forms)
        length = check_headers(request.headers, max_upload)
        async with incoming_upload(request, partial(queue.incoming, model=model)) as (folder, body):
            await receive(body, length, folder, max_upload)
            job = await to_thread.run_sync(queue.submit, folder, export_forms, model)
        response.headers["Location"] = f"/jobs/{job.id}"
        return describe(job)

    @router.get("/jobs", responses=problems(401, 403, 422))
    def list_jobs(
        state: Annotated[State | None, Query(description="only jobs of this state")] = None,
        model: Annotated[str, Query(description="only jobs of this model; empty: of all")] = "",
        limit: Annotated[int, Query(ge=1, le=1000, description="so many at most")] = 100,
    ) -> list[Status]:
        """The jobs, the newest first, without their results. Who has the token sees all of them."""
        if not listed:
            raise RejectedError(403, "jobs are not listed without a token", hint="start osteon serve with --token-file")
        with queue.changed:
            own = [job for job in queue.jobs.values() if state in (None, job.state)]
            own = [job for job in own if model in ("", queue.model_of(job))]
            own.sort(key=lambda job: job.submitted, reverse=True)
            return [describe(job) for job in own[:limit]]

    @router.get("/jobs/{job_id}", responses=problems(401, 404))
    def status(job_id: Id) -> Status:
        """Where a job stands, and what came of it."""
        job = queue.get(job_id)
        return describe(job, read_result(job_id) if job.state == "done" else None)

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
        dispatchers.delete(job_id)

    @router.get("/health")
    def health() -> Health:
        """Whether the server works, and how much it has to do. It answers 200 whatever the status."""
        return check_health(dispatchers)

    not_ready = {"model": ModelHealth, "description": "It would not be worked on now."}

    @router.get("/ready", responses={503: not_ready, **problems(404, 422)})
    def ready(response: Response, model: Model = "") -> ModelHealth:
        """Whether a scan that is sent now will be worked on; 503 where the model's process is not up, or stuck.

        Without a name: whether any model would work on it.
        """
        state = check_model(dispatchers.find(model)) if model else check_health(dispatchers)
        response.status_code = 200 if state.ready else 503
        return ModelHealth(**state.model_dump(include=set(ModelHealth.model_fields)))

    @router.get("/metrics", response_class=Response, responses={200: _TEXT, **problems(401)})
    def metrics() -> Response:
        """Jobs, queue, times and memory, by model, in Prometheus' text form."""
        return Response(server_metrics(dispatchers), media_type=MEDIA_TYPE)

    @router.get("/model", responses=problems(401, 404, 422))
    def model(model: Model = "") -> dict[str, Any]:
        """What a model finds, and in what: structures, channels, validation, weights' hash."""
        return {"name": model or queue.default, **dispatchers.find(model).predictor.facts}

    @router.get("/models", responses=problems(401))
    def models() -> list[dict[str, Any]]:
        """All models, the first being what requests mean that name none."""
        return [{"name": name, **one.predictor.facts} for name, one in dispatchers.by_model.items()]

    return router


_NO_MODEL = "this server does not have the model; the job waits for one that has"
_NOT_YET = {
    "queued": "ask for it again when GET /jobs/ID says that it is done",
    "running": "ask for it again when GET /jobs/ID says that it is done",
    "failed": "GET /jobs/ID says why",
}


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
