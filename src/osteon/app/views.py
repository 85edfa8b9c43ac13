"""The two viewers as elements of a page: volumes by NiiVue, pictures on a canvas. Both take the same calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nicegui.element import Element

NIIVUE = Path(__file__).parent / "static/niivue"
NIIVUE_MISSING = NIIVUE / "MISSING.txt"
_ESM = {"niivue": str(NIIVUE)} if (NIIVUE / "index.js").is_file() else {}
VOLUME_ESM = _ESM | {"osteon-volume": str(NIIVUE.with_name("volume"))}
"""The modules that a viewer of volumes imports."""
PICTURE_ESM = {"osteon-picture": str(NIIVUE.with_name("picture"))}
"""The modules that a viewer of pictures imports."""


def has_niivue() -> bool:
    """Whether the package was built with NiiVue's JavaScript."""
    return (NIIVUE / "index.js").is_file()


def why_no_niivue() -> str:
    """Why it was not, as the build noted it."""
    return (
        NIIVUE_MISSING.read_text(encoding="utf-8").strip()
        if NIIVUE_MISSING.is_file()
        else "the package was built without it"
    )


NIIVUE_HINT = (
    "install osteon again where npm reaches a registry: pip install --force-reinstall --no-deps 'osteon[app]', or in a "
    f"checkout pip install -e .; or put dist/index.js of the npm package @niivue/niivue into {NIIVUE}"
)
"""What to do without the viewer's JavaScript."""
OBLIQUE_DEG = 1.0
"""Degrees from which a scan counts as oblique: less is normal positioning of patients."""
SHEARED_DEG = 0.1
"""Degrees from which axes count as sheared."""


@dataclass
class VisiblePiece:
    """What a viewer knows of a numbered piece.

    Attributes:
        structure: The name of the structure that it is a piece of.
        value: In the label map.
        voxels: How many it has.
        at: A place in it: in mm (RAS), or column and row of a picture.
    """

    structure: str
    value: int
    voxels: int
    at: list[float]


@dataclass
class VisibleStructure:
    """A structure, or a piece of one, as a viewer shows it."""

    name: str
    colour: str
    visible: bool = True
    opacity: float = 0.55
    piece: VisiblePiece | None = None

    @property
    def alpha(self) -> float:
        """The opacity that it is drawn with."""
        return self.opacity if self.visible else 0.0


@dataclass
class ViewLayer:
    """Structures in one file.

    Attributes:
        url: The file.
        part: `a`, `b` or `d`; see `scenes`.
        structures: In the file's order.
        outline: Show outlines alone.
    """

    url: str
    part: str
    structures: list[VisibleStructure] = field(default_factory=list)
    outline: bool = False


class View(Element):
    """What both viewers understand."""

    def __init__(self, *, label: str, poster: str = "", group: str = "", linked: str = "") -> None:
        super().__init__()
        self._props.update({"label": label, "poster": poster, "group": group, "linked": linked})
        self.classes("osteon-view-box")

    def show(self, scene: dict[str, Any]) -> None:
        """Load files and show them; `ready` is emitted when they are on the screen."""
        self._props["scene"] = scene
        self.update()

    def go_to(self, piece: VisiblePiece) -> None:
        """Show the place of a piece."""
        self.run_method("goTo", piece.at)

    def set_styles(self, layer: int, structures: Sequence[tuple[int, VisibleStructure]]) -> None:
        """Show structures of a layer in these colours; those that are not visible not at all."""
        self.run_method("styles", layer, [[number, s.colour, s.alpha] for number, s in structures])


class VolumeView(View, component="static/volume/volume_view.js", esm=VOLUME_ESM):
    """Three linked slices and a 3D view of a volume, by NiiVue."""


class PictureView(View, component="picture_view.js", esm=PICTURE_ESM):
    """A radiograph with structures that may overlap."""


def viewer_scene(
    info: dict[str, Any],
    base_url: str,
    layers: Sequence[ViewLayer],
    window: tuple[float, float],
    layout: str,
    *,
    layout_chosen: bool = False,
) -> dict[str, Any]:
    """What a viewer's `show` takes.

    Args:
        info: Of `scenes.make_scene`.
        base_url: The URL of the scene's folder, with a slash.
        layers: What is drawn over the image.
        window: Range of grey.
        layout: `all`, `slices`, `axial`, `coronal`, `sagittal` or `solid`.
        layout_chosen: Whether the user chose it: without a graphics card `all` is only shown then.
    """
    common = {
        "key": f"{base_url} {' '.join(layer.url for layer in layers)}",
        "window": list(window),
        "unit": info["unit"],
        "layers": [
            {
                "url": layer.url,
                "outline": layer.outline,
                "structures": [{"name": s.name, "colour": s.colour, "opacity": s.alpha} for s in layer.structures],
            }
            for layer in layers
        ],
    }
    if info["kind"] == "picture":
        return common | {
            "image": f"{base_url}image.bin",
            "size": info["size"],
            "slope": info["slope"],
            "intercept": info["intercept"],
            "pixel": info["pixel_mm"],
            "marks": info["marks"],
        }
    return common | {
        "image": f"{base_url}image.nii.gz",
        "layout": layout,
        "asked": layout_chosen,
        "intensity": "HU" if info["modality"] == "ct" else "",
        "oriented": info["oriented"],
        "sheared": info["shear_deg"] >= SHEARED_DEG,
        "slices": info["slices"],
    }


def view_layers(info: dict[str, Any], base_url: str, parts: Sequence[str]) -> list[ViewLayer]:
    """The layers of some parts of a scene, in that order."""
    layers = []
    for part in parts:
        for entry in info["parts"].get(part, []):
            structures = [_visible(row) for row in entry["structures"]]
            layers.append(ViewLayer(base_url + entry["file"], part, structures))
    return layers


def _visible(row: dict[str, Any]) -> VisibleStructure:
    piece = row.get("piece")
    return VisibleStructure(row["name"], row["colour"], piece=None if piece is None else VisiblePiece(**piece))
