"""The wheel holds the package with its pages and JavaScript, and nothing else; `make dist` names what is wrong."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from scripts import load_script

pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed here")

ROOT = Path(__file__).parents[1]
if not (ROOT / "src/osteon/app/static/niivue/index.js").is_file():
    pytest.skip("NiiVue could not be had from npm here", allow_module_level=True)


@pytest.fixture(scope="module")
def dist() -> ModuleType:
    return load_script("tools/build_dist.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hatchling.builders.wheel import WheelBuilder

    place = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(place), versions=["standard"])))


def test_the_wheel_is_as_it_should_be(dist: ModuleType, wheel: Path) -> None:
    assert wheel.name == f"osteon-{dist.version()}-py3-none-any.whl"
    assert dist.wheel_problems(wheel) == []


@pytest.mark.parametrize(
    ("without", "more", "problem"),
    [
        ("osteon/py.typed", "", "lacks osteon/py.typed"),
        ("osteon/app/static/niivue/index.js", "", "lacks osteon/app/static/niivue/index.js"),
        ("osteon/reporting/report.html.j2", "", "lacks osteon/reporting/report.html.j2"),
        (
            "osteon-{}.dist-info/licenses/LICENSES/niivue.txt",
            "",
            "lacks osteon-{}.dist-info/licenses/LICENSES/niivue.txt",
        ),
        ("", "tests/test_unet.py", "holds tests/test_unet.py, which is not a part of the package"),
        ("", "osteon/__pycache__/x.pyc", "holds osteon/__pycache__/x.pyc, which is not a part of the package"),
        ("", "osteon/scan.nii.gz", "holds osteon/scan.nii.gz, which is not a part of the package"),
        ("osteon-{}.dist-info/METADATA", "osteon-{}.dist-info/METADATA", "METADATA says version 9, the sources {}"),
        ("osteon-{}.dist-info/entry_points.txt", "osteon-{}.dist-info/entry_points.txt", "has no command `osteon`"),
    ],
)
def test_what_a_wheel_lacks_or_has_too_much_is_named(
    dist: ModuleType, wheel: Path, tmp_path: Path, without: str, more: str, problem: str
) -> None:
    without, more, problem = (text.format(dist.version()) for text in (without, more, problem))
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(tmp_path / wheel.name, "w") as changed:
        for name in archive.namelist():
            if name != without:
                changed.writestr(name, archive.read(name) if ".dist-info/" in name else "")
        if more:
            changed.writestr(more, "Version: 9\n")
    assert dist.wheel_problems(tmp_path / wheel.name) == [problem]


def test_what_an_sdist_lacks_or_has_too_much_is_named(dist: ModuleType, tmp_path: Path) -> None:
    root, top = tmp_path / "project", f"osteon-{dist.version()}"
    (root / "src/osteon/core").mkdir(parents=True)
    (root / "src/osteon/core/version.py").write_text(f'__version__ = "{dist.version()}"\n')
    files = [
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "tests/conftest.py",
        "PKG-INFO",
    ]
    files += [*dist.LICENCES, *(f"src/{name}" for name in dist.MUST_HOLD)]

    def problems(names: list[str]) -> list[str]:
        with tarfile.open(tmp_path / "osteon.tar.gz", "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        return list(dist.sdist_problems(tmp_path / "osteon.tar.gz", root))

    whole = [f"{top}/{name}" for name in files]
    assert problems(whole) == []
    assert problems(whole[1:]) == ["lacks pyproject.toml"]
    assert problems([*whole, f"{top}/tests/.axe/index.js"]) == ["holds tests/.axe/index.js"]
    assert problems([*whole, "elsewhere"]) == ["holds elsewhere, outside its folder"]
