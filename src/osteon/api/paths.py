"""Paths as the verbs take them."""

from __future__ import annotations

import os

PathLike = str | os.PathLike[str]
