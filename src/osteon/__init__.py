"""Osteon: from labelled bone scans to a segmentation model you can trust, on your own machine."""

from osteon.core.threads import prepare_threads

prepare_threads()  # before anything loads a library with threads

from osteon.api import (  # noqa: E402
    audit,
    audit_augmented,
    compare,
    doctor,
    evaluate,
    export,
    fit_vote,
    import_dataset,
    import_model,
    load_model,
    make_plan,
    predict,
    sweep,
    train,
    vote,
)
from osteon.core.version import __version__  # noqa: E402

__all__ = [
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
    "load_model",
    "make_plan",
    "predict",
    "sweep",
    "train",
    "vote",
]
