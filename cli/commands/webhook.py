"""``webhook``: have the server announce finished videos, where it can."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from render_service.api.sessions import finished
from render_service.webhooks.endpoints import asked, checked_url, endpoint_document, secret_document
from sora_adapter.endpoints import endpoints, register, remove, rotate, send_sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sora_adapter.client import VideosClient
    from sora_adapter.endpoints import NewSecret

_NEEDS_ID = ("test", "rotate", "delete")
_ACTIONS = ("register", "list", "test", "rotate", "delete")


@click.command("webhook", short_help="Manage the server's webhook endpoints.")
@click.argument("action", metavar="|".join(_ACTIONS), type=click.Choice(_ACTIONS))
@click.option("--url", metavar="URL", help="With register: where `serve` is reached, …/webhooks/PROFILE.")
@click.option(
    "--name", metavar="NAME", help="With register: what the server calls it.  [default: sora-ledger]"
)
@click.option("--id", "endpoint_id", metavar="WHE_ID", help="With test, rotate and delete: the endpoint.")
@click.option(
    "--event-type", metavar="TYPE", help="With test: the event of the sample.  [default: video.completed]"
)
@click.option("--at-once", is_flag=True, help="With rotate: the old secret ends now, not in 24 hours.")
@common.calling
@common.invocation
def webhook_command(  # one parameter per option
    inv: Invocation,
    *,
    action: str,
    url: str | None,
    name: str | None,
    endpoint_id: str | None,
    event_type: str | None,
    at_once: bool,
) -> None:
    """Have the server announce finished videos at your endpoint: register, list, test, rotate, delete.

    A secret is printed once, by `register` and `rotate`, and recorded nowhere: put it where `serve` reads it.

    \b
    Example:
      sora-ledger webhook register --url https://desk.example.com/webhooks/custom
      sora-ledger webhook list
      sora-ledger webhook test --id whe_123
      sora-ledger webhook rotate --id whe_123
      sora-ledger webhook delete --id whe_123
    """
    _refuse_misplaced(action, url=url, name=name, id=endpoint_id, event_type=event_type, at_once=at_once)
    if action == "register":
        _register(inv, url, name or "sora-ledger")
    elif action == "list":
        _list(inv)
    elif action == "test":
        _test(inv, str(endpoint_id), event_type or "video.completed")
    elif action == "rotate":
        _rotate(inv, str(endpoint_id), keep_old=not at_once)
    else:
        _delete(inv, str(endpoint_id))


_OPTIONS = {
    "register": {"url", "name"},
    "list": set[str](),
    "test": {"id", "event_type"},
    "rotate": {"id", "at_once"},
    "delete": {"id"},
}


def _refuse_misplaced(action: str, **given: object) -> None:
    wrong = next((name for name, value in given.items() if value and name not in _OPTIONS[action]), None)
    if wrong:
        raise click.UsageError(f"--{wrong.replace('_', '-')} is not for `webhook {action}`")
    if action in _NEEDS_ID and not given["id"]:
        raise click.UsageError(
            f"`webhook {action}` needs --id; `sora-ledger webhook list` shows what there is"
        )
    if action == "register" and not given["url"]:
        raise click.UsageError("`webhook register` needs --url, where the server reaches `sora-ledger serve`")


def _ask(inv: Invocation, ask: "Callable[[VideosClient], Awaitable[Any]]") -> Any:
    return finished(asked(inv.settings, inv.trace, ask, even_if_retired=inv.even_if_retired))


def _register(inv: Invocation, url: str | None, name: str) -> None:
    where = checked_url(url or "")
    _show_secret(inv, _ask(inv, lambda client: register(client, name, where)))


def _rotate(inv: Invocation, endpoint_id: str, *, keep_old: bool) -> None:
    _show_secret(inv, _ask(inv, lambda client: rotate(client, endpoint_id, keep_old=keep_old)))
    if keep_old:
        say("the server signs with both for 24 hours: give `serve` the new one beside the old, new,old")
    else:
        say("the old secret is void: what is delivered before `serve` has the new one is refused")


def _show_secret(inv: Invocation, endpoint: "NewSecret") -> None:
    document = secret_document(inv.settings, endpoint)
    lines = [f"{endpoint.id}  {endpoint.url}", f"export {document['variable']}={endpoint.signing_secret}"]
    inv.emit(document, lambda _: output.print_text("\n".join(lines)))
    say("this is the only time the secret is shown")


def _list(inv: Invocation) -> None:
    found = _ask(inv, endpoints)
    document = {"endpoints": [endpoint_document(each) for each in found]}
    lines = [f"{each.id}  {each.url}  {', '.join(each.event_types)}" for each in found] or ["there are none"]
    inv.emit(document, lambda console: console.print("\n".join(lines), markup=False))


def _delete(inv: Invocation, endpoint_id: str) -> None:
    removed = _ask(inv, lambda client: remove(client, endpoint_id))
    document = {"id": removed.id or endpoint_id, "object": removed.object, "deleted": True}
    said = (
        f"{endpoint_id} is gone: the server sends it nothing more; take its secret out of what `serve` reads"
    )
    inv.emit(document, lambda console: console.print(said, markup=False))


def _test(inv: Invocation, endpoint_id: str, event_type: str) -> None:
    tested = _ask(inv, lambda client: send_sample(client, endpoint_id, event_type))
    taken = tested.status_code // 100 == HTTPStatus.OK // 100
    document = {"id": endpoint_id, "event_type": tested.event_type, "status_code": tested.status_code}
    said = f"the endpoint answered a {tested.event_type} with {tested.status_code}"
    inv.emit(document | {"taken": taken}, lambda console: console.print(said, markup=False))
    if not taken:
        raise click.exceptions.Exit(ExitCode.FAILED)
