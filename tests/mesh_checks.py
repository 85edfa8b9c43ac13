"""What a closed surface must be, counted."""

from __future__ import annotations

import numpy as np


def edges_of(faces: np.ndarray) -> np.ndarray:
    """`[3 m, 2]` the edges of triangles, in the direction in which each is followed."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def assert_watertight(faces: np.ndarray) -> None:
    """Every edge belongs to two triangles, which follow it in opposite directions."""
    edges = edges_of(faces)
    _, undirected = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    _, directed = np.unique(edges, axis=0, return_counts=True)
    assert (undirected == 2).all()
    assert (directed == 1).all()


def volume_inside(vertices: np.ndarray, faces: np.ndarray) -> float:
    """The volume that a surface encloses; negative where it is wound inward."""
    a, b, c = (vertices[faces[:, n]] - vertices.mean(axis=0) for n in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def weld(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of loose triangles `[m, 3, 3]`: equal corners are one, as programs that read STL take them."""
    vertices, faces = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    return vertices, faces.reshape(-1, 3)
