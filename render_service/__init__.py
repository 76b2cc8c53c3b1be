"""Use cases: where ledger, decision and adapter meet. Knows no click.

Programs use `RenderDesk`, or `SyncRenderDesk` in synchronous code. Both are imported on first use, so that a
program that only reads a ledger loads no client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render_service.api.desk import NotSubmitted, RenderDesk
    from render_service.api.sync import SyncRenderDesk

__all__ = ["NotSubmitted", "RenderDesk", "SyncRenderDesk"]

_MODULES = {
    "NotSubmitted": "render_service.api.desk",
    "RenderDesk": "render_service.api.desk",
    "SyncRenderDesk": "render_service.api.sync",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
