"""Segment a scan with the network that lies beside this file: `python client.py SCAN.nii.gz MASK.nii.gz`.

model.json holds the few figures of the plan that are needed. Names in order (vertebrae), closer looks and
post-processing are not in it. Axes are `[batch, channel or output, i, j, k]`.
"""

from __future__ import annotations

import json
import math
import sys
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform


def network(folder: Path) -> Any:
    """What runs the network: patches in, logits out."""
    if (folder / "network.onnx").exists():
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {"image": np.ascontiguousarray(batch)})[0]
    import openvino

    compiled = openvino.Core().compile_model(folder / "network.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: compiled(np.ascontiguousarray(batch))[0]


def resample(array: Any, shape: Any) -> Any:
    """Linear along the last three axes, from edge to edge; with a wider triangle where voxels get larger."""
    for axis in sorted(range(-3, 0), key=lambda a: shape[a] / array.shape[a]):
        if (count := array.shape[axis]) != (wanted := shape[axis]):
            width = max(1.0, count / wanted)
            place = (np.arange(wanted)[:, None] + 0.5) * count / wanted - 0.5
            place = place.clip(0, count - 1) if width == 1 else place
            weights = (1 - abs(np.arange(count) - place) / width).clip(0)
            weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
            array = np.moveaxis(np.moveaxis(array, axis, -1) @ weights.T, -1, axis)
    return array


def probabilities(run: Any, batch: Any, about: Any) -> Any:
    """From patches that overlap by a half, weighted by a Gaussian; small images as a whole."""
    shape, patch = np.array(batch.shape[2:]), np.array(about["patch"])
    size = np.maximum(patch, -(-shape // about["multiple"]) * about["multiple"])
    size = patch if about["fixed"] or size.prod() > 1.5 * patch.prod() else size
    room = np.maximum(0, size - shape)
    batch = np.pad(batch, [(0, 0), (0, 0), *zip(room // 2, room - room // 2, strict=True)], "edge")
    ends = np.array(batch.shape[2:]) - size
    counts = [math.ceil(e / (s * 0.5)) + 1 for e, s in zip(ends, size, strict=True)]
    starts = [[round(n * int(e) / max(1, c - 1)) for n in range(c)] for e, c in zip(ends, counts, strict=True)]
    near = [np.exp(-0.5 * ((np.arange(s) - (s - 1) / 2) / (s / 8)) ** 2) for s in size]
    weights = np.einsum("i,j,k->ijk", *near).clip(1e-3).astype(np.float32) if max(counts) > 1 else np.float32(1)
    nothing = np.array(about["nothing"], np.float32)[:, None, None, None]
    total, seen = (np.zeros((len(batch), n, *batch.shape[2:]), np.float32) for n in (len(nothing), 1))
    for corner in sorted(product(*starts), key=lambda c: c[counts.index(max(counts))]):
        where: Any = (..., *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))
        x = batch[where]
        air = about["air"] is not None and (x > about["air"]).mean() < 0.001
        empty = max(counts) > 1 and (air or np.ptp(x, axis=(2, 3, 4)).max() == 0)
        total[where] += (nothing if empty else run(x)) * weights
        seen[where] += weights
    inner: Any = (..., *(slice(r // 2, r // 2 + n) for r, n in zip(room, shape, strict=True)))
    logits = (total / seen)[inner]
    powers = np.exp(-logits if about["overlapping"] else logits - logits.max(1, keepdims=True))
    return 1 / (1 + powers) if about["overlapping"] else powers / powers.sum(1, keepdims=True)


def main(scan: str, mask: str) -> None:
    """Prepare the scan, ask the network, and decide on the scan's own grid."""
    about = json.loads((Path(__file__).parent / "model.json").read_text())
    file: Any = nibabel.load(scan)
    run, flat, step = network(Path(__file__).resolve().parent), about["dimensions"] == 2, about["batch"]
    there, planned = nibabel.io_orientation(file.affine), axcodes2ornt(about["axes"])
    image = apply_orientation(np.asarray(file.dataobj, np.float32), ornt_transform(there, planned))
    image = np.moveaxis(image.reshape(*image.shape[:3], -1), -1, 0)
    edges = np.linalg.norm(file.affine[:3, :3], axis=0)[np.argsort(there[:, 0])][planned[:, 0].astype(int)]
    own = image.shape[1:]
    shape = [max(1, round(n * e / s)) for n, e, s in zip(own, edges, about["spacing"], strict=True)]
    image = resample(np.ascontiguousarray(image), shape if about["resample_last"] else [*shape[:2], own[2]])
    for channel, how in zip(image, about["intensities"], strict=True):
        channel[:] = channel.clip(*(how["clip"] or (None, None)))
        mean, std = (
            f(channel, dtype=np.float64) if how["mean"] is None else how[f.__name__] for f in (np.mean, np.std)
        )
        channel[:] = (channel - float(mean)) / max(float(std), 1e-8)
    slices = np.split(image, range(step, image.shape[3], step), axis=3) if flat else [image]
    batches = [part.transpose(3, 0, 1, 2)[..., None] if flat else part[None] for part in slices]
    found = [probabilities(run, batch, about).astype(np.float16) for batch in batches]
    outputs = np.concatenate([part[..., 0].transpose(1, 2, 3, 0) if flat else part[0] for part in found], axis=3)
    outputs = np.stack([resample(output.astype(np.float32), own) for output in outputs])
    overlapping = about["overlapping"]
    labels = outputs.transpose(1, 2, 3, 0) > 0.5 if overlapping else np.array(about["values"])[outputs.argmax(0)]
    labels = apply_orientation(labels.astype(np.min_scalar_type(max(about["values"]))), ornt_transform(planned, there))
    nibabel.save(nibabel.Nifti1Image(labels, file.affine), mask)


if __name__ == "__main__":
    main(*sys.argv[1:])
