"""Use cases: where ledger, decision and adapter meet. Knows no click.

Programs use `RenderDesk`, or `SyncRenderDesk` where nothing is awaited; both are imported when they are first
named, so that whoever only reads a ledger loads nothing that calls.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render_service.api import NotSubmitted, RenderDesk, SyncRenderDesk

__all__ = ["NotSubmitted", "RenderDesk", "SyncRenderDesk"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from render_service import api  # noqa: PLC0415  # only for who asks for it

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
