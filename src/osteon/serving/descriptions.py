"""What the server says of its requests and answers: parameters, bodies, errors."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path as FromPath
from fastapi import Query
from pydantic import BaseModel, Field

from osteon.serving.job_record import Job
from osteon.serving.model_names import MOST_CHARACTERS, NAME_PATTERN
from osteon.web.http_errors import RejectedError

EXPORT_FORMS = ("stl", "ply", "obj", "seg-nrrd", "itk-snap", "dicom-seg", "rtstruct", "rle-csv", "coco")
"""Of `exporting.registry.FORMS` those that a single scan can be had in; a test compares."""
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
Model = Annotated[
    str,
    Query(
        description="the name of a model, as GET /models has it; empty: the first",
        max_length=MOST_CHARACTERS,
        json_schema_extra={"pattern": NAME_PATTERN},  # described only: a name that makes no sense names none
    ),
]
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


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route answers with, for its description."""
    return {code: {"model": Problem, "description": PROBLEMS[code]} for code in codes}


PROBLEMS = {
    401: "The token is missing or wrong.",
    403: "This server asks for no token, and so lists no jobs.",
    404: "There is no such job or model, or no such file of it (yet).",
    408: "It was too slow; or it was slow while the queue was full and others were waiting.",
    413: "The upload, or what comes out of it, is larger than --max-upload allows; no more is read.",
    415: "The upload is not a scan that osteon reads.",
    422: "The request or the archive makes no sense.",
    429: "The queue is full; the header Retry-After says when to try again.",
    503: "The server is ending; the header Retry-After says when to try again.",
    507: "The disk is nearly full.",
}


def parse_forms(text: str) -> tuple[str, ...]:
    """The forms that a request names. Raises RejectedError (422) where one is unknown."""
    forms = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [form for form in forms if form not in EXPORT_FORMS]:
        raise RejectedError(422, f"forms: {unknown[0]} is none", hint=f"there are {', '.join(EXPORT_FORMS)}")
    return forms
