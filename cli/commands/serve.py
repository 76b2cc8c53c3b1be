"""``serve``: a whole installation in one process; ``console``: its console, opened in the browser."""

import asyncio
import contextlib
import os
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.flows import run_all
from cli.garbage import leave_out_what_is_loaded
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.working import (
    add_publishing_options,
    add_worker_options,
    read_publication,
    read_worker_options,
)
from ledger.errors import LedgerUnusable
from ledger.log.opening import open_now
from ledger.record import Authority
from render_service.access.local import (
    TICKET_S,
    find_console,
    link,
    make_ticket,
    note_console,
    write_choice,
    write_link,
)
from render_service.access.signing import Signer, open_signer
from render_service.alerts.targets import read_targets
from render_service.evidence.checkpoints import Scheduled
from render_service.evidence.keys import read_signer
from render_service.forwarding.destinations import read_destinations
from render_service.runtime.errors import BadInput, ServiceError
from render_service.runtime.ledger_process import end_with_parent, ledger_process, read_path_prefix
from render_service.runtime.ledgers import list_separate
from render_service.runtime.settings import Settings, read_settings
from render_service.server.app import Parts, serve, too_busy
from render_service.server.background import Work
from render_service.server.console_routes import console_routes
from render_service.server.front import create_front
from render_service.server.gateway.routes import gateway_routes
from render_service.server.log_routes import PREFIX as LOG
from render_service.server.server import (
    address_of,
    check_reach,
    listen,
    listen_below,
    most_connections,
    serve_app,
)
from render_service.session.connections import find_usable_profile
from render_service.session.session import utc_now
from render_service.webhooks.endpoints import webhook_secrets
from render_service.worker.leases import WorkerOptions
from render_service.worker.worker import Worker

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session


PORT = click.IntRange(0, 65_535)
SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Variables of which one is set where a browser can open a window."""


@click.command("serve")
@common.add_listening_options(port=8780)
@click.option("--no-gateway", is_flag=True, help="Do not serve the Videos API under /v1, nor /mcp.")
@click.option("--no-console", is_flag=True, help="Do not serve the console under /console.")
@click.option("--no-work", is_flag=True, help="Leave the queue to `sora-ledger worker`, here or elsewhere.")
@click.option("--no-notifications", is_flag=True, help="Send no webhooks to clients.")
@click.option("--no-webhooks", is_flag=True, help="Do not receive webhooks, whatever secrets are set.")
@click.option(
    "--tiles", is_flag=True, help="Serve the log publicly under /log (C2SP tlog-tiles); needs --key."
)
@common.signing
@run_all.option
@add_worker_options
@add_publishing_options
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
    tiles: bool,
    key: Path | None,
    all_in: Path | None,
    **options: Any,
) -> None:
    """Serve the Videos API under /v1, tools for AI agents under /mcp, and the console under /console.

    People open the console with `sora-ledger console`, or sign in with an access key. Clients of the API set
    OPENAI_BASE_URL to this server and OPENAI_API_KEY to a key from `access grant`; nothing else changes.
    The same process works the queue, so it needs no other; it serves /healthz, /readyz and /metrics. With
    secrets in SORA_LEDGER_WEBHOOK_SECRETS, or for another profile in SORA_LEDGER_WEBHOOK_SECRETS_PROFILE, it
    receives webhooks at POST /webhooks/PROFILE; during a rotation, separate them with commas. Clients
    register their own receivers of webhooks at /v1/webhook_endpoints. It sends events to the destinations in
    the file that SORA_LEDGER_FORWARD names, as `sora-ledger forward` does, and alerts to the people in the
    file that SORA_LEDGER_ALERTS names.

    With --all, each ledger of a folder is served in this way under /t/NAME: clients set OPENAI_BASE_URL
    to …/t/NAME/v1. A ledger that cannot be used answers 503; the others are not affected.

    SIGTERM or Ctrl-C finishes the requests in progress and hands jobs back; a second one ends it immediately.

    \b
    Example:
      sora-ledger serve --profile custom --port 8780
      sora-ledger serve --no-work
      sora-ledger serve --no-gateway --no-work
      sora-ledger serve --tiles --key signing.key
      sora-ledger serve --all ledgers
    """
    if all_in:
        with contextlib.closing(listen(host, port)) as listening:
            if not no_console:
                check_reach(inv.settings, listening)
            site = run_all.Site(_origin(listening, host), *address_of(listening))
            front = _front(inv, listening, console=not no_console)
            run_all.serve_all(inv, all_in, site, front, console=not no_console)
        return
    secrets = {} if no_webhooks else webhook_secrets(inv.settings)
    publication = read_publication(inv.settings, options, key)
    terms = None if no_work else read_worker_options(**options)
    log_key = _log_key(key or inv.settings.key_file) if tiles else None
    gateway, console = None if no_gateway else gateway_routes, None if no_console else console_routes
    parts = Parts(gateway, console, notifies=not no_notifications, log_key=log_key)
    process = ledger_process()
    end_with_parent()
    with contextlib.closing(listen(host, port) if process is None else listen_below(process)) as listening:
        origin = _origin(listening, host)
        if parts.console:
            check_reach(inv.settings, listening)
        document = _document(origin, secrets, parts, works=not no_work)

        def started(_: "Session") -> None:
            leave_out_what_is_loaded()
            inv.emit(document, lambda console: _print(console, document))
            say("serving until Ctrl-C or SIGTERM")

        _serve(inv, listening, secrets, parts, terms, started, publication)


def _front(inv: Invocation, listening: socket.socket, *, console: bool) -> run_all.Serve:
    """Return the function that serves all ledgers on `listening`."""

    async def serving(sockets: Mapping[str, Path], started: Callable[[], None], stop: asyncio.Event) -> None:
        app = create_front(
            sockets,
            inv.log,
            stop,
            most=max(1, most_connections() // 2),
            token=inv.settings.metrics_token,
            has_console=console,
        )
        await serve_app(app, too_busy(inv.log), listening, started, stop)

    return serving


def _log_key(key: Path | None) -> Path:
    """Return the file of the key that signs the served log, after reading it."""
    if key is None:
        raise BadInput(
            "--tiles needs a signed checkpoint: add --key FILE (`sora-ledger key new FILE` creates one)",
            param="key",
            expected="a key that signs",
            found="nothing",
        )
    read_signer(key)
    return key


def _serve(
    inv: Invocation,
    listening: socket.socket,
    secrets: Mapping[str, tuple[str, ...]],
    parts: Parts,
    terms: WorkerOptions | None,
    started: Callable[["Session"], None],
    publication: Scheduled | None = None,
) -> None:
    """Serve, and work the queue if there are `terms`, until a signal."""
    destinations = read_destinations(inv.settings.forward_file) if inv.settings.forward_file else None
    targets = read_targets(inv.settings.alerts_file) if inv.settings.alerts_file else None

    async def at(session: "Session") -> None:
        works: list[Work] = [] if terms is None else [lambda stop: _work(session, terms, stop)]
        local = _local_origin(listening) if parts.console else None
        async with contextlib.AsyncExitStack() as stack:
            if local:
                stack.enter_context(note_console(inv.settings, local))
            if publication:
                from render_service.evidence.publishing import on_schedule

                await stack.enter_async_context(on_schedule(session, publication))
            if destinations:
                from render_service.forwarding.forwarder import Forwarding

                works.append((await stack.enter_async_context(Forwarding(session, destinations))).run)
            if targets:
                from render_service.alerts.alerter import Alerter

                works.append((await stack.enter_async_context(Alerter(session, targets))).run)
            await serve(
                session, listening, secrets, lambda: started(session), parts._replace(worker=terms), works
            )

    inv.session(at, begins=True, calls=parts.gateway is not None or terms is not None)


def _origin(listening: socket.socket, host: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{address_of(listening)[1]}{read_path_prefix()}"


def _local_origin(listening: socket.socket) -> str | None:
    """Return the server's address on this machine; None if it listens only at another address."""
    address = ip_address(address_of(listening)[0])
    if address.is_loopback or address.is_unspecified:
        return _origin(listening, "::1" if isinstance(address, IPv6Address) else "127.0.0.1")
    return None


@click.command("console")
@click.option("--print", "prints", is_flag=True, help="Print the link; open no browser.")
@click.option(
    "--port",
    metavar="N",
    type=PORT,
    default=0,
    help="Port, if this command serves the console.  [default: free]",
)
@click.option(
    "--no-work",
    is_flag=True,
    help="If this command serves the console, leave the queue to a worker elsewhere.",
)
@click.option(
    "--all",
    "all_in",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The consoles of all ledgers in this folder, which `serve --all` serves.",
)
@common.calling
@common.invocation
def console_command(inv: Invocation, *, prints: bool, port: int, no_work: bool, all_in: Path | None) -> None:
    """Open the console of this ledger in the browser of this machine, signed in as you.

    If `serve` runs on this machine, its console is opened. Otherwise this command serves one on a free port
    until Ctrl-C. The link signs in once, within a minute. Where there is no browser, it is printed.

    \b
    Example:
      sora-ledger console
      sora-ledger console --print
      sora-ledger console --all ledgers
    """
    if all_in:
        _choose(inv, all_in, prints=prints)
        return
    if inv.settings.may_have_ledger:
        with inv.ledger() as ledger:
            signer = open_signer(inv.settings, ledger.ledger_id)
        if console := find_console(inv.settings, signer):
            _open(inv, signer, console, prints=prints)
            return
    works = not no_work and _can_call(inv)
    parts = Parts(gateway_routes if works else None, console_routes, notifies=works)
    with contextlib.closing(listen("127.0.0.1", port)) as listening:

        def started(session: "Session") -> None:
            signer = open_signer(inv.settings, session.ledger.ledger_id)
            _open(inv, signer, _origin(listening, "127.0.0.1"), prints=prints)
            say("serving until Ctrl-C or SIGTERM" + ("" if works else "; no queue is worked here"))

        _serve(inv, listening, {}, parts, WorkerOptions() if works else None, started)


def _choose(inv: Invocation, folder: Path, *, prints: bool) -> None:
    """Open a page with a link to the console of each ledger, or print the links."""
    run_all.check_options()
    consoles: list[dict[str, Any]] = []
    for name, place in list_separate(folder).items():
        settings = replace(
            read_settings(environment=place.environment, folder=place.folder),
            actor=inv.settings.actor,
            actor_source=inv.settings.actor_source,
        )
        try:
            with open_now(settings.ledger_url) as ledger:
                signer = open_signer(settings, ledger.ledger_id)
            found = find_console(settings, signer)
        except (LedgerUnusable, ServiceError) as error:
            consoles.append({"ledger": name, "console": None, "because": str(error)})
            continue
        if found is None:
            consoles.append({"ledger": name, "console": None, "because": "it is not served here now"})
            continue
        ticket = make_ticket(signer, settings.actor, settings.actor_source, utc_now())
        consoles.append({"ledger": name, "console": f"{found}/console", "link": link(found, ticket)})
    links = {entry["ledger"]: entry["link"] for entry in consoles if entry["console"]}
    if not links:
        raise BadInput(
            f"--all {folder}: none of its consoles is served here; `sora-ledger serve --all` does that",
            param="all",
            expected="a console that is served here",
            found="none",
        )
    shown = prints or not (_has_windows() and webbrowser.open(write_choice(inv.settings, links).as_uri()))
    document: dict[str, Any] = {
        "ledgers": [{k: v for k, v in entry.items() if shown or k != "link"} for entry in consoles],
        "valid_seconds": TICKET_S,
    }
    inv.emit(document, lambda console: _print_links(console, document["ledgers"]))


def _print_links(console: "Console", ledgers: Iterable[Mapping[str, Any]]) -> None:
    for ledger in ledgers:
        console.print(
            f"{ledger['ledger']}: {ledger.get('link', ledger['console']) or ledger['because']}",
            soft_wrap=True,
        )


def _can_call(inv: Invocation) -> bool:
    """Return whether there is a server to render with; the console also works without one."""
    try:
        find_usable_profile(inv.settings, None, even_if_retired=inv.even_if_retired)
    except BadInput:
        return False
    return True


def _open(inv: Invocation, signer: Signer, origin: str, *, prints: bool) -> None:
    settings = inv.settings
    ticket = make_ticket(signer, settings.actor, settings.actor_source, utc_now())
    address = link(origin, ticket)
    document: dict[str, Any] = {"console": f"{origin}/console", "actor": settings.actor}
    if prints or not _opens(settings, address):
        document |= {"link": address, "valid_seconds": TICKET_S}
    shown = document.get("link", document["console"])
    inv.emit(document, lambda console: console.print(shown, soft_wrap=True))


def _opens(settings: Settings, address: str) -> bool:
    """Open a browser with windows; return whether there is one."""
    return _has_windows() and webbrowser.open(write_link(settings, address).as_uri())


def _has_windows() -> bool:
    return sys.platform in {"darwin", "win32"} or any(map(os.environ.get, SCREENS))


async def _work(session: "Session", terms: WorkerOptions, stop: asyncio.Event) -> None:
    """Work the queue in a separate session: its fences belong to its leases, not to the requests."""
    own = replace(session, authority=Authority.SYSTEM, fences={}, held_until={})
    await Worker(own, terms).run(stop)


def _document(
    origin: str, secrets: Mapping[str, tuple[str, ...]], parts: Parts, *, works: bool
) -> dict[str, Any]:
    return {
        "serving": origin,
        "gateway": f"{origin}/v1" if parts.gateway else None,
        "agents": f"{origin}/mcp" if parts.gateway else None,
        "console": f"{origin}/console" if parts.console else None,
        "log": f"{origin}{LOG}" if parts.log_key else None,
        "works": works,
        "webhooks": [f"{origin}/webhooks/{name}" for name in secrets],
    }


def _print(console: "Console", document: Mapping[str, Any]) -> None:
    console.print("\n".join([document["serving"], *document["webhooks"]]))
    if document["console"]:
        console.print(f"\nThe console: {document['console']}    signed in: sora-ledger console")
    if document["log"]:
        console.print(f"\nThe log for outsiders: {document['log']}    followed by: sora-ledger monitor")
    if document["gateway"]:
        console.print(
            "\nIn a client of the Videos API, set:\n"
            f"  OPENAI_BASE_URL={document['gateway']}\n"
            "  OPENAI_API_KEY=slk_…    from: sora-ledger access grant NAME --role requester"
        )
        console.print(f"\nTools for AI agents (MCP), with the same key: {document['agents']}")
