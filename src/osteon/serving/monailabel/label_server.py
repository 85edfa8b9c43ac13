"""What a viewer that speaks MONAI Label finds: models, a dataset, strategies, a trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.core.labels import Structure
from osteon.core.text import pluralise, shorten_list
from osteon.core.version import __version__
from osteon.serving.click_tasks import ClickTask
from osteon.serving.dispatcher import Dispatcher, DispatcherGroup
from osteon.serving.guard import ServerRules
from osteon.serving.model_names import folder_name
from osteon.serving.monailabel.clicks import ClickModel, click_models, click_task
from osteon.serving.monailabel.datastore import Datastore
from osteon.serving.monailabel.sessions import Sessions
from osteon.serving.monailabel.strategies import STRATEGIES
from osteon.serving.monailabel.training import Trainings
from osteon.web.http_errors import RejectedError


@dataclass(frozen=True)
class LabelServer:
    """All that the routes need.

    Attributes:
        name: The first model's, as clients call it: the one that is trained on.
        dispatchers: Of the server.
        rules: What is asked of a request.
        datastore: What is labelled.
        sessions: Scans that are not the dataset's.
        trainings: Those that viewers start.
        max_upload: Bytes of a request.
    """

    name: str
    dispatchers: DispatcherGroup
    rules: ServerRules
    datastore: Datastore
    sessions: Sessions
    trainings: Trainings
    max_upload: int

    @property
    def models(self) -> dict[str, tuple[Dispatcher, ClickModel | None]]:
        """All models of viewers, by name: whose process answers, and how it answers points; None: it needs none."""
        every = self.dispatchers.by_model.items()
        found: dict[str, tuple[Dispatcher, ClickModel | None]] = {
            name: (one, None) for name, one in every if not one.predictor.facts["interactive"]
        }
        for name, one in every:
            served, facts = one.predictor.model, one.predictor.facts
            clicks = name if facts["interactive"] else ""
            if served.click_model is not None:
                clicks = folder_name(served.click_model)
            for row in click_models(name, clicks, facts).values():
                found.setdefault(row.name, (one, row))
        return found

    def check_trainer(self, model: str) -> None:
        """Raise RejectedError (404) where the server trains no such model."""
        if model != self.name:
            raise RejectedError(404, "there is no such model", hint=f"GET /info/ names it: {self.name}")

    def find_model(self, model: str) -> tuple[Dispatcher, ClickModel | None]:
        """One of `models`. Raises RejectedError (404) where the server has no such model."""
        models = self.models
        if model not in models:
            hint = f"GET /info/ names them: {shorten_list(list(models))}"
            raise RejectedError(404, "there is no such model", hint=hint)
        return models[model]

    def read_clicks(self, model: str, params: dict[str, Any]) -> ClickTask | None:
        """What a viewer asks of a model that answers points; None: of one which needs none.

        Raises:
            RejectedError: 422, the points make no sense; 404, there is no such model.
        """
        dispatcher, row = self.find_model(model)
        if row is None:
            return None
        found = [Structure.model_validate(facts) for facts in dispatcher.predictor.facts["structures"]]
        return click_task(params, row, self.datastore.open().structures or found, found)

    def info(self) -> dict[str, Any]:
        """What the server has, for a viewer that connects."""
        dataset, statistics = self.datastore.open(), self.datastore.statistics()
        models = {  # those that need no points first: the first is what viewers have segment a new scan
            name: _describe(dispatcher) if row is None else row.info()
            for name, (dispatcher, row) in self.models.items()
        }
        found = dict.fromkeys(s["name"] for one in self.dispatchers.by_model.values() for s in _structures(one))
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


def _structures(dispatcher: Dispatcher) -> list[dict[str, Any]]:
    structures: list[dict[str, Any]] = dispatcher.predictor.facts["structures"]
    return structures


def _describe(dispatcher: Dispatcher) -> dict[str, Any]:
    """A model that needs no points, as `/info/` lists it."""
    facts = dispatcher.predictor.facts
    found = {structure["name"]: structure["value"] for structure in _structures(dispatcher)}
    dice = facts["validation_dice"]
    trained = "" if dice is None else f", validation Dice {dice:.3f}"
    return {
        "type": "segmentation",
        "labels": found,
        "dimension": facts["dimensions"],
        "description": f"osteon: {pluralise(len(found), 'structure')}{trained}",
        "config": {},
    }


def create_label_server(
    dispatchers: DispatcherGroup, rules: ServerRules, max_upload: int, folder: Path, dataset: Path, budget: str
) -> LabelServer:
    """The server of models and a dataset.

    Args:
        dispatchers: Hand jobs to the models' processes.
        rules: What is asked of a request.
        max_upload: Bytes of a request.
        folder: Of the server.
        dataset: What is labelled: a folder with dataset.yaml.
        budget: For how long a training takes, where the client does not say.

    Raises:
        FileError, DatasetError: The dataset cannot be read.
    """
    name = dispatchers.queue.default
    served = dispatchers.find(name).predictor.model
    store = Datastore(dataset, served.most_voxels)
    store.open()
    trainings = Trainings(folder, dataset, served.folder, name, served.device, budget)
    return LabelServer(name, dispatchers, rules, store, Sessions(folder), trainings, max_upload)
