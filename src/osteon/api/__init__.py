"""The verbs of the command line, for Python."""

from osteon.api.data import audit, audit_augmented, import_dataset, make_plan
from osteon.api.labels import add_labels, label_progress, suggest
from osteon.api.measures import measure
from osteon.api.models import doctor, import_model, load_model, publish, sweep, train
from osteon.api.results import compare, evaluate, export, predict, report
from osteon.api.votes import fit_vote, vote

__all__ = [
    "add_labels",
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
]
