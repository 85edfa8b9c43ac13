"""Pages that nobody looks at any more, and the memory that they took.

NiceGUI keeps a page for a while after its connection ended, since the browser may only have been busy; with the minute
that large scans need, somebody who clicks through the pages leaves dozens behind, a megabyte each. So a page says when
it is left for good.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from nicegui import Client
from nicegui.element import Element
from nicegui.functions.refreshable import RefreshableTarget, refreshable_method
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from osteon.core.heap import trim_heap

TIDY_S = 10.0
"""Pages that were left are swept up this often: what they hold in circles, and the C library's free blocks."""


_redrawn: list[refreshable_method[Any, Any, Any]] = []
S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")


def redrawn(method: Callable[Concatenate[S, P], T]) -> refreshable_method[S, P, T]:
    """A page's method that draws a part of it and can draw it anew: NiceGUI's, which keeps the last page otherwise."""
    made: refreshable_method[S, P, T] = refreshable_method(method)
    _redrawn.append(made)
    return made


class Leaving(Element, component="leaving.js"):
    """Part of every page."""


class Tidier:
    """Throws pages away, and gives their memory back."""

    def __init__(self) -> None:
        self.untidy = False

    @property
    def route(self) -> Route:
        """Where pages say that they are left."""
        return Route("/api/left/{client_id}", self.left, methods=["POST"])

    async def left(self, request: Request) -> Response:
        """Throw a page away; 404 where it is gone already."""
        client = Client.instances.get(request.path_params["client_id"])
        if client is None:
            return Response(status_code=404)
        for document in list(client._delete_tasks):
            client._cancel_delete_task(document)  # which would keep the page until its end
        client.delete()
        return Response(status_code=204)

    def note(self) -> None:
        """A page was thrown away."""
        self.untidy = True

    def tidy(self) -> None:
        """Sweep up, where there is something."""
        if self.untidy:
            self.untidy = False
            RefreshableTarget.current_target = None
            for method in _redrawn:
                method.prune()
                method.instance = None
            gc.collect()
            trim_heap()
