"""What is kept of a job: `job.json` in its folder."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["queued", "running", "done", "failed"]
FINISHED = ("done", "failed")


class Job(BaseModel):
    """A scan to be segmented.

    Attributes:
        id: Opaque; who knows it may see and delete the job.
        state: Where it stands.
        submitted: When it was accepted: ISO 8601, UTC; likewise `started` and `finished`.
        forms: Forms of export that were asked for.
        model: The name of the model that was asked for, or that worked on it; empty: the first, whichever that is.
        crashes: How often the predicting process died over it.
        error: Why it failed, and `hint`, the way out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    state: State = "queued"
    submitted: str
    started: str | None = None
    finished: str | None = None
    forms: tuple[str, ...] = ()
    model: str = ""
    crashes: int = 0
    error: str = ""
    hint: str = ""
