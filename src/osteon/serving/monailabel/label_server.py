"""What a viewer that speaks MONAI Label finds: a model, a dataset, strategies, a trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.core.labels import Structure
from osteon.core.text import pluralise, shorten_list
from osteon.core.version import __version__
from osteon.serving.click_tasks import ClickTask
from osteon.serving.guard import ServerRules
from osteon.serving.monailabel.clicks import ClickModel, click_models, click_task
from osteon.serving.monailabel.datastore import Datastore
from osteon.serving.monailabel.sessions import Sessions
from osteon.serving.monailabel.strategies import STRATEGIES
from osteon.serving.monailabel.training import Trainings
from osteon.serving.predictor import Dispatcher
from osteon.web.http_errors import RejectedError


@dataclass(frozen=True)
class LabelServer:
    """All that the routes need.

    Attributes:
        name: The served model's, as clients call it.
        clicks: That of the model that answers clicks; empty where there is none.
        dispatcher: Of the server.
        rules: What is asked of a request.
        datastore: What is labelled.
        sessions: Scans that are not the dataset's.
        trainings: Those that viewers start.
        max_upload: Bytes of a request.
    """

    name: str
    clicks: str
    dispatcher: Dispatcher
    rules: ServerRules
    datastore: Datastore
    sessions: Sessions
    trainings: Trainings
    max_upload: int

    @property
    def click_models(self) -> dict[str, ClickModel]:
        """The ways of answering points, by name."""
        return click_models(self.name, self.clicks, self.dispatcher.predictor.facts)

    def check_trainer(self, model: str) -> None:
        """Raise RejectedError (404) where the server trains no such model."""
        if model != self.name:
            raise RejectedError(404, "there is no such model", hint=f"GET /info/ names it: {self.name}")

    def check_model(self, model: str) -> None:
        """Raise RejectedError (404) where the server has no such model."""
        own = [] if self.dispatcher.predictor.facts["interactive"] else [self.name]
        names = [*own, *self.click_models]
        if model not in names:
            raise RejectedError(404, "there is no such model", hint=f"GET /info/ names them: {shorten_list(names)}")

    def read_clicks(self, model: str, params: dict[str, Any]) -> ClickTask | None:
        """What a viewer asks of a model that answers points; None: of the served one, which needs none.

        Raises:
            RejectedError: 422, the points make no sense.
        """
        row = self.click_models.get(model)
        if row is None:
            return None
        found = [Structure.model_validate(facts) for facts in self.dispatcher.predictor.facts["structures"]]
        return click_task(params, row, self.datastore.open().structures or found, found)

    def info(self) -> dict[str, Any]:
        """What the server has, for a viewer that connects."""
        facts = self.dispatcher.predictor.facts
        dataset, statistics = self.datastore.open(), self.datastore.statistics()
        found = {structure["name"]: structure["value"] for structure in facts["structures"]}
        dice = facts["validation_dice"]
        trained = "" if dice is None else f", validation Dice {dice:.3f}"
        models = {name: row.info() for name, row in self.click_models.items()}
        if not facts["interactive"]:  # first: it is what viewers have segment a new scan
            own = {
                "type": "segmentation",
                "labels": found,
                "dimension": facts["dimensions"],
                "description": f"osteon: {pluralise(len(found), 'structure')}{trained}",
                "config": {},
            }
            models = {self.name: own} | models
        return {
            "name": "osteon",
            "description": f"{dataset.manifest.name}: {pluralise(statistics['total'], 'scan')}",
            "version": __version__,
            "labels": [structure.name for structure in dataset.structures] or list(found),
            "models": models,
            "trainers": {
                self.name: {
                    "description": "osteon train --update, from this model or the last one taken",
                    "config": {"budget": self.trainings.budget},
                }
            },
            "strategies": {row.name: {"description": row.description, "config": {}} for row in STRATEGIES.values()},
            "scoring": {},
            "train_stats": {self.name: stats} if (stats := self.trainings.stats()) else {},
            "datastore": statistics,
        }


def create_label_server(
    dispatcher: Dispatcher, rules: ServerRules, max_upload: int, folder: Path, dataset: Path, budget: str
) -> LabelServer:
    """The server of a model and a dataset.

    Args:
        dispatcher: Hands jobs to the predicting process.
        rules: What is asked of a request.
        max_upload: Bytes of a request.
        folder: Of the server.
        dataset: What is labelled: a folder with dataset.yaml.
        budget: For how long a training takes, where the client does not say.

    Raises:
        FileError, DatasetError: The dataset cannot be read.
    """
    served = dispatcher.predictor.model
    name = _model_name(served.folder)
    answering = served.click_model or (served.folder if dispatcher.predictor.facts["interactive"] else None)
    store = Datastore(dataset, served.most_voxels)
    store.open()
    trainings = Trainings(folder, dataset, served.folder, name, served.device, budget)
    clicks = "" if answering is None else _model_name(answering)
    return LabelServer(name, clicks, dispatcher, rules, store, Sessions(folder), trainings, max_upload)


def _model_name(folder: Path) -> str:
    """The run's, which has made the model; or the model folder's."""
    place = folder.resolve()
    return place.parent.name if place.name == "model" else place.name
