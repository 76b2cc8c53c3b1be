"""The MCP server: tools for AI agents.

An agent decides, renders, waits and downloads through the same use cases as the command line. It cannot
approve, change the policy or budgets, erase, or make keys: there are no tools for that.
"""

from render_service.runtime.errors import BadInput


def needs_extra(missing: ModuleNotFoundError) -> BadInput:
    """Return the error that names the extra; raise `missing` itself if another package is missing."""
    if (missing.name or "").partition(".")[0] not in {"mcp", "mcp_types"}:
        raise missing
    return BadInput(
        f"the package {missing.name} is not installed: run pip install '.[mcp]' in the repository, or pip "
        "install mcp",
        param="mcp",
        expected="the extra mcp",
        found="it is not installed",
    )
