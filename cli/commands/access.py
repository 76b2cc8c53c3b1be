"""``access``: keys for the gateway, and what they permit."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cli.flows.propose import propose
from cli.invocation import Invocation, say
from cli.options import common
from cli.options.command import Group
from cli.text import output
from cli.text.tables import columns
from decision.rules.approvals import Change
from ledger.log.opening import open_or_create
from render_service.access.grants import (
    Terms,
    check_terms,
    document_of,
    grant,
    is_listed,
    revoke,
    warning_about,
)
from render_service.access.register import AccessKey, NewKey, Register, make_key
from render_service.approvals.changes import propose_grant
from render_service.runtime.printable import printable, shorten
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.approvals.changes import Office, Proposal

SHOWN_ONCE = "this is the only time the key is shown; the ledger has only its digest"
USED = "use it as the API key of an SDK: OPENAI_API_KEY=slk_… with OPENAI_BASE_URL=http://HOST:PORT/v1"


@click.group("access", cls=Group)
def access_command() -> None:
    """Grant, revoke and list access keys of the gateway.

    \b
    Example:
      sora-ledger access grant alice --role requester --team film
      sora-ledger access list
      sora-ledger access revoke alice --reason "left the team"
    """


@access_command.command("grant", short_help="Create an access key and show it once.")
@click.argument("name")
@click.option(
    "--role",
    "roles",
    metavar="ROLE",
    multiple=True,
    required=True,
    help="A role of the policy, such as requester or approver; repeatable.",
)
@click.option("--team", "own_team", metavar="WORD", help="Team that pays; the key sees only its jobs.")
@click.option("--project", "own_project", metavar="WORD", help="Project that pays.")
@click.option("--profile", "profiles", metavar="NAME", multiple=True, help="Only this server; repeatable.")
@click.option("--purpose", "purposes", metavar="WORD", multiple=True, help="Only this purpose; repeatable.")
@click.option("--expires", metavar="TIME", callback=common.read_moment, help="When the key expires.")
@click.option(
    "--requests-per-minute",
    metavar="N",
    type=click.IntRange(min=1),
    help="Maximum requests per minute, for each instance of the gateway.",
)
@click.option(
    "--running-jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Maximum jobs of this key at the same time.",
)
@common.add_reason_option("Why it is granted; recorded if the grant has to be approved.")
@common.signed_request
@common.invocation
def grant_command(
    inv: Invocation,
    *,
    expires: str | None,
    reason: str | None,
    own_team: str | None,
    own_project: str | None,
    **terms: Any,
) -> None:
    """Create an access key for NAME, show it once, and record its digest and what it permits.

    NAME is one person or program: a second key of the same name replaces the first without a gap, and is the
    same person for approvals. If the active policy requires approval of grants, or of changes of the policy,
    the key works once another person has approved it; `changes` lists it.

    \b
    Example:
      sora-ledger access grant alice --role requester --team film --json
      sora-ledger access grant maria --role approver --expires 2027-01-01
    """
    ends = datetime.fromisoformat(expires) if expires else None
    wish = Terms(**terms, team=own_team, project=own_project, expires=ends)
    if inv.rules.policy.rules_for(Change.ACCESS):
        _propose(inv, wish, reason)
        return
    inv.drain_spool()
    now, who = utc_now(), inv.settings.provenance(inv.trace)
    with open_or_create(inv.settings.ledger_url, who, now) as ledger:
        key, record = grant(ledger, wish, now, who, inv.settings.profiles_file)
        granted = Register(ledger).keys[key.key_id]
    if warning := warning_about(inv.rules.policy, wish):
        say(f"warning: {warning}")
    _show_once(inv, key, document_of(granted, now), f"granted at position {record.position}")


def _propose(inv: Invocation, wish: Terms, reason: str | None) -> None:
    key = make_key()

    def make(office: "Office") -> "Proposal":
        check_terms(
            wish, inv.rules.policy, Register(office.ledger), office.clock(), inv.settings.profiles_file
        )
        return propose_grant(office, wish.grant(key), reason)

    propose(inv, make, lambda document: _show_once(inv, key, document, "not valid until it is approved"))


def _show_once(inv: Invocation, key: NewKey, document: dict[str, Any], state: str) -> None:
    """Print the key with `document`; a file of --json-out gets everything except the key."""
    if inv.json_out:
        output.write_json(inv.json_out, document)
    with output.stdout_trouble():
        if inv.prints_json:
            output.print_document({"key": key.text, **document})
        else:
            output.print_text(key.text)
    say(f"{key.key_id}: {state}; {SHOWN_ONCE}")
    say(USED)


@access_command.command("revoke", short_help="Revoke a key, or all keys of a name.")
@click.argument("which", metavar="NAME|KEY_ID")
@common.add_reason_option("Why it is revoked; recorded.")
@common.invocation
def revoke_command(inv: Invocation, *, which: str, reason: str | None) -> None:
    """Revoke the key with an id, or all keys of a name.

    Every instance of the gateway refuses it within a second. Jobs already accepted continue.

    \b
    Example:
      sora-ledger access revoke alice --reason "left the team"
      sora-ledger access revoke 1f2e3d4c
    """
    inv.ledger().close()  # reports a missing ledger
    inv.drain_spool()
    now, who = utc_now(), inv.settings.provenance(inv.trace)
    with open_or_create(inv.settings.ledger_url, who, now) as ledger:
        revoked = revoke(ledger, which, reason, now, who)

    def text(console: "Console") -> None:
        for key in revoked:
            console.print(f"{key.grant.key_id} of {printable(key.grant.name)} is revoked", markup=False)

    inv.emit({"revoked": [document_of(key, now) for key in revoked]}, text)


@access_command.command("list", short_help="List the access keys and what they permit.")
@click.option("--all", "everything", is_flag=True, help="Include revoked and expired keys.")
@common.invocation
def list_command(inv: Invocation, *, everything: bool) -> None:
    """List the access keys: whose they are, what they permit, and who granted them.

    \b
    Example:
      sora-ledger access list
      sora-ledger access list --all --json
    """
    now = utc_now()
    with inv.reader() as ledger:
        keys = [key for key in Register(ledger).keys.values() if is_listed(key, now, everything=everything)]
    document = {"keys": [document_of(key, now) for key in keys]}

    def text(console: "Console") -> None:
        if not keys:
            console.print("there is no valid key: sora-ledger access grant NAME --role requester")
            return
        header = ("key", "name", "state", "team", "granted by", "roles")
        columns(console, header, [_row(key, now) for key in keys], cuts=True)

    inv.emit(document, text)


def _row(key: AccessKey, now: datetime) -> tuple[str, ...]:
    document = document_of(key, now)
    is_typed = document["actor_source"] in {"flag", "environment"}
    state, ends = str(document["state"]), key.grant.expires_at
    return (
        key.grant.key_id,
        shorten(key.grant.name, 16),
        f"until {ends[:10]}" if ends and state == "valid" else state,
        shorten(key.grant.team or "", 8),
        shorten(key.granted.actor, 8 if is_typed else 16) + (" (typed)" if is_typed else ""),
        ", ".join(key.grant.roles),
    )
