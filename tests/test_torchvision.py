"""A torchvision that fails for want of an operator is mended, one that works is left alone, all else is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FAKES = {
    "broken": """
        import torch
        try:
            torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "Meta")
        except RuntimeError as error:
            raise RuntimeError("operator torchvision::nms does not exist") from error
    """,
    "whole": "",
    "other": "raise RuntimeError('libjpeg is not there')",
}
SCRIPT = """
import sys
from osteon.core.torchvision_ops import patch_torchvision_ops
print(patch_torchvision_ops(), patch_torchvision_ops(), "torchvision" in sys.modules)
"""


def run(folder: Path, kind: str) -> subprocess.CompletedProcess[str]:
    package = folder / "torchvision"
    package.mkdir()
    lines = FAKES[kind].splitlines()
    (package / "__init__.py").write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\n{SCRIPT}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("kind", "message"), [("broken", "True True True"), ("whole", "False False True")])
def test_it_is_mended_only_where_it_is_broken(tmp_path, kind, message):
    done = run(tmp_path, kind)
    assert done.stdout.split("\n")[0] == message, done.stderr


def test_another_failure_is_not_hidden(tmp_path):
    done = run(tmp_path, "other")
    assert done.returncode == 1
    assert "libjpeg is not there" in done.stderr
