"""A slider that can be reached, heard and read: the browser's own, with its name and its value in words.

Quasar's has the role of a slider on one element and the keyboard's focus on another, so that screen readers that come
to it say neither name nor value.
"""

from __future__ import annotations

from collections.abc import Callable

from nicegui.element import Element
from nicegui.events import GenericEventArguments


class Slider(Element, component="slider.js"):
    """A slider; `on_change` is called with each value that the user moves it to."""

    def __init__(
        self,
        label: str,
        bounds: tuple[float, float],
        value: float,
        on_change: Callable[[float], object],
        *,
        step: float,
        factor: float = 1.0,
        unit: str = "",
    ) -> None:
        """Make it.

        Args:
            label: Its name.
            bounds: Least and most.
            value: Where it stands first.
            on_change: Called while it is moved.
            step: Between its values.
            factor: By which the value is multiplied where it is shown.
            unit: Shown after it.
        """
        super().__init__()
        self.value = value
        lowest, highest = bounds
        props = {"label": label, "lowest": lowest, "highest": highest, "step": step, "factor": factor, "unit": unit}
        self._props.update(props | {"to": [value]})

        def moved(event: GenericEventArguments) -> None:
            self.value = float(event.args)
            on_change(self.value)

        self.on("moved", moved, throttle=0.05)

    def set_value(self, value: float) -> None:
        """Move it, without calling anything."""
        self.value = value
        self._props["to"] = [value]
        self.update()
