"""The whole way on real scans: shorter than anybody would train, so only that it works is asserted."""

from __future__ import annotations

import math
from pathlib import Path

import osteon
from osteon.formats import read_geometry, read_segmentation


def test_hippocampi_from_files_to_scores(shared_data: Path, tmp_path: Path) -> None:
    dataset, run, out = tmp_path / "dataset", tmp_path / "run", tmp_path / "out"
    report = osteon.import_dataset(shared_data / "msd-hippocampus", dataset, only="first:12", hold_out="last:2")
    assert len(report.manifest.cases) == 12
    assert not report.failed
    plan = osteon.make_plan(dataset, measure_cost=False)
    assert plan.grid.dimensions == 3
    assert [s.name for s in plan.structures] == ["Anterior", "Posterior"]
    training = plan.training.model_copy(update={"epoch_iterations": 10, "epochs": 2})
    network = plan.network.model_copy(update={"features": [4 * 2**n for n in range(len(plan.network.features))]})
    small = plan.model_copy(update={"training": training, "network": network})
    trained = osteon.train(dataset, run, plan=small, device="cpu")
    assert trained.iterations == 20
    assert len(trained.validation["cases"]) == 2
    assert math.isfinite(trained.validation["dice"])
    predicted = osteon.predict(run, dataset, out)
    held = [case for case in report.manifest.cases if case.held_out]
    assert predicted.done == [case.id for case in held]
    for case in held:
        found = read_segmentation(out / f"{case.id}.nii.gz")
        assert found.geometry.is_close(read_geometry(dataset / case.images[0]))
    result = osteon.evaluate(out, dataset, out)
    assert {score.case for score in result.scores} == {case.id for case in held}
    assert result.overall.dice.mean is not None
    assert 0 <= result.overall.dice.mean <= 1
    assert (out / "metrics.csv").is_file()


def test_lumbar_spines_are_planned_as_they_are(shared_data: Path, tmp_path: Path) -> None:
    names = {f"L{n}": n for n in range(1, 6)}
    osteon.import_dataset(shared_data / "spine-mr-lumbar/pairs.txt", tmp_path, only="first:6", structures=names)
    plan = osteon.make_plan(tmp_path, measure_cost=False, device="cpu")
    assert plan.grid.dimensions == 3
    assert plan.grid.axes == ("R", "A", "S")
    assert all(abs(spacing - 4.0) < 0.3 for spacing in plan.grid.spacing_mm), plan.grid.spacing_mm
    assert all(
        size * spacing >= 0.95 * whole
        for size, spacing, whole in zip(plan.patch.size, plan.grid.spacing_mm, (77, 224, 224), strict=True)
    )
    assert plan.sequence is not None
    assert plan.sequence.names == ["L5", "L4", "L3", "L2", "L1"]  # from the feet up
    assert plan.augmentation.mirror_axes == [0]
    assert [s.name for s in plan.structures] == list(names)
