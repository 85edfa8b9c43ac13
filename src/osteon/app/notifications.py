"""Tells whoever waits, on whatever page and behind whatever window, that a job has ended."""

from __future__ import annotations

from weakref import WeakSet

from nicegui.element import Element

from osteon.app.job_texts import end_sentence
from osteon.app.jobs import OVER, Job, Jobs, Phase

INTERVAL_S = 2.0
NOT_ANNOUNCED = ("export", "evaluate")
"""Commands that follow another one within seconds."""
ANNOUNCED = ("done", "partly", "failed")
notifiers: WeakSet[JobNotifier] = WeakSet()
"""Those of all pages that are open."""


class JobNotifier(Element, component="job_notifier.js"):
    """In a page's head: it rings when a job ends that the page's reader may be waiting for."""

    def __init__(self) -> None:
        super().__init__()
        notifiers.add(self)


class JobEndWatcher:
    """Looks for jobs that have ended since it looked last.

    Args:
        jobs: The workspace's.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.before = self._phases()

    def look(self) -> None:
        """Ring every page's bell for each job that has ended; what ends while no page is open waits for one."""
        if not notifiers:
            return
        for text in self.ended():
            for bell in tuple(notifiers):
                if not bell.is_deleted:
                    bell.run_method("ring", text)

    def ended(self) -> list[str]:
        """A sentence for each job that has ended, without its name: the system shows it on locked screens too."""
        before, self.before = self.before, self._phases()
        return [
            end_sentence(job, phase)
            for job, phase in self.before.values()
            if phase in ANNOUNCED
            and job.command not in NOT_ANNOUNCED
            and (job.id not in before or before[job.id][1] not in OVER)
        ]

    def _phases(self) -> dict[str, tuple[Job, Phase]]:
        return {job.id: (job, self.jobs.state(job).phase) for job in self.jobs.all()}
