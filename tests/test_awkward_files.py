"""A short run of `benchmarks/awkward_files.py`: what others read otherwise is refused or told, never silent."""

from __future__ import annotations

from types import ModuleType

import pytest

from osteon.formats import io
from scripts import load_script


@pytest.fixture(scope="module")
def awkward() -> ModuleType:
    return load_script("benchmarks/awkward_files.py")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["nifti", "nifti labels", "nrrd", "metaimage", "dicom", "coco"])
def test_nothing_is_read_otherwise_without_a_word(awkward: ModuleType, name: str) -> None:
    if not awkward.available(name):
        pytest.skip("osteon does not read it, or the library to compare with is not installed")
    outcome = awkward.check(name, seconds=60, most=100)
    assert outcome.worst == []
    assert outcome.counts.total() == 100
    assert outcome.counts["same"] > 10


@pytest.mark.filterwarnings("ignore")
def test_a_difference_that_nobody_tells_is_found(awkward: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "header_warnings", lambda *_, **__: [])
    outcome = awkward.check("nifti", seconds=60, most=60)
    assert outcome.counts["silent differences"] > 10
    assert "SimpleITK" in " ".join(outcome.worst)
