"""``serve``: a whole installation in one process: gateway, worker, webhooks, health checks, metrics."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.options.working import read_worker_options, worker_options
from ledger.record import Authority
from render_service.server.server import Parts, listen, serve
from render_service.webhooks.endpoints import webhook_secrets
from render_service.worker.leases import WorkerOptions
from render_service.worker.worker import Worker

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session


@click.command("serve", short_help="Serve the Videos API, work the queue, receive webhooks.")
@common.listening(port=8780)
@click.option("--no-gateway", is_flag=True, help="Do not serve the Videos API under /v1.")
@click.option("--no-console", is_flag=True, help="Do not serve the console under /console.")
@click.option("--no-work", is_flag=True, help="Leave the queue to `sora-ledger worker`, here or elsewhere.")
@click.option("--no-notifications", is_flag=True, help="Send no webhooks to clients.")
@click.option("--no-webhooks", is_flag=True, help="Do not receive webhooks, whatever secrets are set.")
@worker_options
@common.calling
@common.invocation
def serve_command(
    inv: Invocation,
    *,
    host: str,
    port: int,
    no_gateway: bool,
    no_console: bool,
    no_work: bool,
    no_notifications: bool,
    no_webhooks: bool,
    **options: Any,
) -> None:
    """Serve the Videos API under /v1, so that every client of it goes through decision and ledger.

    A client sets OPENAI_BASE_URL to this server and OPENAI_API_KEY to a key that `access grant` made; nothing
    else changes. The same process works the queue, so it needs no other; it serves /healthz, /readyz and
    /metrics. With secrets in SORA_LEDGER_WEBHOOK_SECRETS, or for another profile in
    SORA_LEDGER_WEBHOOK_SECRETS_PROFILE, it receives webhooks at POST /webhooks/PROFILE; during a rotation,
    separate them with commas. Clients register their own receivers of webhooks at /v1/webhook_endpoints.

    SIGTERM or Ctrl-C answers the requests under way and hands jobs back; a second one ends it at once.

    \b
    Example:
      sora-ledger serve --profile custom --port 8780
      sora-ledger serve --no-work
      sora-ledger serve --no-gateway --no-work
    """
    secrets = {} if no_webhooks else webhook_secrets(inv.settings)
    terms = read_worker_options(**options)
    with contextlib.closing(listen(host, port)) as listening:
        port = listening.getsockname()[1]
        origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        document = _document(
            origin, secrets, gateway=not no_gateway, console=not no_console, works=not no_work
        )

        def started() -> None:
            inv.emit(document, lambda console: _print(console, document))
            say("serving until Ctrl-C or SIGTERM")

        async def at(session: "Session") -> None:
            works = [] if no_work else [lambda stop: _work(session, terms, stop)]
            await serve(
                session,
                listening,
                secrets,
                started,
                Parts(not no_gateway, not no_console, not no_notifications),
                works,
            )

        inv.session(at, begins=True, calls=not (no_gateway and no_work))


async def _work(session: "Session", terms: WorkerOptions, stop: asyncio.Event) -> None:
    """Work the queue in a session of its own: its fences are those of its leases, not of the requests."""
    own = replace(session, authority=Authority.SYSTEM, fences={}, held_until={})
    await Worker(own, terms).run(stop)


def _document(
    origin: str, secrets: Mapping[str, tuple[str, ...]], *, gateway: bool, console: bool, works: bool
) -> dict[str, Any]:
    return {
        "serving": origin,
        "gateway": f"{origin}/v1" if gateway else None,
        "console": f"{origin}/console" if console else None,
        "works": works,
        "webhooks": [f"{origin}/webhooks/{name}" for name in secrets],
    }


def _print(console: "Console", document: Mapping[str, Any]) -> None:
    console.print("\n".join([document["serving"], *document["webhooks"]]))
    if document["gateway"]:
        console.print(
            "\nIn a client of the Videos API, set:\n"
            f"  OPENAI_BASE_URL={document['gateway']}\n"
            "  OPENAI_API_KEY=slk_…    from: sora-ledger access grant NAME --role requester"
        )
