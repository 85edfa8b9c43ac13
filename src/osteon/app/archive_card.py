"""The card by which a result, or a case of one, is sent to an archive."""

from __future__ import annotations

import time

from nicegui import ui

from osteon.app.archive_commands import NOT_DICOM, last_sent, origin_archive, sending_jobs, start_sending
from osteon.app.downloads import has_dicom_series
from osteon.app.elements import action, caption, card, refresh_on_change
from osteon.app.item_actions import open_dialog
from osteon.app.job_cards import watch_jobs
from osteon.app.job_texts import format_age
from osteon.app.page_cleanup import refreshable
from osteon.app.results import result_files
from osteon.app.state import AppState
from osteon.app.workspace import Item
from osteon.core.text import pluralise

WHAT = (
    "A DICOM SEG is written for each scan and goes into the study that the scan is of. Sent again, it is the same "
    "object; a segmentation that was changed since is another one."
)


class _ArchiveCard:
    """What the card holds."""

    def __init__(self, app: AppState, item: Item, case: str | None) -> None:
        self.app, self.item, self.case = app, item, case
        self.chosen = next(iter(app.archives))
        if not has_dicom_series(app, item):
            caption(NOT_DICOM)
            return
        caption(WHAT)
        if len(app.archives) > 1:
            chosen = ui.select(list(app.archives), value=self.chosen, label="Archive").classes("full-width")
            chosen.on_value_change(lambda event: setattr(self, "chosen", str(event.value)))
        action("Send to the archive", self._ask, icon="send").mark("send")
        self.sent()
        refresh_on_change(lambda: last_sent(app, item, case), self.sent.refresh)
        if case is not None:  # the page of the result has its jobs above
            watch_jobs(app, lambda: [job for job in sending_jobs(app, item) if app.is_open(job)])

    @refreshable
    def sent(self) -> None:
        """When it was sent last."""
        if found := last_sent(self.app, self.item, self.case):
            job, ended = found
            caption(f"Sent to {job.about['archive']} {format_age(time.time() - ended)} ago.")

    def _ask(self) -> None:
        archive = self.app.archives[self.chosen]

        def confirmed() -> None:
            start_sending(self.app, archive, self.item, self.case)
            dialog.close()

        what = "this case" if self.case is not None else pluralise(len(result_files(self.item)), "case")
        with open_dialog(f"Send {what} to {archive.name}?", "Send", confirmed, danger=False) as dialog:
            if origin_archive(self.app, self.item) != archive.name:
                ui.label(f"The scans were not fetched from {archive.name}: it may not have their study.")
            caption("What an archive has taken cannot be taken back from here.")


def archive_card(app: AppState, item: Item, case: str | None = None) -> None:
    """The card, where an archive is known.

    Args:
        app: Which archives there are.
        item: The result.
        case: One case of it; None: all.
    """
    if app.archives:
        with card("To an archive"):
            _ArchiveCard(app, item, case)
