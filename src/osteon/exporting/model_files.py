"""A model in forms that run without osteon: ONNX or OpenVINO, the plan, and a client of a page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osteon.core.errors import UsageError
from osteon.core.files import atomic_write, write_json
from osteon.exporting import client
from osteon.exporting.output_record import OutputRecord
from osteon.networks.registry import input_channels, output_channels
from osteon.plan.outputs import output_layout
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Plan, Pretrained, write_plan
from osteon.predicting.engines import export_onnx, find_engine, openvino_model, write_openvino
from osteon.predicting.model_folder import load_model
from osteon.predicting.records import FIRST, find_model_folder
from osteon.predicting.tiles import AIR_HU, BACKGROUND_LOGIT
from osteon.preparing.strategies import grid_strategy

FILES = {"onnx": ("network.onnx",), "openvino": ("network.xml", "network.bin")}
"""Which files of a network each form has."""
ABOUT = "model.json"
CLIENT = "client.py"
TOLERANCE = 1e-3
"""Logits of an exported network differ at most by this part of their spread from torch's."""


def export_model(form: str, model: Path, out: Path, *, overwrite: bool = False) -> tuple[list[Path], list[str]]:
    """Write a model as `network.onnx`, or `network.xml` and `network.bin`, with plan.yaml, model.json and client.py.

    For a model that prepares scans in nnU-Net's way there is no client.py, which does not know that way.

    The network takes any number of patches of any size that it can take in osteon: `image`
    `[batch, channel, i, j, k]` float32 to `logits` `[batch, output, i, j, k]`.

    Args:
        form: `onnx` or `openvino`, of `registry.MODEL_FORMS`.
        model: A model folder, or the run that made it.
        out: The folder; made if it does not exist.
        overwrite: Replace files in `out` that no export has written.

    Returns:
        The files, and notes: what the client leaves out of what osteon does with the model.

    Raises:
        ModelError: The model folder is not whole.
        UsageError: What writes the form is not installed, or cannot write this network.
        FileError: `out` holds other files of these names, or cannot be written.
    """
    find_engine(form)
    loaded = load_model(find_model_folder(model))
    plan = loaded.plan
    layout = output_layout(plan)
    with_client = grid_strategy(plan).has_client and not layout.has_cores
    about = [] if layout.has_cores else [ABOUT]
    files = [Path(name) for name in (*FILES[form], PLAN, *about, *([CLIENT] if with_client else []))]
    record = OutputRecord.open(out, overwrite=overwrite)
    with record.claim(form, ""):
        record.check(form, files)
        out.mkdir(parents=True, exist_ok=True)
        record.begin(form, "", files)
        shape = (1, input_channels(plan), *plan.patch.size)
        if form == "onnx":
            with atomic_write(out / "network.onnx") as temporary:
                export_onnx(loaded.network, shape, temporary, any_size=not _fixed(plan))
        else:
            write_openvino(openvino_model(loaded.network, shape, any_size=not _fixed(plan)), out / "network.xml")
        write_plan(out / PLAN, plan)
        if about:
            write_json(out / ABOUT, describe_for_client(plan))
        if with_client:
            with atomic_write(out / CLIENT) as temporary:
                shutil.copyfile(Path(client.__file__), temporary)
        _compare(out, loaded.network, shape, plan)
        record.end(form, "", files)
    record.write_summary()
    left_out = {
        "names in order": plan.sequence is not None,
        "closer looks": plan.zoom is not None and plan.zoom.predict,
        "post-processing": bool(loaded.postprocessing.steps),
    }
    if layout.has_cores:
        channels = f"{layout.classes} classes, cores" + (f", {layout.levels} levels" if layout.levels else "")
        return [out / file for file in files], [
            f"no {CLIENT}: the network's outputs are {channels}; pieces, and names along a series, follow from the "
            "whole of them, which it does not know"
        ]
    if not with_client:
        notes = [f"no {CLIENT}: it does not know nnU-Net's way of preparing scans, in which this model was trained"]
        if loaded.first is not None:
            notes.append(f"the first model of the cascade is exported by itself: {find_model_folder(model) / FIRST}")
        return [out / file for file in files], notes
    notes = [f"{CLIENT} leaves out what osteon does besides: {what}" for what, there in left_out.items() if there]
    return [out / file for file in files], notes


def describe_for_client(plan: Plan) -> dict[str, Any]:
    """The figures of a plan that a client needs, as client.py reads them."""
    how = plan.intensities[0]
    ct = len(plan.channels) == 1 and plan.channels[0].modality == "ct" and how.mean is not None and how.std is not None
    return {
        "dimensions": plan.grid.dimensions,
        "axes": list(plan.grid.axes),
        "spacing": list(plan.grid.spacing_mm),
        "resample_last": plan.grid.resample_last,
        "intensities": [{"clip": i.clip, "mean": i.mean, "std": i.std} for i in plan.intensities],
        "patch": list(plan.patch.size),
        "batch": plan.patch.batch,
        "multiple": list(plan.downsampling),
        "fixed": _fixed(plan),
        "overlapping": plan.overlapping,
        "values": [*([] if plan.overlapping else [0]), *(s.value for s in plan.structures)],
        "names": [*([] if plan.overlapping else ["background"]), *(s.name for s in plan.structures)],
        "nothing": [-BACKGROUND_LOGIT] * output_channels(plan)
        if plan.overlapping
        else [BACKGROUND_LOGIT, *[0.0] * (output_channels(plan) - 1)],
        "air": (AIR_HU - how.mean) / how.std if ct and how.mean is not None and how.std is not None else None,
    }


def _fixed(plan: Plan) -> bool:
    return isinstance(plan.network, Pretrained) and plan.network.fixed_size


def _compare(out: Path, network: torch.nn.Module, shape: tuple[int, ...], plan: Plan) -> None:
    """Whether what was written says what the network says, for a patch and, where it may, for a larger image."""
    run = client.network(out)
    larger = [n + m for n, m in zip(shape[2:], plan.downsampling, strict=True)]
    for size in [shape] if _fixed(plan) else [shape, (2, shape[1], *larger)]:
        image = torch.randn(size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = network(image)[0].numpy()
        off = float(np.abs(run(image.numpy()) - expected).max() / max(float(expected.std()), 1e-6))
        if not off < TOLERANCE:
            raise UsageError(
                f"{out}: what was written differs from the model's network by {off:.2g} of its logits' spread",
                hint="this network cannot be exported in this form; try the other (onnx, openvino)",
            )
