"""``webhook``: the server's webhook endpoints, which get its events about finished videos."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.command import Group
from cli.text import output
from cli.text.usage import Usage
from render_service.api.sessions import finished
from render_service.webhooks.endpoints import call_server, checked_url, endpoint_document, secret_document
from sora_adapter.endpoints import endpoints, register, remove, rotate, send_sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sora_adapter.client import VideosClient
    from sora_adapter.endpoints import NewSecret

_endpoint_id = click.option(
    "--id", "endpoint_id", metavar="WHE_ID", help="The endpoint; `webhook list` shows them."
)


@click.group("webhook", cls=Group)
def webhook_command() -> None:
    """Have the server send webhooks about finished videos to your endpoint.

    `register` and `rotate` print a secret once and record it nowhere: put it where `serve` reads it.

    \b
    Example:
      sora-ledger webhook register --url https://desk.example.com/webhooks/custom
      sora-ledger webhook list
    """


@webhook_command.command("register", short_help="Register an endpoint and print its secret.")
@click.option("--url", metavar="URL", help="Where `serve` is reached, …/webhooks/PROFILE.")
@click.option(
    "--name",
    metavar="NAME",
    default="sora-ledger",
    show_default=True,
    help="The endpoint's name on the server.",
)
@common.calling
@common.invocation
def register_command(inv: Invocation, *, url: str | None, name: str) -> None:
    """Register an endpoint and print its secret.

    \b
    Example:
      sora-ledger webhook register --url https://desk.example.com/webhooks/custom
    """
    if not url:
        raise Usage(
            "`webhook register` needs --url, where the server reaches `sora-ledger serve`",
            param="url",
            expected="the address of `sora-ledger serve`",
            found="nothing",
        )
    _register(inv, url, name or "sora-ledger")


@webhook_command.command("list", short_help="List the endpoints.")
@common.calling
@common.invocation
def list_command(inv: Invocation) -> None:
    """List the endpoints registered at the server.

    \b
    Example:
      sora-ledger webhook list
    """
    _list(inv)


@webhook_command.command("test", short_help="Have the server send a sample event.")
@_endpoint_id
@click.option(
    "--event-type",
    metavar="TYPE",
    default="video.completed",
    show_default=True,
    help="The event of the sample.",
)
@common.calling
@common.invocation
def test_command(inv: Invocation, *, endpoint_id: str | None, event_type: str) -> None:
    """Have the server send a sample event to an endpoint.

    \b
    Example:
      sora-ledger webhook test --id whe_123
    """
    _test(inv, _require_id("test", endpoint_id), event_type)


@webhook_command.command("rotate", short_help="Replace the secret of an endpoint.")
@_endpoint_id
@click.option("--at-once", is_flag=True, help="Void the old secret now, not in 24 hours.")
@common.calling
@common.invocation
def rotate_command(inv: Invocation, *, endpoint_id: str | None, at_once: bool) -> None:
    """Replace the secret of an endpoint and print the new one.

    \b
    Example:
      sora-ledger webhook rotate --id whe_123
    """
    _rotate(inv, _require_id("rotate", endpoint_id), keep_old=not at_once)


@webhook_command.command("delete", short_help="Delete an endpoint.")
@_endpoint_id
@common.calling
@common.invocation
def delete_command(inv: Invocation, *, endpoint_id: str | None) -> None:
    """Delete an endpoint; the server sends it nothing more.

    \b
    Example:
      sora-ledger webhook delete --id whe_123
    """
    _delete(inv, _require_id("delete", endpoint_id))


def _require_id(command: str, endpoint_id: str | None) -> str:
    if not endpoint_id:
        raise Usage(
            f"`webhook {command}` needs --id; `sora-ledger webhook list` shows what there is",
            param="id",
            expected="the id of a webhook",
            found="nothing",
        )
    return endpoint_id


def _ask(inv: Invocation, ask: "Callable[[VideosClient], Awaitable[Any]]") -> Any:
    return finished(call_server(inv.settings, inv.trace, ask, even_if_retired=inv.even_if_retired))


def _register(inv: Invocation, url: str, name: str) -> None:
    where = checked_url(url)
    _show_secret(inv, _ask(inv, lambda client: register(client, name, where)))


def _rotate(inv: Invocation, endpoint_id: str, *, keep_old: bool) -> None:
    _show_secret(inv, _ask(inv, lambda client: rotate(client, endpoint_id, keep_old=keep_old)))
    if keep_old:
        say("the server signs with both for 24 hours: give `serve` both, as new,old")
    else:
        say("the old secret is void: what is delivered before `serve` has the new one is refused")


def _show_secret(inv: Invocation, endpoint: "NewSecret") -> None:
    document = secret_document(inv.settings, endpoint)
    lines = [f"{endpoint.id}  {endpoint.url}", f"export {document['variable']}={endpoint.signing_secret}"]
    inv.emit(document, lambda _: output.print_text("\n".join(lines)))
    say("this is the only time the secret is shown")


def _list(inv: Invocation) -> None:
    endpoints_ = _ask(inv, endpoints)
    document = {"endpoints": [endpoint_document(endpoint) for endpoint in endpoints_]}
    lines = [
        f"{endpoint.id}  {endpoint.url}  {', '.join(endpoint.event_types)}" for endpoint in endpoints_
    ] or ["there are none"]
    inv.emit(document, lambda console: console.print("\n".join(lines), markup=False))


def _delete(inv: Invocation, endpoint_id: str) -> None:
    removed = _ask(inv, lambda client: remove(client, endpoint_id))
    document = {"id": removed.id or endpoint_id, "object": removed.object, "deleted": True}
    summary = (
        f"{endpoint_id} is gone: the server sends it nothing more; take its secret out of what `serve` reads"
    )
    inv.emit(document, lambda console: console.print(summary, markup=False))


def _test(inv: Invocation, endpoint_id: str, event_type: str) -> None:
    tested = _ask(inv, lambda client: send_sample(client, endpoint_id, event_type))
    taken = tested.status_code // 100 == HTTPStatus.OK // 100
    document = {"id": endpoint_id, "event_type": tested.event_type, "status_code": tested.status_code}
    summary = f"the endpoint answered a {tested.event_type} with {tested.status_code}"
    inv.emit(document | {"taken": taken}, lambda console: console.print(summary, markup=False))
    if not taken:
        raise click.exceptions.Exit(ExitCode.FAILED)
