"""The page of patches as training sees them: DATASET/audit/augmented.html."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from osteon.auditing.picture import patch_picture
from osteon.auditing.run import FOLDER
from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.files import write_text
from osteon.core.html_pages import render
from osteon.core.random_streams import item_generator
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import FILE_NAME, Plan, read_plan
from osteon.preparing.cache import CachedCase, prepare_cases
from osteon.runs.record import check_plan_fits
from osteon.training.augmenting import apply_augmentation, describe_augmentation, draw_parameters
from osteon.training.sampling import PatchDraw, PatchSampler

PAGE = "augmented.html"
TEMPLATE = "augmented.html.j2"
SAMPLES = 24


@dataclass(frozen=True)
class PatchSample:
    """One patch of the page.

    Attributes:
        case: The case's id.
        place: Where in it the patch lies.
        given: A JPEG of it as it is, base64.
        changed: Likewise, as the network sees it.
        words: What was changed.
        unknown: Structures that nobody looked for in that case.
    """

    case: str
    place: str
    given: str
    changed: str
    words: list[str]
    unknown: list[str]


@dataclass(frozen=True, eq=False)
class AugmentedAudit:
    """The drawn patches and their page.

    Attributes:
        samples: The patches.
        failed: Cases that could not be prepared, with the reason.
        page: The HTML page.
    """

    samples: list[PatchSample]
    failed: dict[str, OsteonError]
    page: Path


def audit_augmented(
    dataset: Dataset, *, samples: int = SAMPLES, seed: int = 0, workers: int | None = None
) -> AugmentedAudit:
    """Draw patches and change them as training does, and write a page of them.

    Args:
        dataset: The dataset; its plan.yaml says what is drawn. As many cases as samples are prepared at most.
        samples: How many patches.
        seed: Of the choice of cases and of all that is drawn.
        workers: Processes for preparing the cases; None: as memory allows.

    Raises:
        UsageError: There is no plan, or fewer than one sample is asked for.
        PlanError: The plan is nonsense, or was made for other data.
        DatasetError: There is no labelled case, or none can be prepared.
    """
    if samples < 1:
        raise UsageError(f"{samples} samples cannot be drawn", hint="ask for at least 1")
    path = dataset.folder / FILE_NAME
    if not path.is_file():
        raise UsageError(
            f"{dataset.folder}: there is no {FILE_NAME}, which says how patches are drawn and changed",
            hint=f"make it with `osteon plan {dataset.folder}`",
        )
    plan = read_plan(path)
    check_plan_fits(dataset, plan)
    cases = dataset.manifest.trainable
    if not cases:
        raise DatasetError(f"{dataset.folder}: no labelled case to draw from", hint="import cases that have a label")
    chosen = item_generator(seed).permutation(len(cases))[:samples]
    cached, failed = prepare_cases(dataset, plan, [cases[number] for number in sorted(chosen)], workers=workers)
    if not cached:
        case, error = next(iter(failed.items()))
        raise DatasetError(f"{dataset.folder}: no case could be prepared; {case}: {error.message}", hint=error.hint)
    drawn = _draw(list(cached.values()), plan, samples, seed)
    page = dataset.folder / FOLDER / PAGE
    _write_page(page, dataset.manifest.name, plan, drawn, seed)
    return AugmentedAudit(drawn, failed, page)


def _draw(cases: list[CachedCase], plan: Plan, count: int, seed: int) -> list[PatchSample]:
    sampler = PatchSampler(cases, plan, seed)
    made: list[PatchSample] = []
    for iteration in range(-(-count // plan.patch.batch)):
        batch = sampler.read(iteration)
        changes = draw_parameters(plan, seed, iteration)
        parts = (batch.image.clone(), batch.labels.clone(), batch.annotated.clone())
        image, labels, annotated = apply_augmentation(*parts, changes, plan)
        for number, draw in enumerate(sampler.draw(iteration)[: count - len(made)]):
            given = batch.image[number, 0]
            low, high = np.percentile(given.numpy(), (1, 99))
            grey = float(low), float(max(high, low + 1e-6))  # one range for both, so that one sees what was changed
            made.append(
                PatchSample(
                    case=cases[draw.case].id,
                    place=_place(draw, plan),
                    given=_picture(given, batch.labels[number], plan, grey),
                    changed=_picture(image[number, 0], labels[number], plan, grey),
                    words=describe_augmentation(changes, number, plan),
                    unknown=[s.name for s, known in zip(plan.structures, annotated[number], strict=True) if not known],
                )
            )
    return made


def _place(draw: PatchDraw, plan: Plan) -> str:
    where = ", ".join(f"{letter} {first}" for letter, first in zip(plan.grid.axes, draw.origin, strict=True))
    enlarged = "" if draw.crop is None or plan.zoom is None else f"enlarged × {plan.zoom.factor:g}, "
    return f"{enlarged}from voxel {where} on"


def _picture(image: torch.Tensor, labels: torch.Tensor, plan: Plan, grey: tuple[float, float]) -> str:
    return base64.b64encode(patch_picture(image.numpy(), labels.numpy(), plan, grey)).decode()


def _write_page(path: Path, name: str, plan: Plan, samples: list[PatchSample], seed: int) -> None:
    size = "×".join(str(n) for n in plan.patch.size[: plan.grid.dimensions])
    edges = "×".join(f"{edge:.3g}" for edge in plan.grid.spacing_mm[: plan.grid.dimensions])
    html = render(
        "osteon.auditing",
        TEMPLATE,
        name=name,
        samples=samples,
        structures=plan.structures,
        flat=plan.grid.dimensions == 2,
        patch=f"{size} {'pixels' if plan.grid.dimensions == 2 else 'voxels'} of {edges} {plan.unit}",
        channel=plan.channels[0].name if len(plan.channels) > 1 else None,
        cases=len({sample.case for sample in samples}),
        recipe=plan.training.recipe,
        seed=seed,
    )
    write_text(path, html)
