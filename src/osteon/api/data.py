"""Datasets: imported, audited, planned. A verb imports what it needs when called."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from osteon.api.paths import PathLike

if TYPE_CHECKING:
    from osteon.auditing.augmented import AugmentedAudit
    from osteon.auditing.run import Audit
    from osteon.importing.options import ImportKeywords
    from osteon.importing.run import ImportReport
    from osteon.plan.schema import Plan
    from osteon.planning.options import PlanKeywords

logger = logging.getLogger(__name__)


def import_dataset(
    source: PathLike,
    dataset: PathLike,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
    ask: Callable[[str], bool] | None = None,
    **options: Unpack[ImportKeywords],
) -> ImportReport:
    """Read and check every case of a source and write `dataset`/dataset.yaml; the user's files stay as they are.

    Args:
        source: The data, as it is: a folder or a list.
        dataset: The folder that becomes the dataset.
        overwrite: Replace an existing dataset.yaml.
        workers: Processes for reading the cases; None: as memory allows.
        announce: Is called, line by line and before anything is written, with how the source was understood.
        ask: Is called with a question to people, and says yes or no; None: a note takes the question's place.
        **options: Fields of `osteon.importing.options.ImportOptions` (form, hold_out, structures, modality, …).

    Example:
        >>> report = osteon.import_dataset("phantoms/source", "again", modality="mr", only="first:2")
        >>> report.form, [case.id for case in report.manifest.cases]
        ('pairs', ['spine_001', 'spine_002'])
    """
    from osteon.importing.run import import_dataset

    return import_dataset(
        Path(source), Path(dataset), overwrite=overwrite, workers=workers, announce=announce, ask=ask, **options
    )


def audit(dataset: PathLike, *, workers: int | None = None) -> Audit:
    """Look for what is wrong with a dataset; writes `dataset`/audit/report.html and audit.json.

    Args:
        dataset: A folder with dataset.yaml.
        workers: Processes for reading the cases; None: as memory allows.

    Example:
        >>> osteon.audit("spine").findings[0].severity in ("error", "warning", "note")
        True
    """
    from osteon.auditing.run import audit
    from osteon.dataset.dataset import Dataset

    return audit(Dataset.open(Path(dataset)), workers=workers)


def audit_augmented(
    dataset: PathLike, *, samples: int = 24, seed: int = 0, workers: int | None = None
) -> AugmentedAudit:
    """Show patches as training sees them; writes `dataset`/audit/augmented.html.

    Args:
        dataset: A folder with dataset.yaml and plan.yaml.
        samples: How many patches.
        seed: Of all that is drawn.
        workers: Processes for preparing the cases; None: as memory allows.

    Example:
        >>> len(osteon.audit_augmented("spine", samples=2).samples)
        2
    """
    from osteon.auditing.augmented import audit_augmented
    from osteon.dataset.dataset import Dataset

    return audit_augmented(Dataset.open(Path(dataset)), samples=samples, seed=seed, workers=workers)


def make_plan(
    dataset: PathLike,
    *,
    device: str = "auto",
    measure_cost: bool = True,
    measure_budget_s: float | None = None,
    budget_s: float | None = None,
    workers: int | None = None,
    **options: Unpack[PlanKeywords],
) -> Plan:
    """Measure a dataset, decide, and write its plan.yaml.

    Args:
        dataset: A folder with dataset.yaml.
        device: What sizes are chosen for.
        measure_cost: Measure the forecast and the faster precision with a few steps.
        measure_budget_s: Seconds of the clock that this may take; None: 15, or a fifth of a shorter budget.
        budget_s: Seconds that a training will have; sizes are then chosen for this machine's measured speed.
        workers: Processes for reading the cases; None: as memory allows.
        **options: Fields of `osteon.planning.options.PlanOptions`: recipe, dimensions, network, encoder, window, …

    Example:
        >>> plan = osteon.make_plan("spine", device="cpu", measure_cost=False)
        >>> plan.network.name, plan.training.recipe
        ('unet', 'osteon')
    """
    from osteon.plan.schema import FILE_NAME, write_plan
    from osteon.planning.dataset_plan import plan_dataset
    from osteon.planning.options import PlanOptions

    planned = plan_dataset(
        Path(dataset),
        PlanOptions(**options),
        device=device,
        measure_cost=measure_cost,
        measure_budget_s=measure_budget_s,
        budget_s=budget_s,
        workers=workers,
    )
    write_plan(Path(dataset) / FILE_NAME, planned.plan)
    for case_id, error in planned.failed.items():
        logger.warning(f"not measured: {case_id}: {error}")
    return planned.plan
