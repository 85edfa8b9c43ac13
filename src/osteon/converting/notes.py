"""What of a model is not as its files say, or not taken over, and should be known."""

from __future__ import annotations

from osteon.converting.plan import Source
from osteon.converting.plans_files import configuration_of


def notes_of(source: Source) -> list[str]:
    """A line for each; none where there is nothing to tell."""
    configuration, notes = source.configuration, []
    if configuration.architecture != configuration_of(source.plans, source.name, source.path).architecture:
        notes.append(
            "the weights are those of batch norms, which the trainer built instead of the plans' instance norms"
        )
    if "RGBTo01Normalization" in configuration.normalization_schemes:
        notes.append(
            "the channels are a picture's red, green and blue; osteon reads a picture as one channel of grey, so they "
            "have to be given as files of their own, in a dataset"
        )
    return notes
