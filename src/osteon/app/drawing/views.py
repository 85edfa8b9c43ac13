"""The two drawing views, and the panel beside them that both share.

A drawing view is a viewer (`app.views.View`) with the calls below. The panel, `draw_panel.js`, finds it by the id of
its element, makes its tools from what the view says it has, and does all that both kinds share: structures, undo,
autosave, saving, versions, who else is here. So a view knows nothing of servers, and the panel nothing of voxels.

    show(scene)            as every viewer; `osteon-ready` follows
    load(bytes, rows)      the drawing as it travels (`transfer`), unpacked: a Uint8Array; nothing can be undone then
    setRows(rows)          {name, value, colour, opacity, visible, locked} for each entry, in order; one may be appended
    setStructure(n)        which row is drawn, from 0; -1: none
    tools()                {name, label, key, icon, once, hint, options} of each; `once`: done when it is chosen. Its
                           options: {name, label, least, most, step, value, unit}, or `choices` ([[value, label], …]).
                           Icons are Material's
    setTool(name, options) options: {name: value}; the tool `move` draws nothing: the viewer's own pointer
    peek(bytes, rows)      another label is shown, and nothing can be drawn, until `back(rows)` shows the drawing again
    present()              which rows have a voxel
    undo(), redo()
    mask()                 the drawing as it travels, a Uint8Array that the view goes on to change

Events of the canvas, which bubble, with what they bring in `detail`:

    osteon-ready           the scan is shown; the view has `shownOnce` from then on
    osteon-drawn           {undo, redo, rows}: how much can be undone and done again, and which rows changed; after each
                           change, also by undo and redo
    osteon-picked          {row}: a row was chosen in the view
    osteon-set             {option, value}: the view itself changed an option
    osteon-said            {text}: what the user is to know
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui.element import Element

from osteon.app.viewer_controls import LAYOUTS, window_presets
from osteon.app.views import NIIVUE, PICTURE_ESM, VOLUME_ESM, View


class VolumeDrawing(View, component="draw_volume.js", esm=VOLUME_ESM):
    """Drawing on the slices of a volume."""


class PictureDrawing(View, component="draw_picture.js", esm=PICTURE_ESM):
    """Drawing on a picture, whose structures may overlap. Where they exclude one another its scene has `exclusive`."""


DRAWING_VIEWS: dict[str, type[View]] = {"volume": VolumeDrawing, "picture": PictureDrawing}
"""By the kind of a scene."""


class DrawPanel(Element, component="draw_panel.js", esm={"osteon-drawing": str(NIIVUE.with_name("drawing"))}):
    """Tools, structures, versions and saving beside a drawing view."""

    def __init__(
        self, view: View, url: str, info: dict[str, Any], cases: Sequence[str], *, second: bool = False
    ) -> None:
        """Make it.

        Args:
            view: The drawing view.
            url: Of the page, below which the routes are.
            info: Of the scene.
            cases: URLs of the pages of the previous and the next case.
            second: Whether a second reading is begun.
        """
        super().__init__()
        unit = "HU" if info["modality"] == "ct" else ""
        presets = [list(preset) for preset in window_presets(info)]
        self._props.update({"viewId": view.id, "url": url, "kind": info["kind"], "presets": presets, "unit": unit})
        self._props.update({"layouts": LAYOUTS, "cases": list(cases), "asSecond": second})
        self.classes("osteon-draw-panel")
