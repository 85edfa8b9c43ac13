"""Who has which case open just now: in the server's memory, since it means nothing after a restart."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

AWAY_S = 90.0
"""A page that has not been heard of for so long is closed; pages call every 10 s, those
in the background every minute."""
MAX_PAGES = 1000


@dataclass
class Presence:
    """Pages on which a case is drawn.

    Attributes:
        pages: By the page's own id: the case, its author, and when it was last heard of, on the monotonic clock.
    """

    pages: dict[str, tuple[str, str, float]] = field(default_factory=dict)

    def seen(self, page: str, case: str, author: str) -> list[str]:
        """Note that a page is open; the authors of the other pages at this case, the unnamed ones as `somebody`."""
        now = time.monotonic()
        self.pages = {key: entry for key, entry in self.pages.items() if now - entry[2] < AWAY_S or key == page}
        if page in self.pages or len(self.pages) < MAX_PAGES:
            self.pages[page] = (case, author, now)
        others = [name for key, (where, name, _) in self.pages.items() if where == case and key != page]
        return sorted({name or "somebody" for name in others})

    def left(self, page: str) -> None:
        """Note that a page was closed."""
        self.pages.pop(page, None)
