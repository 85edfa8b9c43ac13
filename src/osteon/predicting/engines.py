"""What runs a network: torch as it is, torch compiled and frozen, OpenVINO, ONNX Runtime. A new engine is one row."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from osteon.core.errors import UsageError, is_out_of_memory, summarise_error
from osteon.core.files import atomic_write
from osteon.predicting.compiled_cache import load_or_convert

RunNetwork = Callable[[torch.Tensor], torch.Tensor]
"""`[batch, channel, i, j, k]` float32 → the finest logits `[batch, output, i, j, k]` float32, on the CPU."""


@dataclass(frozen=True)
class EngineKind:
    """An engine.

    Attributes:
        name: As `--engine` names it.
        build: Of a network, the shape of what it will be given, and the file of its quantised form where there is one.
        missing: What is missing on this machine; empty: nothing.
        precise: Its logits are those of fp32, but for rounding; other engines need to pass the gate.
        start_s: About how long it takes to get ready, for each shape.
        device: On which device it runs.
        quantised: It runs a network that `quantised.quantise` made.
    """

    name: str
    build: Callable[[nn.Module, tuple[int, ...], Path | None], RunNetwork]
    missing: Callable[[], str]
    precise: bool
    start_s: float
    device: str = "cpu"
    quantised: bool = False


class _FinestLogits(nn.Module):
    """A network's finest logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        finest: torch.Tensor = self.network(image)[0]
        return finest


def _eager(network: nn.Module, _: tuple[int, ...], __: Path | None) -> RunNetwork:
    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = network(batch)[0]
            return logits.float()

    return run


def _compiled(network: nn.Module, shape: tuple[int, ...], _: Path | None) -> RunNetwork:
    """Inductor with frozen weights: convolutions get their layouts once, norms and activations are fused."""
    import torch._inductor.config as inductor

    with inductor.patch(freezing=True), torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.compile(_FinestLogits(network), dynamic=False)
        made(torch.zeros(shape))

    def run(batch: torch.Tensor) -> torch.Tensor:
        with inductor.patch(freezing=True), torch.inference_mode():
            logits: torch.Tensor = made(batch)
            return logits.clone().float()

    return run


def _openvino(network: nn.Module, shape: tuple[int, ...], _: Path | None, hint: str = "f32") -> RunNetwork:
    """OpenVINO; `hint` because it takes bf16 by itself on CPUs that have it."""
    return openvino_run(load_or_convert(_openvino_module(), network, shape, openvino_model), hint)


def _int8(_: nn.Module, shape: tuple[int, ...], file: Path | None) -> RunNetwork:
    if file is None:
        raise OSError("the model was not quantised; `osteon doctor MODEL DATASET` does that")
    model = _openvino_module().Core().read_model(file)
    model.reshape(list(shape))
    return openvino_run(model, "f32")


def openvino_model(network: nn.Module, shape: tuple[int, ...], *, any_size: bool = False) -> Any:
    """The network as an OpenVINO model of one fixed input shape, or of any."""
    openvino = _openvino_module()
    with _conversion("OpenVINO"):
        model = openvino.convert_model(_FinestLogits(network).eval(), example_input=torch.zeros(shape))
    if not any_size:
        model.reshape(list(shape))
    return model


@contextmanager
def _conversion(form: str) -> Iterator[None]:
    """Quietly: tracing warns of Python numbers, which are fixed with the shape, and prints what it cannot convert.

    Raises:
        UsageError: The form lacks an operation of the network.
    """
    # Private, and so perhaps not there: it prints from C++, whatever sys.stdout is.
    printing = getattr(torch._C, "_jit_onnx_log", None)
    try:
        if printing is not None:
            torch._C._jit_onnx_log = lambda *_: None
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        reason = summarise_error(error).partition(" Please ")[0]
        raise UsageError(
            f"this network cannot be written as {form}: {reason}",
            hint="take another form (onnx, openvino) or another engine: --engine torch runs every network",
        ) from error
    finally:
        if printing is not None:
            torch._C._jit_onnx_log = printing


def write_openvino(model: Any, path: Path) -> None:
    """Write an OpenVINO model as `path` (.xml) and a .bin beside it, which is whole before the .xml is there."""
    openvino = _openvino_module()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        openvino.save_model(model, Path(folder) / path.name, compress_to_fp16=False)
        for name in (path.with_suffix(".bin").name, path.name):
            with atomic_write(path.with_name(name)) as temporary:
                (Path(folder) / name).replace(temporary)


def _openvino_module() -> Any:
    """OpenVINO without its telemetry, which it and NNCF switch on unasked."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def openvino_run(model: Any, hint: str) -> RunNetwork:
    """Compile an OpenVINO model for this machine's processor."""
    openvino = _openvino_module()
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(batch: torch.Tensor) -> torch.Tensor:
        result = compiled(np.ascontiguousarray(batch.numpy()))[0]
        return torch.from_numpy(np.asarray(result, dtype=np.float32).copy())

    return run


def _onnx(network: nn.Module, shape: tuple[int, ...], _: Path | None) -> RunNetwork:
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


def export_onnx(network: nn.Module, shape: tuple[int, ...], path: Path, *, any_size: bool = False) -> None:
    """Write the network as an ONNX file of one fixed input shape, or of any: `image` in, `logits` out."""
    free = {0: "batch", 2: "i", 3: "j", 4: "k"}
    with _conversion("ONNX"):
        torch.onnx.export(
            _FinestLogits(network).eval(),
            (torch.zeros(shape),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": free, "logits": free} if any_size else None,
        )


def _missing(*names: str) -> Callable[[], str]:
    def missing() -> str:
        absent = [name for name in names if importlib.util.find_spec(name) is None]
        return f"{' and '.join(absent)} not installed" if absent else ""

    return missing


def _no_compiler() -> str:
    return "" if any(shutil.which(name) for name in ("g++", "clang++", "c++")) else "no C++ compiler"


ENGINES = (
    EngineKind("torch", _eager, lambda: "", precise=True, start_s=0.0),
    EngineKind("compiled", _compiled, _no_compiler, precise=True, start_s=30.0),
    EngineKind("openvino", _openvino, _missing("openvino"), precise=True, start_s=4.0),
    EngineKind(
        "openvino-bf16", lambda n, s, f: _openvino(n, s, f, "bf16"), _missing("openvino"), precise=False, start_s=4.0
    ),
    EngineKind("openvino-int8", _int8, _missing("openvino", "nncf"), precise=False, start_s=4.0, quantised=True),
    EngineKind("onnx", _onnx, _missing("onnxruntime", "onnx"), precise=True, start_s=4.0),
)
NAMES = tuple(kind.name for kind in ENGINES)


def find_engine(name: str) -> EngineKind:
    """The engine of a name.

    Raises:
        UsageError: There is none, or it cannot run on this machine.
    """
    for kind in ENGINES:
        if kind.name == name:
            if missing := kind.missing():
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
        file: Of the quantised network, where there is one.
    """

    def __init__(self, network: nn.Module, kind: EngineKind, file: Path | None = None) -> None:
        super().__init__()
        self.file = file
        self.network = network
        self.kind = kind
        self.ready: dict[tuple[int, ...], RunNetwork] = {}

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The finest logits `[batch, output, i, j, k]`, alone in a list."""
        shape = tuple(image.shape)
        if shape not in self.ready:
            self.ready[shape] = self.kind.build(self.network, shape, self.file)
        return [self.ready[shape](image)]
