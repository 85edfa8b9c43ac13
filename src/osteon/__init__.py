"""Osteon: from labelled bone scans to a segmentation model you can trust, on your own machine.

Example:
    The whole way, with spines that `osteon phantom spine phantoms --cases 6 --size 24` makes up:

    >>> import osteon
    >>> levels = {"L1": 1, "L2": 2, "L3": 3, "L4": 4, "L5": 5}
    >>> report = osteon.import_dataset("phantoms/source", "spine", modality="mr", structures=levels)
    >>> plan = osteon.make_plan("spine", device="cpu", measure_cost=False)
    >>> few = {"training.epoch_iterations": 2}
    >>> report = osteon.train("spine", "run", epochs=1, device="cpu", settings=few)
    >>> report = osteon.predict("run", "spine", "predictions", device="cpu")
    >>> sorted(report.done)[:2]
    ['spine_001', 'spine_002']
    >>> evaluation = osteon.evaluate("predictions", "spine")
    >>> [structure.name for structure in evaluation.structures]
    ['L1', 'L2', 'L3', 'L4', 'L5']
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from osteon.core.threads import prepare_threads

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a program that listens to nothing hears nothing
prepare_threads()  # before anything loads a library with threads

from osteon.api import (  # noqa: E402
    add_labels,
    audit,
    audit_augmented,
    compare,
    doctor,
    evaluate,
    export,
    fit_vote,
    import_dataset,
    import_model,
    label_progress,
    load_model,
    make_plan,
    measure,
    predict,
    publish,
    report,
    suggest,
    sweep,
    train,
    vote,
)
from osteon.core.version import __version__  # noqa: E402

if TYPE_CHECKING:
    from osteon.auditing.augmented import AugmentedAudit as AugmentedAudit
    from osteon.auditing.run import Audit as Audit
    from osteon.converting.convert import ConvertedModel as ConvertedModel
    from osteon.core.clicks import Click as Click
    from osteon.core.clicks import ClickAnswer as ClickAnswer
    from osteon.core.errors import CaseError as CaseError
    from osteon.core.errors import DatasetError as DatasetError
    from osteon.core.errors import DiskFullError as DiskFullError
    from osteon.core.errors import DivergedError as DivergedError
    from osteon.core.errors import FileError as FileError
    from osteon.core.errors import GeometryError as GeometryError
    from osteon.core.errors import ImageError as ImageError
    from osteon.core.errors import LabelError as LabelError
    from osteon.core.errors import ModelError as ModelError
    from osteon.core.errors import OsteonError as OsteonError
    from osteon.core.errors import PlanError as PlanError
    from osteon.core.errors import RankError as RankError
    from osteon.core.errors import UnknownValueError as UnknownValueError
    from osteon.core.errors import UsageError as UsageError
    from osteon.core.geometry import Geometry as Geometry
    from osteon.core.labels import Segmentation as Segmentation
    from osteon.core.labels import Structure as Structure
    from osteon.core.volume import Volume as Volume
    from osteon.dataset.dataset import Dataset as Dataset
    from osteon.evaluating.record import Evaluation as Evaluation
    from osteon.exporting.publish import PublishReport as PublishReport
    from osteon.exporting.run import ExportReport as ExportReport
    from osteon.importing.run import ImportReport as ImportReport
    from osteon.labelling.progress import LabelProgress as LabelProgress
    from osteon.labelling.ranking import Suggestion as Suggestion
    from osteon.labelling.suggestions import SuggestReport as SuggestReport
    from osteon.machine.doctor import DoctorReport as DoctorReport
    from osteon.measuring.figure import Figure as Figure
    from osteon.measuring.run import MeasureReport as MeasureReport
    from osteon.plan.schema import Plan as Plan
    from osteon.planning.options import PlanOptions as PlanOptions
    from osteon.predicting.click_session import ClickSession as ClickSession
    from osteon.predicting.model import Model as Model
    from osteon.predicting.model import Prediction as Prediction
    from osteon.predicting.predictor import PredictReport as PredictReport
    from osteon.reporting.comparison import ComparisonResult as ComparisonResult
    from osteon.reporting.run_case_reports import CaseReports as CaseReports
    from osteon.runs.fit import TrainReport as TrainReport
    from osteon.sweeping.run import SweepReport as SweepReport
    from osteon.voting.fit import VoteFit as VoteFit
    from osteon.voting.report import VoteReport as VoteReport

_MODULES = {
    "core.clicks": "Click ClickAnswer",
    "core.errors": (
        "OsteonError UsageError PlanError CaseError FileError DiskFullError GeometryError LabelError "
        "UnknownValueError ImageError DatasetError ModelError DivergedError RankError"
    ),
    "core.geometry": "Geometry",
    "core.labels": "Segmentation Structure",
    "core.volume": "Volume",
    "dataset.dataset": "Dataset",
    "plan.schema": "Plan",
    "planning.options": "PlanOptions",
    "predicting.click_session": "ClickSession",
    "predicting.model": "Model Prediction",
    "auditing.augmented": "AugmentedAudit",
    "auditing.run": "Audit",
    "converting.convert": "ConvertedModel",
    "evaluating.record": "Evaluation",
    "exporting.publish": "PublishReport",
    "exporting.run": "ExportReport",
    "importing.run": "ImportReport",
    "labelling.progress": "LabelProgress",
    "labelling.ranking": "Suggestion",
    "labelling.suggestions": "SuggestReport",
    "machine.doctor": "DoctorReport",
    "measuring.figure": "Figure",
    "measuring.run": "MeasureReport",
    "predicting.predictor": "PredictReport",
    "reporting.comparison": "ComparisonResult",
    "reporting.run_case_reports": "CaseReports",
    "runs.fit": "TrainReport",
    "sweeping.run": "SweepReport",
    "voting.fit": "VoteFit",
    "voting.report": "VoteReport",
}
_CLASSES = {name: f"osteon.{module}" for module, names in _MODULES.items() for name in names.split()}
"""Public classes, each in the module that is loaded when it is asked for."""

__all__ = [
    "add_labels",
    "__version__",
    "audit",
    "audit_augmented",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "fit_vote",
    "import_dataset",
    "import_model",
    "label_progress",
    "load_model",
    "make_plan",
    "measure",
    "predict",
    "publish",
    "report",
    "suggest",
    "sweep",
    "train",
    "vote",
    *_CLASSES,
]


def __getattr__(name: str) -> Any:
    """A public class, loaded now."""
    if name not in _CLASSES:
        raise AttributeError(f"module 'osteon' has no attribute {name!r}")
    return getattr(import_module(_CLASSES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
