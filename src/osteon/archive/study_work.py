"""The work of a watch on one study: fetched, checked, segmented, answered. Each step can be done twice without harm."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.archive.answers import AnswerId, AnswerMaker, answer_id
from osteon.archive.archive import Archive
from osteon.archive.watch_config import DICOM_MODALITIES, Answer, WatchConfig
from osteon.archive.work_list import State, WorkItem, WorkList
from osteon.core.errors import CaseError, ImageError, UsageError

if TYPE_CHECKING:
    from osteon.predicting.model import Model

logger = logging.getLogger(__name__)
SCAN, PREDICTED, ANSWERS = "scan", "predicted", "answers"
_SHOWN = "scan"
"""The id of a prediction: says nothing of the patient."""


class SkippedError(CaseError):
    """A study that is not for its model; the message says why."""


def load_models(config: WatchConfig) -> dict[str, Model]:
    """The models of the rules by folder, each loaded once.

    Raises:
        ModelError, FileError, PlanError: A model folder is not whole.
        UsageError: A model does not segment single series by itself.
    """
    from osteon.core.devices import resolve_device
    from osteon.predicting.model_folder import load_model
    from osteon.predicting.records import find_model_folder

    models = {}
    for folder in dict.fromkeys(rule.model for rule in config.rules):
        model = load_model(find_model_folder(folder), device=resolve_device(config.device))
        channels = len(model.plan.channels)
        if channels > 1 or model.plan.clicks is not None:
            problem = "answers clicks" if model.plan.clicks is not None else f"takes {channels} channels of one scan"
            raise UsageError(f"{folder}: {problem}", hint="a watch segments one series at a time: name another model")
        models[folder] = model
    return models


@dataclass(frozen=True)
class StudyWork:
    """What the work on a study needs.

    Attributes:
        config: Of the watch.
        archive: Where studies come from, and answers go.
        models: By folder.
        work: The work list.
    """

    config: WatchConfig
    archive: Archive
    models: Mapping[str, Model]
    work: WorkList

    def advance(self, item: WorkItem) -> None:
        """Do what is left to do for a study; its item says after each step how far it is.

        Raises:
            SkippedError: It is not for its model.
            SeriesChangedError: The series grew meanwhile: it is to be waited for.
            OsteonError: Whatever else goes wrong.
        """
        model, folder = self.models[item.model], self.work.work_folder(item)
        ids = {kind: answer_id(item.study, item.series, model.sha256, kind) for kind in self.config.answers}
        if item.state == "failed":
            item.state = item.resume
        if item.state == "found":
            if self._missing(item, ids):
                self._step(item, "fetched", lambda: self._fetch(item, model, folder))
            else:  # of another work list, or one that was lost
                logger.info(f"study {item.name}: is answered already")
                item.state, item.sent = "segmented", [*ids]
        if item.state == "fetched":
            self._step(item, "segmented", lambda: self._segment(model, folder, ids))
        if item.state == "segmented":
            self._step(item, "segmented", lambda: self._send(item, ids, folder), "answered")
            item.end("answered", "", time.time())
            self.work.save(item)
        self.tidy(item)

    def tidy(self, item: WorkItem) -> None:
        """Remove the scan and the results of a study that is over, unless they are to be kept."""
        if item.over and not self.config.keep:
            with suppress(OSError):
                shutil.rmtree(self.work.work_folder(item))

    def _step(self, item: WorkItem, state: State, work: Callable[[], None], name: str = "") -> None:
        began = time.monotonic()
        work()
        item.seconds = item.seconds | {name or state: round(time.monotonic() - began, 3)}
        item.state = state
        self.work.save(item)

    def _fetch(self, item: WorkItem, model: Model, folder: Path) -> None:
        modality = model.plan.channels[0].modality
        fitting = DICOM_MODALITIES.get(modality)
        if fitting is not None and item.modality.upper() not in fitting:
            raise SkippedError(f"the series is {item.modality or 'of no modality'}, and the model is for {modality}")
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
        self.archive.fetch_series(item.study, item.series, folder / SCAN)

    def _segment(self, model: Model, folder: Path, ids: Mapping[Answer, AnswerId]) -> None:
        from osteon.predicting.predictor import predict
        from osteon.predicting.scans import Scan
        from osteon.predicting.speed import find_speed
        from osteon.predicting.stages import PredictOptions

        files = tuple(sorted((folder / SCAN).iterdir()))
        options = PredictOptions(find_speed(self.config.speed), overwrite=True)
        report = predict(model, [Scan(_SHOWN, (files,))], folder / PREDICTED, options)
        for error in report.failed.values():
            if isinstance(error, ImageError):
                raise SkippedError(error.message) from error
            raise error
        maker = AnswerMaker(
            folder / PREDICTED, folder / ANSWERS, ids, model.plan.channels[0].modality, self.config.measures
        )
        if maker.found_nothing:
            raise SkippedError("the model found nothing")
        maker.write()

    def _send(self, item: WorkItem, ids: Mapping[Answer, AnswerId], folder: Path) -> None:
        for kind in self._missing(item, ids):
            self.archive.store([folder / ANSWERS / f"{kind}.dcm"])
            item.sent = [*item.sent, kind]
            self.work.save(item)
        if missing := self._missing(item, ids):
            raise CaseError(
                f"the archive took {', '.join(missing)}, and does not list it", hint="look into the archive's log"
            )

    def _missing(self, item: WorkItem, ids: Mapping[Answer, AnswerId]) -> list[Answer]:
        """The answers that the archive does not have."""
        return [
            kind
            for kind, identity in ids.items()
            if identity.instance not in self.archive.find_instances(item.study, identity.series)
        ]
