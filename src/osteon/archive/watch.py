"""`osteon archive watch`: looks for new studies, has each worked on until it is answered, and never stops over one."""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections import Counter
from contextlib import ExitStack

from osteon.archive.archive import Archive, open_archive
from osteon.archive.listening_archive import open_listening
from osteon.archive.status_page import WatchStatus, serve_status
from osteon.archive.study_search import StudySearch
from osteon.archive.study_work import SkippedError, StudyWork, load_models
from osteon.archive.watch_config import WatchConfig
from osteon.archive.work_list import MOST_DEATHS, State, WorkItem, WorkList
from osteon.core.errors import (
    AccessError,
    ArchiveDownError,
    ArchiveFullError,
    DiskFullError,
    OsteonError,
    SeriesChangedError,
    UsageError,
    is_out_of_memory,
)
from osteon.core.files import write_text
from osteon.core.locks import lock_folder
from osteon.measuring.registry import find_measures

logger = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between attempts while the archive does not answer, or is full, or the own disk is."""
TICK_S = 1.0
"""How often the watch looks whether a study is due."""


class Watch:
    """A watch in progress.

    Args:
        config: What it does.
        search: Finds studies.
        work: Does the work on one.
    """

    def __init__(self, config: WatchConfig, search: StudySearch, work: StudyWork) -> None:
        self.config, self.search, self.work = config, search, work
        self.status = WatchStatus(work.work)

    def run(self, *, once: bool) -> None:
        """Look and work; with `once` until nothing is left to do now, else until a signal.

        Raises:
            AccessError: The archive refuses the credentials.
            UsageError: More studies fit than may be fetched unasked.
            OsteonError: With `once`: the archive does not answer or is full, or the disk is full.
        """
        look_at, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                if time.monotonic() >= look_at:
                    self.search.look()
                    look_at = time.monotonic() + self.config.interval
                    self._well()
                if (item := self._next()) is not None:
                    self.advance(item)
                    self._well()
                elif not (once and self._is_done()):
                    wait = min(self.config.settle or TICK_S, TICK_S)
                    time.sleep(wait)
                    look_at = min(look_at, time.monotonic()) if once else look_at
                else:
                    return
                pause = FIRST_PAUSE_S
            except UsageError:
                raise
            except OsteonError as error:  # of the archive or the disk: no study is to blame
                if once:
                    raise
                self._tell(error)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    def advance(self, item: WorkItem) -> None:
        """Work on a study; whatever is wrong with it is written into its item.

        Raises:
            AccessError: The archive refuses the credentials.
            ArchiveDownError, ArchiveFullError, DiskFullError: Nobody's fault; the study waits.
        """
        items, before = self.work.work, dict(item.seconds)
        if item.deaths >= MOST_DEATHS:
            item.end("quarantined", f"the process ended {MOST_DEATHS} times over it", time.time())
            return self._close(item)
        item.deaths += 1
        items.save(item)
        try:
            if item.state == "found" and not item.in_range:
                raise SkippedError(f"the series has {item.instances} slices, and its rule asks for others")
            self.work.advance(item)
        except SeriesChangedError as error:
            logger.info(f"study {item.name}: {error.message}; it is waited for")
            self.search.wait_again(item)
        except SkippedError as error:
            item.end("skipped", self._plain(error.message, item), time.time())
        except AccessError:
            raise
        except (ArchiveDownError, ArchiveFullError, DiskFullError) as error:
            item.next_at, item.reason = time.time() + FIRST_PAUSE_S, self._plain(error.message, item)  # others first
            raise
        except Exception as error:  # noqa: BLE001 (a scan that nobody has thought of must not stop the others)
            item.fail(self._explain(error, item), time.time(), self.config.attempts, self.config.pause)
        finally:
            item.deaths = 0
            self.status.count(item, before)
            self._close(item)

    def _next(self) -> WorkItem | None:
        now = time.time()
        for item in self.work.work.waiting():
            if item.is_due(now) and (item.state != "found" or item.settled(self.search.looked_at, self.config.settle)):
                return item
        return None

    def _is_done(self) -> bool:
        """Whether nothing is left but what is tried again later."""
        return all(item.state == "failed" for item in self.work.work.waiting())

    def _close(self, item: WorkItem) -> None:
        self.work.work.save(item)
        self.work.tidy(item)
        if item.state in ("failed", "quarantined", "skipped"):
            again = f"; attempt {item.failures + 1} of {self.config.attempts} follows" if item.state == "failed" else ""
            logger.warning(f"study {item.name}: {item.state}: {item.reason}{again}")
        elif item.state == "answered":
            logger.info(f"study {item.name}: answered with {', '.join(self.config.answers)}")

    def _explain(self, error: Exception, item: WorkItem) -> str:
        """An error in words without names of files, which may be a patient's; a bug's place lies in trouble.txt."""
        if isinstance(error, OsteonError):
            return self._plain(error.message, item)
        if is_out_of_memory(error):
            return "not enough memory"
        write_text(self.work.work.folder / "trouble.txt", traceback.format_exc())
        return f"an unexpected error ({type(error).__name__}): trouble.txt in the folder of the watch has its place"

    def _plain(self, text: str, item: WorkItem) -> str:
        folder = str(self.work.work.work_folder(item))
        return re.sub(rf"{re.escape(folder)}[^\s:,]*", "the scan", text).replace("\n", " ")

    def _tell(self, error: OsteonError) -> None:
        if error.message != self.status.problem:
            logger.warning(f"{error.message}; nothing is lost, and it is tried again")
        self.status.problem = error.message

    def _well(self) -> None:
        if self.status.problem:
            logger.info("the archive is back: the work goes on")
        self.status.problem, self.status.last_contact = "", time.time()


def watch(config: WatchConfig, *, once: bool = False, ask: bool = True) -> Counter[State]:
    """Watch an archive.

    Args:
        config: What is done.
        once: End when there is nothing left to do now.
        ask: Refuse more than `most_studies` new studies at a look.

    Returns:
        Studies by state.

    Raises:
        UsageError: Another watch works in the folder, the configuration makes no sense, or too many studies fit.
        AccessError: The archive refuses the credentials.
        ModelError: A model folder is not whole.
    """
    find_measures(config.measures)
    with lock_folder(config.work_folder, "a watch", "stop it, or give this one a folder of its own"), ExitStack() as on:
        models, items = load_models(config), WorkList(config.work_folder)
        archive: Archive
        if config.listen is None:
            archive = open_archive(config.archive, config.settings)
        else:  # what was sent was meant: it is not asked for
            archive, ask = on.enter_context(open_listening(config, config.listen, items)), False
        work = StudyWork(config, archive, models, items)
        watching = Watch(config, StudySearch(config, archive, items, ask=ask), work)
        if config.status is not None:
            on.enter_context(serve_status(config.status, watching.status))
        watching.run(once=once)
        return items.counts()
