"""``mcp``: the tools for AI agents, over stdio."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation
from cli.options import common
from cli.text import output
from cli.text.usage import Usage
from render_service.server.mcp import needs_extra

if TYPE_CHECKING:
    from render_service.session.session import Session


@click.command("mcp")
@click.option(
    "--folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The only folder whose files an agent may read and write.  [default: the working folder]",
)
@click.option(
    "--answer-within",
    "answer_s",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 600),
    default=25.0,
    show_default=True,
    help="Answer within this time, with the job to wait for; keep it below the client's timeout.",
)
@common.paying
@common.calling
@common.invocation
def mcp_command(inv: Invocation, *, folder: Path, answer_s: float) -> None:
    """Serve tools for AI agents over the Model Context Protocol, on stdin and stdout.

    An agent can decide, render, remix, edit, extend, wait, download, review and withdraw. It cannot approve,
    change the policy or budgets, erase, or make keys. What it does is recorded as "agent NAME on behalf of
    PERSON", where PERSON is --actor or your login. Install the extra first: pip install '.[mcp]'.

    \b
    Example:
      sora-ledger mcp --profile sandbox
      sora-ledger mcp --project agents --folder .
    """
    output.current().is_json = False  # stdout is for the protocol, and errors go to stderr
    try:
        from render_service.server.mcp.server import serve_stdio  # an extra
        from render_service.server.mcp.tools import TOOLS
    except ModuleNotFoundError as missing:
        raise needs_extra(missing) from missing
    if sys.stdin.isatty():
        raise Usage(
            "this command speaks to a program, not to a person: name it in the settings of your agent as "
            "`sora-ledger mcp`; docs/agents.md shows how",
            param="stdin",
            expected="a program",
            found="a terminal",
        )

    files = folder.resolve()

    async def serving(session: "Session") -> None:
        await serve_stdio(session, TOOLS, folder=files, answer_s=answer_s)

    inv.session(serving, begins=True, calls=False)
