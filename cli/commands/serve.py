"""``serve``: receive webhooks, and serve health checks and metrics."""

import contextlib
from typing import TYPE_CHECKING

import click

from cli.invocation import Invocation, say
from cli.options import common
from render_service.server.server import listen, serve
from render_service.webhooks.endpoints import webhook_secrets

if TYPE_CHECKING:
    from render_service.session.session import Session


@click.command("serve", short_help="Receive webhooks; serve health checks and metrics.")
@common.listening(port=8780)
@click.option("--no-webhooks", is_flag=True, help="Serve only /healthz, /readyz and /metrics.")
@common.calling
@common.invocation
def serve_command(inv: Invocation, *, host: str, port: int, no_webhooks: bool) -> None:
    """Receive webhooks at POST /webhooks/PROFILE, each event recorded once; /healthz, /readyz, /metrics.

    Deliveries are checked with the secrets in SORA_LEDGER_WEBHOOK_SECRETS, or for another profile in
    SORA_LEDGER_WEBHOOK_SECRETS_PROFILE; during a rotation, separate them with commas. Ctrl-C or SIGTERM stops
    the server after received events are recorded.

    \b
    Example:
      sora-ledger serve --profile custom --port 8780
      sora-ledger serve --no-webhooks
    """
    secrets = {} if no_webhooks else webhook_secrets(inv.settings)
    if not secrets and not no_webhooks:
        raise click.UsageError(
            "there is no secret to check webhooks with: set SORA_LEDGER_WEBHOOK_SECRETS to what "
            "`sora-ledger webhook register` printed, or add --no-webhooks"
        )
    with contextlib.closing(listen(host, port)) as listening:
        port = listening.getsockname()[1]
        origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        document = {"serving": origin, "webhooks": [f"{origin}/webhooks/{name}" for name in secrets]}

        def started() -> None:
            inv.emit(document, lambda console: console.print("\n".join([origin, *document["webhooks"]])))
            say("serving until Ctrl-C or SIGTERM")

        async def at(session: "Session") -> None:
            await serve(session, listening, secrets, started)

        inv.session(at, begins=True, calls=False)
