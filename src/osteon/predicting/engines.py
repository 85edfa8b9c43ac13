"""What runs a network: torch as it is, torch compiled and frozen, OpenVINO, ONNX Runtime. A new engine is one row."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from osteon.core.errors import UsageError
from osteon.predicting.kept_networks import kept_model

Run = Callable[[torch.Tensor], torch.Tensor]
"""`[batch, channel, i, j, k]` float32 → the finest logits `[batch, output, i, j, k]` float32, on the CPU."""


@dataclass(frozen=True)
class Kind:
    """An engine.

    Attributes:
        name: As `--engine` names it.
        build: Of a network and the shape of what it will be given.
        lacks: What is missing on this machine; empty: nothing.
        precise: Its logits are those of fp32, but for rounding; the others need to pass the gate.
        start_s: About how long it takes to get ready, for each shape.
        device: On which device it runs.
    """

    name: str
    build: Callable[[nn.Module, tuple[int, ...]], Run]
    lacks: Callable[[], str]
    precise: bool
    start_s: float
    device: str = "cpu"


class _Finest(nn.Module):
    """A network's finest logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        finest: torch.Tensor = self.network(image)[0]
        return finest


def _eager(network: nn.Module, _: tuple[int, ...]) -> Run:
    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = network(batch)[0]
            return logits.float()

    return run


def _compiled(network: nn.Module, shape: tuple[int, ...]) -> Run:
    """Inductor with frozen weights: convolutions get their layouts once, norms and activations are fused."""
    import torch._inductor.config as inductor

    with inductor.patch(freezing=True), torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.compile(_Finest(network), dynamic=False)
        made(torch.zeros(shape))

    def run(batch: torch.Tensor) -> torch.Tensor:
        with inductor.patch(freezing=True), torch.inference_mode():
            logits: torch.Tensor = made(batch)
            return logits.clone().float()

    return run


def _openvino(network: nn.Module, shape: tuple[int, ...], hint: str = "f32") -> Run:
    """OpenVINO; `hint` because it takes bf16 by itself on CPUs that have it."""
    return openvino_run(kept_model(network, shape, openvino_model), hint)


def openvino_model(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """The network as an OpenVINO model of one fixed input shape."""
    import openvino

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of Python numbers, which are fixed with the shape
        model = openvino.convert_model(_Finest(network).eval(), example_input=torch.zeros(shape))
    model.reshape(list(shape))
    return model


def openvino_run(model: Any, hint: str) -> Run:
    """Compile an OpenVINO model for this machine's processor."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(batch: torch.Tensor) -> torch.Tensor:
        result = compiled(np.ascontiguousarray(batch.numpy()))[0]
        return torch.from_numpy(np.asarray(result, dtype=np.float32).copy())

    return run


def _onnx(network: nn.Module, shape: tuple[int, ...]) -> Run:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, shape, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: np.ascontiguousarray(batch.numpy())})[0])

    return run


def export_onnx(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write the network as an ONNX file of one fixed input shape: `image` in, `logits` out."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Finest(network).eval(),
            (torch.zeros(shape),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
        )


def _missing(*names: str) -> Callable[[], str]:
    def lacks() -> str:
        absent = [name for name in names if importlib.util.find_spec(name) is None]
        return f"{' and '.join(absent)} not installed" if absent else ""

    return lacks


def _no_compiler() -> str:
    return "" if any(shutil.which(name) for name in ("g++", "clang++", "c++")) else "no C++ compiler"


def _nothing() -> str:
    return ""


ENGINES = (
    Kind("torch", _eager, _nothing, precise=True, start_s=0.0),
    Kind("compiled", _compiled, _no_compiler, precise=True, start_s=30.0),
    Kind("openvino", _openvino, _missing("openvino"), precise=True, start_s=4.0),
    Kind("openvino-bf16", lambda n, s: _openvino(n, s, "bf16"), _missing("openvino"), precise=False, start_s=4.0),
    Kind("onnx", _onnx, _missing("onnxruntime", "onnx"), precise=True, start_s=4.0),
)
NAMES = tuple(kind.name for kind in ENGINES)


def kind_of(name: str) -> Kind:
    """The engine of a name.

    Raises:
        UsageError: There is none, or it cannot run on this machine.
    """
    for kind in ENGINES:
        if kind.name == name:
            if missing := kind.lacks():
                raise UsageError(
                    f"--engine {name}: {missing}",
                    hint="pip install 'osteon[fast]', or choose another; `osteon doctor` shows what this machine has",
                )
            return kind
    raise UsageError(f"there is no engine {name}", hint=f"one of {', '.join(NAMES)}")


class Engine(nn.Module):
    """A network that an engine runs: made ready once for each shape it is given.

    Args:
        network: In eval mode, on the CPU.
        kind: Of the engine.
    """

    def __init__(self, network: nn.Module, kind: Kind) -> None:
        super().__init__()
        self.network = network
        self.kind = kind
        self.ready: dict[tuple[int, ...], Run] = {}

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The finest logits `[batch, output, i, j, k]`, alone in a list."""
        shape = tuple(image.shape)
        if shape not in self.ready:
            self.ready[shape] = self.kind.build(self.network, shape)
        return [self.ready[shape](image)]
