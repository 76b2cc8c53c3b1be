"""The card of a job, for clients that show pages (MCP Apps): its player, its state and its cost.

The page holds no address and no key. It gets everything from its host, which asks this server as the agent
that called the tool. Clients without cards get the same facts as text.
"""

from importlib.resources import files
from typing import Any

from mcp.server.context import ServerRequestContext

UI = "io.modelcontextprotocol/ui"
CARD = "ui://sora-ledger/job.html"
CARD_TYPE = "text/html;profile=mcp-app"


def shows_cards(context: ServerRequestContext[Any, Any]) -> bool:
    """Return whether the client shows pages of this type."""
    capabilities = context.session.client_capabilities
    settings = ((capabilities.extensions if capabilities else None) or {}).get(UI) or {}
    types = settings.get("mimeTypes")
    return isinstance(types, list) and CARD_TYPE in types


def card() -> str:
    """Return the page."""
    return files("render_service.server.mcp").joinpath("card.html").read_text(encoding="utf-8")
