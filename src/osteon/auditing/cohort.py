"""The cases together, and how far one stands out among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from osteon.auditing.facts import CaseFacts, StructureFacts
from osteon.dataset.manifest import Manifest

MIN_CASES = 5
"""Cases that a comparison needs: a median of fewer follows the case that is wrong."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """All measured cases.

    Attributes:
        manifest: What the dataset says of them.
        cases: Their facts, in the manifest's order.
        profiles: Border profiles by case, see `osteon.auditing.border`; only labelled cases. Read anew
            whenever they are asked for.
        step: By what borders were compared, in the unit; see `osteon.auditing.coarse_grid`.
    """

    manifest: Manifest
    cases: list[CaseFacts]
    profiles: Mapping[str, npt.NDArray[np.float16]]
    step: float = 1.0

    @property
    def labelled(self) -> list[CaseFacts]:
        """Cases whose label holds a voxel."""
        return [case for case in self.cases if case.structures]

    @property
    def as_measured(self) -> Manifest:
        """The manifest with the images' hashes as they are now: copies of one image belong together."""
        content = {case.id: case.content for case in self.cases}
        known = [c.model_copy(update={"content": content.get(c.id, c.content)}) for c in self.manifest.cases]
        return self.manifest.model_copy(update={"cases": known})

    def annotated(self, case: CaseFacts) -> list[str]:
        """Names of the structures that somebody looked for in a case."""
        listed = self._listed[case.id]
        return [s.name for s in self.manifest.structures if listed is None or s.name in listed]

    @cached_property
    def _listed(self) -> dict[str, list[str] | None]:
        return {case.id: case.annotated for case in self.manifest.cases}

    def having(self, name: str) -> list[tuple[CaseFacts, StructureFacts]]:
        """The cases in which a structure has a voxel."""
        return [(case, case.structures[name]) for case in self.cases if name in case.structures]


def strength_of(z: float, threshold: float) -> float:
    """0.2 at the threshold, towards 1 far beyond it."""
    return float(1 - 0.8 * min(1.0, threshold / max(abs(z), 1e-9)))
