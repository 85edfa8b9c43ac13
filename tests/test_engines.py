"""Engines: each says what torch says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers import FLAT, tiny_plan
from osteon.core.errors import UsageError
from osteon.networks import fused_norm
from osteon.networks.ensemble import Ensemble
from osteon.networks.registry import build_network
from osteon.predicting import compiled_cache, engines
from osteon.predicting.engines import ENGINES, NAMES, Engine, find_engine
from osteon.predicting.quantised import PATCHES, draw_patches, quantise
from osteon.predicting.tiles import predict_probabilities

BOTH_ORDERS = pytest.mark.usefixtures("memory_order")


@pytest.fixture(autouse=True)
def one_compilation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    torch._dynamo.reset()


def network(changes: dict[str, Any] | None = None) -> nn.Module:
    torch.manual_seed(0)
    return build_network(tiny_plan(changes)).eval()


def noise() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((1, 20, 20, 20), dtype=np.float32)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square difference as a part of the spread."""
    return float((found - expected).square().mean().sqrt() / expected.std())


@BOTH_ORDERS
@pytest.mark.parametrize("kind", ENGINES, ids=NAMES)
@pytest.mark.parametrize("flat", [False, True], ids=["3d", "2d"])
def test_every_engine_says_what_torch_says(kind: engines.EngineKind, flat: bool, tmp_path: Path) -> None:
    if missing := kind.missing():
        pytest.skip(missing)
    if kind.name == "compiled" and flat:
        pytest.skip("compiling takes half a minute, and once is enough")
    changes = FLAT if flat else {}
    made, plan = network(changes), tiny_plan(changes)
    image = torch.randn(2 if flat else 1, 1, *plan.patch.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = made(image)[0]
    file = tmp_path / "int8.xml" if kind.quantised else None
    if file is not None:
        quantise(made, plan, [noise()], file)
    engine = Engine(made, kind, file)
    found = engine(image)[0]
    assert found.dtype == torch.float32
    assert off(found, expected) < (1e-4 if kind.precise else 0.25)
    torch.testing.assert_close(engine(image)[0], found)
    again = engine(image + 1)[0]  # what was given before is not written over
    assert not torch.equal(again, found)
    assert len(engine.ready) == 1


@BOTH_ORDERS
@pytest.mark.parametrize("name", ["torch", "openvino", "onnx"])
def test_whole_scans_are_the_same_with_any_engine(name: str) -> None:
    if missing := next(kind for kind in ENGINES if kind.name == name).missing():
        pytest.skip(missing)
    members = Ensemble([network(), network()]).eval()
    image = torch.randn(1, 19, 8, 9, generator=torch.Generator().manual_seed(2))
    plan = tiny_plan()
    expected = predict_probabilities(members, image, plan)
    torch.testing.assert_close(
        predict_probabilities(Engine(members, find_engine(name)), image, plan), expected, atol=1e-4, rtol=0
    )


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="there is no engine tpu") as refused:
        find_engine("tpu")
    assert "openvino" in refused.value.hint
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="--engine openvino: openvino not installed") as refused:
        find_engine("openvino")
    assert "osteon[fast]" in refused.value.hint
    monkeypatch.setattr(engines.shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="no C"):
        find_engine("compiled")


@BOTH_ORDERS
def test_onnx_files_are_whole(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    engines.export_onnx(network(), (1, 1, 8, 8, 8), tmp_path / "n.onnx")
    model = onnx.load(tmp_path / "n.onnx")
    onnx.checker.check_model(model)
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["logits"]


def test_what_is_written_does_not_depend_on_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    written = []
    for innermost in (False, True):
        monkeypatch.setattr(fused_norm, "is_channels_last_faster", lambda *_, innermost=innermost: innermost)
        engines.export_onnx(network(), (2, 1, 8, 8, 8), tmp_path / "n.onnx")
        written.append((tmp_path / "n.onnx").read_bytes())
    assert written[0] == written[1]


class Pooling(nn.Module):
    """Computes what ONNX has no word for."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [nn.functional.adaptive_avg_pool3d(image, 5)]


def test_a_network_that_onnx_cannot_hold_is_refused_in_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    for refusing in (
        lambda: engines.export_onnx(Pooling(), (1, 1, 8, 8, 8), tmp_path / "n.onnx"),
        lambda: Engine(Pooling(), find_engine("onnx"))(torch.zeros(1, 1, 8, 8, 8)),
    ):
        with pytest.raises(UsageError, match=r"cannot be written as ONNX: .*adaptive_avg_pool3d") as refused:
            refusing()
        assert "\n" not in refused.value.message
        assert "--engine torch" in refused.value.hint
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.glob("*.onnx"))


@BOTH_ORDERS
def test_a_quantised_network_takes_other_sizes_and_is_needed(tmp_path: Path) -> None:
    kind = next(kind for kind in ENGINES if kind.quantised)
    if missing := kind.missing():
        pytest.skip(missing)
    made, plan = network(), tiny_plan()
    quantise(
        made,
        plan,
        [noise()],
        tmp_path / "model/int8.xml",
    )
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["int8.bin", "int8.xml"]
    larger = torch.randn(2, 1, 10, 12, 16)
    found = Engine(made, kind, tmp_path / "model/int8.xml")(larger)[0]
    assert off(found, made(larger)[0].detach()) < 0.25
    with pytest.raises(OSError, match="was not quantised"):
        Engine(made, kind)(larger)


def test_patches_for_quantising_lie_in_every_scan() -> None:
    plan = tiny_plan()
    images = [np.full((1, 12, 9, 8), 1.0, np.float32), np.full((1, 4, 20, 5), 2.0, np.float32)]
    patches = list(draw_patches(images, plan))
    assert len(patches) == PATCHES
    assert {patch.shape for patch in patches} == {(1, 1, 8, 8, 8)}
    assert [patch.mean() for patch in patches[:3]] == [1.0, 2.0, 1.0]


def test_nobody_is_told_of_the_use() -> None:
    """OpenVINO and NNCF send telemetry by themselves."""
    kind = next(kind for kind in ENGINES if kind.quantised)
    if missing := kind.missing():
        pytest.skip(missing)
    code = "import sys; from osteon.predicting.engines import _openvino_module as load; load(); "
    code += "import openvino.tools.ovc, nncf; "
    code += "assert sys.modules['openvino_telemetry'] is None; assert 'openvino_telemetry.main' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@BOTH_ORDERS
def test_a_converted_network_is_kept_and_never_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := next(kind for kind in ENGINES if kind.name == "openvino").missing():
        pytest.skip(missing)
    openvino, converted = engines._openvino_module(), []

    def convert(made: nn.Module, shape: tuple[int, ...]) -> Any:
        converted.append(shape)
        return engines.openvino_model(made, shape)

    image = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))

    def logits(made: nn.Module) -> torch.Tensor:
        return engines.openvino_run(compiled_cache.load_or_convert(openvino, made, (1, 1, 8, 8, 8), convert), "f32")(
            image
        )

    first = logits(network())
    assert torch.equal(logits(network()), first)
    assert len(converted) == 1
    other = network()
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    assert not torch.equal(logits(other), first)
    assert len(converted) == 2
    for path in (tmp_path / "cache/osteon/openvino").glob("*.xml"):
        path.write_text(path.read_text()[:-200])
    assert torch.equal(logits(network()), first)
    assert len(converted) == 3
    monkeypatch.setattr(compiled_cache, "MAX_NETWORKS", 1)
    (tmp_path / "cache/osteon/openvino/old.xml").write_text("")
    logits(other)
    assert len(list((tmp_path / "cache/osteon/openvino").glob("*.xml"))) == 1
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # where nothing can be kept
    assert torch.equal(logits(network()), first)


def test_a_torch_without_the_printing_that_is_silenced_converts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_jit_onnx_log", raising=False)
    with engines._conversion("ONNX"):
        pass
    assert not hasattr(torch._C, "_jit_onnx_log")
