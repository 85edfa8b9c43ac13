"""The page of patches as training sees them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import osteon
from helpers import FLAT, SIDES, plan_data, tiny_plan
from osteon.auditing.picture import patch_picture
from osteon.core.errors import DatasetError, UsageError
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Plan, write_plan
from osteon.training.augmenting import describe_augmentation, draw_parameters
from runs import cohort, command

CHANGES = {"augmentation.noise_p": 1.0, "augmentation.noise_std": 0.5}


def planned_cohort(folder: Path, plan: Plan) -> Dataset:
    data = cohort(folder)
    write_plan(folder / "plan.yaml", plan)
    return data


def pictures(page: Path) -> list[np.ndarray]:
    found = re.findall(r"base64,([A-Za-z0-9+/=]+)", page.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def test_a_page_shows_patches_before_and_after(tmp_path: Path) -> None:
    planned_cohort(tmp_path, tiny_plan(CHANGES))
    made = osteon.audit_augmented(tmp_path, samples=5, workers=1)
    assert made.page == tmp_path / "audit/augmented.html"
    assert len(made.samples) == 5
    assert all(sample.words[0].startswith("noise of SD") for sample in made.samples)
    shown = pictures(made.page)
    assert len(shown) == 10
    assert all(not np.array_equal(given, changed) for given, changed in zip(shown[::2], shown[1::2], strict=True))
    text = made.page.read_text(encoding="utf-8")
    assert "5 patches of 8×8×8 voxels of 1×1×1 mm" in text
    assert "https://" not in text  # complete by itself
    again = osteon.audit_augmented(tmp_path, samples=5, workers=1)
    assert [sample.changed for sample in again.samples] == [sample.changed for sample in made.samples]
    other = osteon.audit_augmented(tmp_path, samples=5, seed=1, workers=1)
    assert [sample.changed for sample in other.samples] != [sample.changed for sample in made.samples]


def test_nothing_changed_is_said(tmp_path: Path) -> None:
    planned_cohort(tmp_path, tiny_plan(FLAT))
    made = osteon.audit_augmented(tmp_path, samples=2, workers=1)
    assert [sample.words for sample in made.samples] == [[], []]
    assert made.page.read_text(encoding="utf-8").count("<li>unchanged</li>") == 2
    assert "2 patches of 8×8 pixels" in made.page.read_text(encoding="utf-8")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned_cohort(tmp_path, tiny_plan(CHANGES))
    assert command("audit", tmp_path, "--augmented", "--samples", 3, "--workers", 1) == 0
    assert "augmented.html" in capsys.readouterr().out
    assert command("audit", tmp_path, "--samples", 3) == 2
    assert "--augmented" in capsys.readouterr().err


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    data = cohort(tmp_path)
    with pytest.raises(UsageError, match=r"there is no plan\.yaml") as refused:
        osteon.audit_augmented(tmp_path)
    assert "osteon plan" in refused.value.hint
    write_plan(tmp_path / "plan.yaml", tiny_plan())
    with pytest.raises(UsageError, match="0 samples"):
        osteon.audit_augmented(tmp_path, samples=0)
    for case in data.manifest.cases:
        (tmp_path / case.images[0]).unlink()
    with pytest.raises(DatasetError, match="no case could be prepared; c0"):
        osteon.audit_augmented(tmp_path, workers=1)


def test_a_left_bone_that_is_mirrored_is_told_to_be_a_right_one() -> None:
    data = plan_data({"augmentation.mirror_axes": [0]})
    data["structures"] = SIDES
    plan = Plan.model_validate(data)
    changes = draw_parameters(plan, 0, 3)
    changes.mirror[:] = [True, False, False]
    assert describe_augmentation(changes, 0, plan) == ["mirrored along R; left and right swap names"]
    changes.mirror[:] = False
    assert describe_augmentation(changes, 0, plan) == []


def test_structures_are_outlined_in_their_colours() -> None:
    plan = tiny_plan()
    labels = np.zeros((8, 8, 8), dtype=np.int64)
    labels[2:6, 2:6, 2:6] = 2
    made = np.asarray(Image.open(io.BytesIO(patch_picture(np.zeros((8, 8, 8), np.float32), labels, plan, (0, 1)))))
    colour = np.array([int(plan.structures[1].colour[n : n + 2], 16) for n in (1, 3, 5)])
    assert (np.abs(made.astype(int) - colour).sum(-1) < 60).sum() > 100
    first = np.array([int(plan.structures[0].colour[n : n + 2], 16) for n in (1, 3, 5)])
    assert not (np.abs(made.astype(int) - first).sum(-1) < 60).any()
