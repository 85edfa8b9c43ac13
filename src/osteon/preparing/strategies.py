"""Which strategy a plan's scans are prepared and restored with."""

from __future__ import annotations

from osteon.plan.schema import Plan
from osteon.preparing.grid_strategy import GridStrategy, OsteonStrategy
from osteon.preparing.monai_strategy import MonaiStrategy
from osteon.preparing.nnunet_strategy import NnUNetStrategy


def grid_strategy(plan: Plan) -> GridStrategy:
    """nnU-Net's for plans with the section `grid.nnunet`, MONAI's with `grid.monai`, else osteon's."""
    return {"nnunet": NnUNetStrategy, "monai": MonaiStrategy}.get(plan.grid.imported, OsteonStrategy)(plan)
