"""Sessions: scans that a viewer sends, to be segmented and never kept in the dataset.

FOLDER/sessions/<id>/session.json    who sent it, and when it ends
FOLDER/sessions/<id>/scan/           the scan, as a job has it
"""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.errors import OsteonError
from osteon.core.files import read_json, write_json
from osteon.serving.jobs import SCAN
from osteon.web.http_errors import RejectedError
from osteon.web.job_store import JobStore

SESSION = "session.json"
USUAL_S, LONGEST_S = 3600, 24 * 3600
"""For which a session is kept after it was last used: usually, and at most."""
MOST_SESSIONS = 64


class Session(BaseModel):
    """A session.

    Attributes:
        name: Its id.
        client_id: Who sent it, as the client says.
        expiry: Seconds for which it is kept after it was last used.
        create_ts: When it came: seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    client_id: str
    expiry: int
    create_ts: int


class Sessions:
    """All sessions of a folder.

    Args:
        folder: In which `sessions` is made. A server that starts counts the time of those there from then on.
    """

    def __init__(self, folder: Path) -> None:
        self.store = JobStore(folder / "sessions")
        self._used: dict[str, float] = {}

    def check_room(self) -> None:
        """Raise RejectedError (429) where there are too many."""
        self._expire()
        if len(self.store.ids()) >= MOST_SESSIONS:
            raise RejectedError(
                429, f"there are {MOST_SESSIONS} sessions", hint="delete one, or wait until one has expired"
            )

    def add(self, incoming: Path, client_id: str, expiry: int) -> Session:
        """Make a session of a folder that has its scan in `scan`."""
        seconds = min(max(expiry, 0) or USUAL_S, LONGEST_S)
        name = self.store.new_id()
        session = Session(name=name, client_id=client_id, expiry=seconds, create_ts=int(time.time()))
        write_json(incoming / SESSION, session.model_dump())
        self.store.add(incoming, name)
        self._used[name] = time.monotonic()
        return session

    def get(self, session_id: str) -> Session:
        """A session, which is used now. Raises RejectedError (404) where there is none."""
        self._expire()
        session = self._read(session_id) if self.store.is_id(session_id) else None
        if session is None:
            raise RejectedError(404, "there is no such session", hint="sessions expire: send the scan again")
        self._used[session_id] = time.monotonic()
        return session

    def remove(self, session_id: str) -> Session:
        """Remove a session, with its scan. Raises RejectedError (404) where there is none."""
        session = self.get(session_id)
        self.store.remove(session_id)
        self._used.pop(session_id, None)
        return session

    def scan(self, session: Session) -> Path:
        """The folder with a session's scan."""
        return self.store.path(session.name) / SCAN

    def _expire(self) -> None:
        now = time.monotonic()
        for session_id in self.store.ids():
            session = self._read(session_id)
            if session is None or now - self._used.setdefault(session_id, now) > session.expiry:
                self.store.remove(session_id)
                self._used.pop(session_id, None)

    def _read(self, session_id: str) -> Session | None:
        try:
            return Session.model_validate(read_json(self.store.path(session_id) / SESSION, "the session"))
        except (OsteonError, ValidationError):
            return None
