"""``monitor``: follow a log from outside, and raise if it contradicts itself."""

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.text import output
from render_service.evidence.keys import read_verifier
from render_service.evidence.monitor import Monitor, Round, source_at
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput, LogDisputed, LogUnreachable
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

NOT_CHECKED = "signature not checked: no --verifier was named, so anyone could have made this log"


@click.command("monitor")
@click.argument("log", metavar="URL|DIR")
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where the last checkpoint is kept; a new file begins at the first record.",
)
@common.verifier
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(1, 86_400),
    help="Check again after this many seconds, until Ctrl-C.",
)
@click.option("--records", is_flag=True, help="Print each new record, one JSON document per line.")
@click.option("--webhook", metavar="URL", help="POST each finding to this URL.")
@common.invocation
def monitor_command(
    inv: Invocation,
    *,
    log: str,
    state: Path,
    verifier: tuple[str, ...],
    every: float | None,
    records: bool,
    webhook: str | None,
) -> None:
    """Follow the log at URL, or its tiles in DIR, and check that it extends what it showed before.

    Run it where the operator of the log cannot write: a rewritten or split log is detected by comparing
    it with the state. The log is the one that `serve --tiles` serves under /log or `export --tiles`
    writes. New records are compared with the tree, and printed with --records.

    Exit code 10 if the log was cut off, rewritten or split. The state then stays unchanged, and the
    checkpoint that proves it is kept next to it. Exit code 8 if the log cannot be read.

    \b
    Example:
      sora-ledger monitor https://example.org/log --state s.json --verifier k.pub
      sora-ledger monitor http://127.0.0.1:8780/log --state studio.json --every 60
      sora-ledger monitor public --state studio.json --records
    """
    keys = [read_verifier(text) for text in verifier]
    if webhook and not webhook.startswith(("http://", "https://")):
        raise BadInput(
            f"--webhook {webhook}: expected a URL that begins http:// or https://",
            param="webhook",
            expected="a URL that begins http:// or https://",
            found=webhook,
        )
    try:
        with source_at(log) as source:
            _follow(inv, Monitor(source, state, keys), log, every=every, records=records)
    except LogDisputed as error:
        if webhook:
            _post(webhook, {"type": "log.disputed", "kind": error.kind, "log": log, "message": str(error)})
        raise


def _follow(inv: Invocation, monitor: Monitor, log: str, *, every: float | None, records: bool) -> None:
    first = True
    while True:
        try:
            round_ = monitor.look(_print_record if records else lambda _: None)
        except LogUnreachable as error:
            if every is None:
                raise
            say(str(error))
        else:
            if first and not round_.signed_by:
                say(NOT_CHECKED)
            if records:
                say(_summary(round_))
            elif first or round_.new:
                _emit(inv, log, round_, one_of_many=every is not None)
            first = False
        if every is None:
            return
        time.sleep(every)


def _print_record(record: bytes) -> None:
    with output.stdout_trouble():
        output.print_text(record.decode())


def _emit(inv: Invocation, log: str, round_: Round, *, one_of_many: bool) -> None:
    checkpoint = round_.head.checkpoint
    document = {
        "log": log,
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "new": round_.new,
        "signed_by": round_.signed_by,
    }
    if one_of_many and inv.prints_json:
        output.print_document(document, indent=None)
        return

    def text(console: "Console") -> None:
        console.print(_summary(round_), markup=False)

    inv.emit(document, text)


def _summary(round_: Round) -> str:
    checkpoint = round_.head.checkpoint
    signed = f"; signed by {', '.join(round_.signed_by)}" if round_.signed_by else ""
    records = f"{format_count(checkpoint.size, 'record')}, {round_.new:,} new"
    return printable(f"{checkpoint.origin}: {records}; it extends what it showed before{signed}")


def _post(url: str, document: dict[str, Any]) -> None:
    from render_service.notifications.addresses import Addresses  # only if something is wrong
    from render_service.notifications.post import Letter, Post

    async def send() -> None:
        headers = {"content-type": "application/json"}
        letter = Letter(url, headers, json.dumps(document).encode())
        async with Post(Addresses(permits_private=True)) as post:
            answer = await post(letter)
        if not answer.is_accepted:
            say(f"--webhook {url}: not accepted ({answer.problem or f'HTTP {answer.http_status}'})")

    asyncio.run(send())
