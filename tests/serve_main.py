"""A server whose predictions last until the file `go` lies in its folder: FOLDER PORT GRACE_S."""

import sys
from pathlib import Path

from osteon.serving.dispatcher import Dispatcher, DispatcherGroup
from osteon.serving.job_work import PredictionTask, TaskResult
from osteon.serving.jobs import JobQueue
from osteon.serving.predictor import ProcessDiedError
from osteon.serving.server import create_server
from osteon.web.address import ServerAddress
from serving import FakePredictor, wait_until, write_mask


class Waiting(FakePredictor):
    def run(self, task: PredictionTask, limit_s: float) -> TaskResult:
        wait_until(lambda: not self.up or (folder / "go").exists(), limit_s)
        if not self.up:
            raise ProcessDiedError("Killed")
        return write_mask(task)


if __name__ == "__main__":
    folder, port, grace_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    dispatchers = DispatcherGroup([Dispatcher(JobQueue(folder, 4), Waiting(), 100, 60)])
    create_server(dispatchers, ServerAddress("127.0.0.1", port), "", 10_000, grace_s=grace_s).run()
