"""Removing pages that were left, and freeing their memory.

NiceGUI keeps a page for a while after its connection ended, since the browser may only have been busy; with the minute
that large scans need, a user who clicks through the pages leaves dozens behind, a megabyte each. So a page says when
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

CLEANUP_INTERVAL_S = 10.0
"""How often the memory of pages that were left is freed: reference cycles, and the C library's free blocks."""
ROUNDS = 4
"""So often in turn, since timers and reads that have not noticed yet hold a page that is gone."""
_refreshables: list[refreshable_method[Any, Any, Any]] = []
S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")


def refreshable(method: Callable[Concatenate[S, P], T]) -> refreshable_method[S, P, T]:
    """NiceGUI's refreshable method, which draws a part of a page again; it would keep the last page in memory."""
    result: refreshable_method[S, P, T] = refreshable_method(method)
    _refreshables.append(result)
    return result


class PageLeave(Element, component="page_leave.js"):
    """Tells the server when the user leaves a page; part of every page."""


class PageCleanup:
    """Deletes pages that were left, and frees their memory."""

    def __init__(self) -> None:
        self.pending = 0

    @property
    def route(self) -> Route:
        """Where pages tell that they were left."""
        return Route("/api/left/{client_id}", self.delete_page, methods=["POST"])

    async def delete_page(self, request: Request) -> Response:
        """Delete a page; 404 where it is deleted already."""
        client = Client.instances.get(request.path_params["client_id"])
        if client is None:
            return Response(status_code=404)
        for document in list(client._delete_tasks):
            client._cancel_delete_task(document)  # which would keep the page until its end
        client.delete()
        return Response(status_code=204)

    def mark_deleted(self) -> None:
        """Note that a page was deleted."""
        self.pending = ROUNDS

    def free_memory(self) -> None:
        """Free the memory of deleted pages, where there are any."""
        if self.pending:
            self.pending -= 1
            RefreshableTarget.current_target = None
            for method in _refreshables:
                method.prune()
                method.instance = None
            gc.collect()
            trim_heap()
