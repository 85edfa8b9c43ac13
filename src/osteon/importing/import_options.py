"""The options of an import in words, for the command line's help and the browser app's pages. Light to import."""

from __future__ import annotations

IMPORT_FLAGS = {
    "--repair-geometry": "Resample labels that do not lie on their image's grid",
    "--accept-gaps": "DICOM: take series with missing or uneven slices, resampled",
    "--resample-tilt": "DICOM: take series with a tilted gantry, resampled",
    "--allow-empty": "Take cases whose label is empty",
    "--ignore-references": "DICOM: take labels by their place, though they name another scan",
    "--keep-identity": "DICOM: keep names, ids and dates of patients",
}
"""What is switched on."""
IMPORT_TEXTS = {
    "--case-pattern": "Which part of a path is the case",
    "--series": "Which DICOM series",
    "--priority": "Which structure wins where they overlap",
    "--subject": "Which part of an id or path is the subject",
}
"""What is typed."""
IMPORT_CHOICES: dict[str, tuple[str, dict[str, str]]] = {
    "--group": ("Meshes that become one structure", {"colour": "of one colour", "all": "all", "none": "each its own"}),
    "--mesh-unit": ("Unit of the meshes", {"mm": "mm", "cm": "cm", "m": "m"}),
    "--mesh-space": ("World of the meshes", {"LPS": "LPS (DICOM)", "RAS": "RAS (NIfTI)"}),
    "--mask-marks": ("Masks of pictures mark with", {"bright": "bright pixels", "dark": "dark pixels"}),
    "--between-slices": ("Between slices that were drawn", {"fill": "fill", "leave": "leave empty"}),
    "--rle-order": ("Runs are counted along", {"rows": "rows", "columns": "columns"}),
    "--rle-base": ("The first pixel of runs is", {"0": "0", "1": "1"}),
}
"""What is chosen from a few values."""
