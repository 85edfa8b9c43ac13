"""The libraries that are required are those that are imported, and each is imported only where it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from helpers import tiny_plan, two_boxes, write_dataset
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.networks.registry import build_network
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model

ROOT = Path(__file__).parents[1]
UNIMPORTED = {
    "tensorboard": "Lightning writes its files with it",
    "einops": "MONAI's Swin UNETR imports it and does not require it",
    "pylibjpeg-openjpeg": "pydicom finds it",
    "onnx": "torch.onnx needs it",
}
WITH_OTHERS = {
    "anyio": "fastapi",
    "starlette": "fastapi",
    "h11": "uvicorn",
    "dask": "distributed",
    "mlflow": "mlflow-skinny",
}
"""Required by what is required, and a part of it: no release of the one goes without the other."""
HEAVY = (
    *("torch", "lightning", "numpy", "scipy", "nibabel", "pydicom", "highdicom", "matplotlib", "pandas", "PIL", "cv2"),
    *("IPython", "huggingface_hub", "jinja2"),
)
NOT_TO_PREDICT = (
    *("lightning", "torchmetrics", "torchvision", "tensorboard", "matplotlib", "pandas", "IPython", "optuna"),
    *("monai", "timm", "segmentation_models_pytorch", "highdicom", "skimage", "sklearn", "huggingface_hub"),
    *("scipy.stats", "scipy.optimize", "scipy.signal", "torch._dynamo", "sympy", "jinja2", "nicegui", "openvino"),
)


def requirements() -> dict[str, set[str]]:
    """The names that each extra adds; those of "" are always there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: {canonicalize_name(Requirement(line).name) for line in lines} for extra, lines in named.items()}


def test_the_lowest_versions_that_are_required_are_those_that_were_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    lowest = {
        (canonicalize_name(one.name), Version(bound.version))
        for extra, lines in groups.items()
        for one in map(Requirement, lines)
        for bound in one.specifier
        if extra != "dev" and bound.operator == ">="
    }
    lines = (ROOT / "constraints/min.txt").read_text().splitlines()
    tried = {(line.partition("==")[0], Version(line.partition("==")[2])) for line in lines if line[0] != "#"}
    assert lowest == tried
    assert len(lowest) == len(set().union(*(names for extra, names in requirements().items() if extra != "dev")))


def imports_of() -> set[str]:
    """The distributions that modules of osteon import, by the names that PyPI has them under."""
    names: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"osteon"}
    known = packages_distributions()
    return {canonicalize_name(WITH_OTHERS.get(top) or known.get(top, [top])[0]) for top in tops}


def test_what_is_required_is_imported_and_what_is_imported_is_required() -> None:
    extras = requirements()
    required = set().union(*(names for extra, names in extras.items() if extra != "dev"))
    assert required - imports_of() == set(UNIMPORTED)
    assert imports_of() <= required
    optional = set().union(*(names for extra, names in extras.items() if extra not in ("", "dev")))
    assert optional <= extras["dev"]  # so that the checks see all of the code


def test_the_page_has_a_reason_for_each() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs/dependencies.md").read_text().splitlines() if line[:2] == "| "]
    reasons = {row[0].removeprefix("| "): row[-1].removesuffix(" |") for row in rows[1:] if row[0] != "| ---"}
    assert set(reasons) == set().union(*(names for extra, names in requirements().items() if extra != "dev"))
    assert all(len(reason) > 2 for reason in reasons.values())


def modules_after(code: str, names: tuple[str, ...]) -> str:
    """Which of these modules a process has loaded when the code is done."""
    code = f"import sys\n{code}\nprint('loaded:', *(name for name in {names} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("loaded:")[2].strip()


def command(*arguments: object) -> str:
    """Code that runs `osteon ARGUMENTS`."""
    return (
        f"from osteon.cli.main import main\nsys.argv = {['osteon', *map(str, arguments)]}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )


def test_start_and_help_load_nothing_heavy() -> None:
    assert modules_after("import osteon\n" + command("--help"), (*HEAVY, "pydantic")) == ""
    helps = [command(name, "--help") for name in ("predict", "train", "weights")]
    assert modules_after("\n".join(helps), HEAVY) == ""  # with pydantic, by which typer reads options


def test_a_prediction_loads_only_what_it_needs(tmp_path: Path) -> None:
    image, _, affine = two_boxes()
    write_volume(tmp_path / "scan.nii.gz", Volume(image[None].astype(np.float32), Geometry(image.shape, affine)))
    plan = tiny_plan()
    save_model(tmp_path / "model", Model(build_network(plan), plan, {"dice": 0.5}, ""), "# A card\n")
    run = command("predict", tmp_path / "model", tmp_path / "scan.nii.gz", tmp_path / "out", "--device", "cpu")
    assert modules_after(run, NOT_TO_PREDICT) == ""
    assert (tmp_path / "out" / "scan.nii.gz").is_file()


def test_commands_about_data_load_no_torch(tmp_path: Path) -> None:
    dataset, source = tmp_path / "dataset", tmp_path / "source"
    write_dataset(source, {name: two_boxes(seed=n) for n, name in enumerate("abc")})
    nnunet = tmp_path / "nnunet"
    runs = (
        ("export", "nnunet", source, nnunet),
        ("import", nnunet, dataset),
        ("audit", dataset),
        ("evaluate", nnunet / "labelsTr", dataset),
    )
    assert modules_after("\n".join(command(*run) for run in runs), ("torch", "lightning", "monai")) == ""
