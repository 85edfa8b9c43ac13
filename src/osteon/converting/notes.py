"""Notes for people: where a model differs from its files, or is not converted whole."""

from __future__ import annotations

from osteon.converting.plan import NnUNetModel
from osteon.converting.plans_files import resolve_configuration


def conversion_notes(source: NnUNetModel) -> list[str]:
    """A line for each; none where there is nothing to tell."""
    configuration, notes = source.configuration, []
    if configuration.architecture != resolve_configuration(source.plans, source.name, source.path).architecture:
        notes.append(
            "the weights are those of batch norms, which the trainer built instead of the plans' instance norms"
        )
    if "RGBTo01Normalization" in configuration.normalization_schemes:
        notes.append(
            "the channels are a picture's red, green and blue; osteon reads a picture as one channel of grey, so they "
            "have to be given as files of their own, in a dataset"
        )
    return notes
