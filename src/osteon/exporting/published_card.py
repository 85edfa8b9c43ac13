"""README.md of a published model, as Hugging Face shows it, and the description that Zenodo reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from osteon.core.errors import UsageError
from osteon.core.files import is_file
from osteon.core.text import pluralise
from osteon.core.version import __version__
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.runs.card import describe_postprocessing, describe_validation

LICENCES = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-nd-4.0": "CC-BY-NC-ND-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc0-1.0": "CC0-1.0",
    "gpl-3.0": "GPL-3.0",
    "mit": "MIT",
}
"""Hugging Face's names, and SPDX's, which Zenodo takes in small letters."""
LICENCE_FILE = "LICENSE"


@dataclass(frozen=True)
class Publication:
    """What only people can say of a model.

    Attributes:
        title: Its name.
        licence: A key of `LICENCES`, or the path of a text file.
        authors: Names as Zenodo has them, family name first.
        intended_use: A sentence or more; empty: research on scans like those of the training.
    """

    title: str
    licence: str
    authors: Sequence[str]
    intended_use: str = ""

    def check(self) -> None:
        """Raise UsageError where something is missing that nobody should guess."""
        known = ", ".join(LICENCES)
        if self.licence.lower() not in LICENCES and not is_file(Path(self.licence)):
            raise UsageError(
                f"--licence {self.licence or 'is missing'}: neither a known licence nor a text file",
                hint=f"those who own the model decide: {known}, or the path of a file with its text",
            )
        if not [name for name in self.authors if name.strip()]:
            raise UsageError("no author is named", hint='--author "Family, Given", once for each')
        for text in (self.title, self.intended_use, *self.authors):
            if not text.replace("\n", " ").isprintable():
                raise UsageError(f"{text!r}: holds control characters", hint="write plain text")
        if not self.title.strip() or "\n" in self.title:
            raise UsageError("the title is empty or has several lines", hint="--title 'Vertebrae in CT'")

    @property
    def licence_file(self) -> Path | None:
        """The file with the licence's text, where it is no known one."""
        return None if self.licence.lower() in LICENCES else Path(self.licence)


def card_text(model: Model, about: Publication, files: Sequence[str]) -> str:
    """README.md: YAML for Hugging Face, then the card.

    Args:
        model: With its own validation, of whose cases only means and intervals are written.
        about: Title, licence, authors.
        files: Names in the folder, for the list of them.
    """
    plan = model.plan
    head = yaml.safe_dump(_front_matter(plan, about, files), sort_keys=False, allow_unicode=True)
    lines = [
        f"# {about.title}",
        "",
        f"A {plan.grid.dimensions}D {plan.network.description.partition(', weights ')[0]}, made by osteon "
        f"{__version__}. By {'; '.join(about.authors)}.",
        "",
        "## Intended use",
        "",
        about.intended_use or "Research: segmentation of scans like those that are described below.",
        "It is not a medical device: no diagnosis or treatment may rest on what it finds unless a qualified person has "
        "checked it.",
        "",
        "## Data",
        "",
        *_data(model),
        "",
        *_metrics(model),
        "",
        *_limits(model),
        "",
        *describe_postprocessing(model),
        "",
        "## Use",
        "",
        "    osteon predict FOLDER SCAN... OUT",
        "    osteon predict hf:ORGANISATION/NAME@COMMIT SCAN... OUT",
        "",
        *_files(files),
        "",
        "## Licence",
        "",
        _licence(about),
    ]
    return f"---\n{head}---\n\n" + "\n".join(lines) + "\n"


def zenodo_metadata(model: Model, about: Publication) -> dict[str, Any]:
    """.zenodo.json, as Zenodo's deposits describe it."""
    names = ", ".join(structure.name for structure in model.plan.structures)
    description = (
        f"A segmentation model of osteon. Structures: {names}. Input: {_channels(model.plan)}. "
        f"{about.intended_use or 'For research.'} Not a medical device."
    )
    known = about.licence_file is None
    return {
        "title": about.title,
        "upload_type": "other",
        "description": description,
        "creators": [{"name": name} for name in about.authors],
        "access_right": "open",
        **({"license": about.licence.lower()} if known else {"notes": f"Licence: see the file {LICENCE_FILE}."}),
        "keywords": ["segmentation", "bone", *_modalities(model.plan)],
    }


def _front_matter(plan: Plan, about: Publication, files: Sequence[str]) -> dict[str, Any]:
    custom = about.licence_file
    tags = ["medical", "segmentation", "bone", *_modalities(plan), "safetensors"]
    return {
        "license": about.licence.lower() if custom is None else "other",
        **({"license_name": custom.stem.lower().replace(" ", "-"), "license_link": LICENCE_FILE} if custom else {}),
        "library_name": "osteon",
        "pipeline_tag": "image-segmentation",
        "tags": tags + (["onnx"] if any(name.endswith(".onnx") for name in files) else []),
        "metrics": ["dice"],
    }


def _modalities(plan: Plan) -> list[str]:
    return list(dict.fromkeys(channel.modality for channel in plan.channels if channel.modality != "other"))


def _channels(plan: Plan) -> str:
    return ", ".join(f"{channel.name} ({channel.modality})" for channel in plan.channels)


def _data(model: Model) -> list[str]:
    plan, training = model.plan, model.validation.get("training", {})
    count = training.get("cases") or len(model.reference)
    judged = len(model.validation.get("cases", {}))
    grid = "×".join(f"{s:.3g}" for s in plan.grid.spacing_mm)
    lines = [
        f"- Trained on {pluralise(count, 'scan')}" if count else "- Trained on a number of scans that is not recorded",
        *([f"- Validated on {judged} others"] if judged else []),
        f"- Channels: {_channels(plan)}",
        f"- Structures: {', '.join(structure.name for structure in plan.structures)}",
        f"- Grid of the network: {grid} {plan.unit} along {'-'.join(plan.grid.axes)}",
    ]
    if model.reference:
        lines += [
            f"- {what} of the training scans along these axes: "
            + ", ".join(f"{low:.3g} to {high:.3g}" if low < high else f"{low:.3g}" for low, high in ends)
            + f" {plan.unit}"
            for what, ends in (
                ("Voxels", _ranges([case.spacing_mm for case in model.reference])),
                ("Extents", _ranges([case.extent_mm for case in model.reference])),
            )
        ]
    return lines


def _ranges(rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(min(axis), max(axis)) for axis in zip(*rows, strict=True)]


def _metrics(model: Model) -> list[str]:
    validation = model.validation
    if validation.get("cases"):
        return describe_validation(validation)
    known = {name: dice for name, dice in validation.get("structures", {}).items() if dice is not None}
    if not known:
        return ["## Validation", "", "None is recorded. Test the model on scans that it has not seen."]
    rows = [f"| {name} | {dice:.3f} |" for name, dice in known.items()]
    where = "Dice by the model's own record, without intervals, since single cases are not recorded:"
    return ["## Validation", "", where, "", "| structure | mean |", "| --- | --- |", *rows]


def _limits(model: Model) -> list[str]:
    plan, judged = model.plan, len(model.validation.get("cases", {}))
    lines = [
        f"- Only {_channels(plan)} was seen in training; other modalities, protocols, ages and implants were not "
        "tested unless the data above say so.",
        f"- It finds {', '.join(structure.name for structure in plan.structures)}, and nothing else.",
    ]
    if judged:
        lines.append(
            f"- The intervals above speak for scans of the same source as the {judged} that were validated on; results "
            "elsewhere may be worse. Measure them on scans of your own."
        )
    return ["## Limits", "", *lines]


def _files(files: Sequence[str]) -> list[str]:
    about = {
        "weights.safetensors": "the network's weights",
        "plan.yaml": "how scans are prepared, and what the outputs mean",
        "validation.json": "means over the validation scans, and the calibration of the confidence",
        "postprocessing.yaml": "what follows a prediction",
        "reference.json": "ranges of what the training scans look like, each figure by itself",
        "onnx/network.onnx": "the network in ONNX, `image` to `logits`",
        "onnx/client.py": "predicts with it, without osteon or torch",
        "SHA256SUMS": "checksums of all files: `sha256sum -c SHA256SUMS`",
    }
    rows = [f"- `{name}`: {text}" for name, text in about.items() if name in (*files, "SHA256SUMS")]
    return ["## Files", "", *rows]


def _licence(about: Publication) -> str:
    if about.licence_file is not None:
        return f"See the file {LICENCE_FILE}."
    return f"{LICENCES[about.licence.lower()]}."
