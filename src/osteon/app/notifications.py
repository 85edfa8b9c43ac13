"""Tells whoever waits, on whatever page and behind whatever window, that a job has ended."""

from __future__ import annotations

from weakref import WeakSet

from nicegui.element import Element

from osteon.app.job_words import sentence
from osteon.app.jobs import OVER, Job, Jobs, Phase

EVERY_S = 2.0
SILENT = ("export", "evaluate")
"""Commands that follow another one within seconds."""
HEARD = ("done", "partly", "failed")
bells: WeakSet[Bell] = WeakSet()
"""Those of all pages that are open."""


class Bell(Element, component="bell.js"):
    """In a page's head: it rings when a job ends that the page's reader may be waiting for."""

    def __init__(self) -> None:
        super().__init__()
        bells.add(self)


class Ringer:
    """Looks for jobs that have ended since it looked last.

    Args:
        jobs: The workspace's.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.before = self._phases()

    def look(self) -> None:
        """Ring every page's bell for each job that has ended; what ends while no page is open waits for one."""
        if not bells:
            return
        for text in self.ended():
            for bell in tuple(bells):
                if not bell.is_deleted:
                    bell.run_method("ring", text)

    def ended(self) -> list[str]:
        """A sentence for each job that has ended, without its name: the system shows it on locked screens too."""
        before, self.before = self.before, self._phases()
        return [
            sentence(job, phase)
            for job, phase in self.before.values()
            if phase in HEARD and job.command not in SILENT and (job.id not in before or before[job.id][1] not in OVER)
        ]

    def _phases(self) -> dict[str, tuple[Job, Phase]]:
        return {job.id: (job, self.jobs.state(job).phase) for job in self.jobs.all()}
