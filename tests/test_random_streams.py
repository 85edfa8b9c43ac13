"""Streams of random numbers: none follows another, and those of earlier runs go on."""

from __future__ import annotations

import ast
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import osteon
from helpers import box, spacing_affine, tiny_plan, write_dataset
from osteon.core.random_streams import Stream, generator, item_generator
from osteon.preparing.cache import prepare_cases
from osteon.training.augmenting.parameters import draw_parameters
from osteon.training.sampling import PatchSampler

SOURCE = Path(osteon.__file__).parent


def test_no_two_streams_have_the_same_number() -> None:
    assert len(Stream.__members__) == len(set(Stream))
    assert [int(stream) for stream in Stream] == [1, 2, 3, 4, 5, 6]  # for good: runs go on as they began


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_streams_draw_what_they_drew_before_they_had_names(seed: int) -> None:
    for number in (0, 5):
        drawn = generator(seed, Stream.AUGMENTATION, number).random(3)
        assert (drawn == np.random.default_rng((seed, 3, number)).random(3)).all()
        assert (item_generator(seed, number).random(3) == np.random.default_rng([seed, number]).random(3)).all()
    assert (item_generator(seed).permutation(9) == np.random.default_rng(seed).permutation(9)).all()


@pytest.mark.parametrize(("one", "two"), list(combinations(Stream, 2)))
def test_streams_do_not_follow_each_other(one: Stream, two: Stream) -> None:
    drawn = np.array(
        [[generator(seed, each, n).random(4) for each in (one, two)] for seed in range(20) for n in range(50)]
    )
    between = np.corrcoef(drawn[:, 0].T, drawn[:, 1].T)[:4, 4:]
    assert np.abs(between).max() < 0.15  # nearly 5 standard errors


def test_an_enlarged_patch_is_mirrored_no_more_often_than_others(tmp_path: Path) -> None:
    labels = box((48, 40, 40), (3, [slice(4, 12), slice(6, 30), slice(8, 30)]), (5, [slice(24, 32)] * 3))
    dataset = write_dataset(tmp_path, {"a": (labels.astype(np.int16), labels, spacing_affine(0.5, 0.5, 0.5))})
    zoom = {"structures": ["tibia"], "factor": 2.0, "share": 0.3, "margin_mm": 2.0}
    plan = tiny_plan({"patch.batch": 1, "zoom": zoom, "augmentation.mirror_axes": [0, 1, 2]})
    cases = list(prepare_cases(dataset, plan, dataset.manifest.trainable)[0].values())
    enlarged, mirrored = np.empty((2, 40, 50), bool)
    for seed in range(40):
        sampler = PatchSampler(cases, plan, seed)
        for n in range(50):
            enlarged[seed, n] = sampler.draw(n)[0].crop is not None
            mirrored[seed, n] = draw_parameters(plan, seed, n).mirror[0, 0]
    assert enlarged.mean() == pytest.approx(0.3, abs=0.06)
    assert mirrored[enlarged].mean() == pytest.approx(mirrored[~enlarged].mean(), abs=0.1)


def test_no_other_module_seeds_a_generator_of_numpy() -> None:
    seeds = {"default_rng", "SeedSequence", "PCG64", "RandomState", "Philox"}
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name != "random_streams.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in seeds
    ]
    assert found == []
