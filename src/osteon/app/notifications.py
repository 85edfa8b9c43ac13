"""Notifications that a job has ended, on every open page."""

from __future__ import annotations

from weakref import WeakSet

from nicegui.element import Element

from osteon.app.job_texts import end_sentence
from osteon.app.jobs import FINISHED, Job, JobPhase, Jobs

INTERVAL_S = 2.0
NOT_ANNOUNCED = ("export", "evaluate")
"""Commands that end within seconds after another one."""
ANNOUNCED = ("done", "partly", "failed")
notifiers: WeakSet[JobNotifier] = WeakSet()
"""Of all pages that are open."""


class JobNotifier(Element, component="job_notifier.js"):
    """In a page's header: it notifies the user when a job ends."""

    def __init__(self) -> None:
        super().__init__()
        notifiers.add(self)


class JobEndWatcher:
    """Finds jobs that have ended since the last look.

    Args:
        jobs: The workspace's.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.before = self._phases()

    def notify(self) -> None:
        """Notify every page of each job that has ended; what ends while no page is open waits for one."""
        if not notifiers:
            return
        for text in self.end_sentences():
            for notifier in tuple(notifiers):
                if not notifier.is_deleted:
                    notifier.run_method("notify", text)

    def end_sentences(self) -> list[str]:
        """A sentence for each job that has ended, without its name: the system shows it on locked screens too."""
        before, self.before = self.before, self._phases()
        return [
            end_sentence(job, phase)
            for job, phase in self.before.values()
            if phase in ANNOUNCED
            and job.command not in NOT_ANNOUNCED
            and (job.id not in before or before[job.id][1] not in FINISHED)
        ]

    def _phases(self) -> dict[str, tuple[Job, JobPhase]]:
        return {job.id: (job, self.jobs.state(job).phase) for job in self.jobs.all()}
