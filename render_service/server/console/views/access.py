"""Access: the keys and what they permit, who granted them, the roles of the policy in force, and passkeys.

The page shows the reader's passkeys in the policy, and a new one with its line for the policy. Making one
records nothing. It counts once a policy with it is in force, which is activated, and approved if required,
like every other change: this server cannot give anyone a key.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from importlib import import_module
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import FormData

from decision.rules.approvals import Change
from decision.rules.passkeys import EDDSA, ES256, Passkey, is_origin
from decision.rules.purpose import PURPOSES
from decision.rules.roles import Permission
from ledger.record import timestamp
from render_service.access.grants import Terms, check_terms, grant, revoke
from render_service.access.register import AccessKey, Register, make_key, make_key_id
from render_service.approvals.approvers import passkeys_of
from render_service.approvals.changes import Office, propose_grant, read_change
from render_service.rules.policies import read_active_rules
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput, NeedsApproval
from render_service.server.console.pages import Action, Done, Page, View, Visit, text_of
from render_service.server.console.security import own_origin
from render_service.server.console.views.inbox import known

MOST_SHOWN = 500
KEY_ID = re.compile(r"[0-9a-f]{8}")
LARGEST_LIMIT = 1_000_000


class Key(View):
    """A key, as a row of the table."""

    key_id: str
    name: str
    state: str
    roles: tuple[str, ...]
    team: str | None
    project: str | None
    profiles: tuple[str, ...]
    purposes: tuple[str, ...]
    requests_per_minute: int | None
    running_jobs: int | None
    expires_at: str | None
    granted_by: str
    granted_by_source: str
    granted_at: str
    position: int
    revoked_by: str | None
    revoked_at: str | None


class Role(View):
    """A role of the policy in force."""

    name: str
    permissions: tuple[str, ...]


class ProposedKey(View):
    """A grant that waits for approval; `name` is the change's name."""

    name: str
    words: str
    requester: str
    asked_at: str


class AccessView(View):
    """The page."""

    keys: tuple[Key, ...]
    proposed: tuple[ProposedKey, ...]
    valid: int
    ended: int
    shows_all: bool
    sees_all: bool
    roles: tuple[Role, ...]
    policy: str
    needs_approval: bool
    teams: tuple[str, ...]
    purposes: tuple[str, ...]
    next_key_id: str
    """The id of the key that this page's form grants: submitting the form twice grants only one key."""


def read(visit: Visit) -> AccessView:
    """Read the keys; people who neither administer nor audit see their own."""
    session = visit.session
    sees_all = visit.caller.team is None and (
        visit.may(Permission.ADMINISTER) or visit.may(Permission.AUDIT) or visit.may(Permission.OPERATE)
    )
    keys = [_row(key, visit.now) for key in Register(session.ledger).keys.values()]
    visible = [key for key in keys if sees_all or key.name == visit.caller.name]
    valid = [key for key in visible if key.state == "valid"]
    shows_all = visit.query("all") == "yes"
    policy = session.policy
    return AccessView(
        keys=tuple(reversed(visible if shows_all else valid))[:MOST_SHOWN],
        proposed=tuple(_proposed(visit)) if sees_all else (),
        valid=len(valid),
        ended=len(visible) - len(valid),
        shows_all=shows_all,
        sees_all=sees_all,
        roles=tuple(
            Role(name=name, permissions=tuple(words)) for name, words in policy.roles_in_force.items()
        ),
        policy=policy.name,
        needs_approval=bool(policy.rules_for(Change.ACCESS)),
        teams=tuple(sorted({key.team for key in visible if key.team})),
        purposes=tuple(PURPOSES),
        next_key_id=make_key_id(),
    )


def rows(view: AccessView) -> Sequence[Mapping[str, object]]:
    """Return the table of keys."""
    return [key.model_dump() for key in view.keys]


def _proposed(visit: Visit) -> Iterator[ProposedKey]:
    ledger = visit.session.ledger
    for name in known(ledger).changes.names()[:MOST_SHOWN]:
        change = read_change(ledger, name)
        if change.change is Change.ACCESS:
            proposal = change.history.first
            yield ProposedKey(
                name=name, words=change.words, requester=proposal.actor, asked_at=proposal.recorded_at
            )


def _row(key: AccessKey, now: datetime) -> Key:
    made, revoked, granted = key.grant, key.revoked, key.granted
    return Key(
        key_id=made.key_id,
        name=made.name,
        state=key.state(timestamp(now)).value,
        roles=made.roles,
        team=made.team,
        project=made.project,
        profiles=made.profiles or (),
        purposes=made.purposes or (),
        requests_per_minute=made.requests_per_minute,
        running_jobs=made.running_jobs,
        expires_at=made.expires_at,
        granted_by=granted.actor,
        granted_by_source=granted.envelope.actor_source,
        granted_at=granted.recorded_at,
        position=granted.position,
        revoked_by=revoked.actor if revoked else None,
        revoked_at=revoked.recorded_at if revoked else None,
    )


async def grant_key(visit: Visit, form: FormData) -> Done:
    """Grant a key, or propose it if another person must approve grants; the key is shown once."""
    session, terms = visit.session, _terms(form)
    who, key_id = session.provenance, text_of(form, "key_id")
    if not KEY_ID.fullmatch(key_id):
        raise BadInput("the form is incomplete: reload the page, and send it again")
    own_profiles = session.settings.profiles_file
    try:
        key, _ = await asyncio.to_thread(
            grant, session.ledger, terms, visit.now, who, own_profiles, key_id=key_id
        )
    except NeedsApproval:
        return await asyncio.to_thread(_propose, visit, terms, key_id, text_of(form, "reason") or None)
    return Done(
        "/access",
        f"The key {key.key_id} of {terms.name} is valid from now on.",
        shown_once=key.text,
    )


def _propose(visit: Visit, terms: Terms, key_id: str, reason: str | None) -> Done:
    session = visit.session
    register, policy = Register(session.ledger), read_active_rules(session.ledger).policy
    check_terms(terms, policy, register, visit.now, session.settings.profiles_file)
    key = make_key(key_id)
    office = Office(session.ledger, session.settings, session.trace, session.clock)
    proposed = propose_grant(office, terms.grant(key), reason)
    needed = format_count(proposed.event.approvals_needed, "other person", "other people")
    message = (
        f"The key {key.key_id} of {terms.name} is proposed. It is valid once {needed} approved it in the "
        "Inbox."
    )
    return Done("/access", message, shown_once=key.text)


async def revoke_key(visit: Visit, form: FormData) -> Done:
    """Revoke a key, or all keys of a name."""
    session, which = visit.session, text_of(form, "key_id")
    reason = text_of(form, "reason") or None
    if not which:
        raise BadInput("choose the key to revoke")
    revoked = await asyncio.to_thread(revoke, session.ledger, which, reason, visit.now, session.provenance)
    names = ", ".join(f"{key.grant.key_id} of {key.grant.name}" for key in revoked)
    return Done("/access", f"Revoked: {names}. Every server refuses it within a second.")


def _terms(form: FormData) -> Terms:
    return Terms(
        name=text_of(form, "name"),
        roles=tuple(str(role) for role in form.getlist("roles")),
        team=text_of(form, "team") or None,
        project=text_of(form, "project") or None,
        purposes=tuple(str(purpose) for purpose in form.getlist("purposes")),
        expires=_end_of(text_of(form, "expires")),
        requests_per_minute=_number(form, "requests_per_minute"),
        running_jobs=_number(form, "running_jobs"),
    )


def _number(form: FormData, name: str) -> int | None:
    text = text_of(form, name)
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:10]) <= LARGEST_LIMIT:
        raise BadInput(
            f"{name.replace('_', ' ')}: expected a number from 1 to {LARGEST_LIMIT:,}, found {text[:40]!r}"
        )
    return int(text)


def _end_of(text: str) -> datetime | None:
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(f"last day: expected a date such as 2027-01-31, found {text[:40]!r}") from None
    return datetime.combine(day.date(), time(23, 59, 59), UTC)


PAGE = Page("/access", "Access", "access.html", read, rows=rows)
ACTIONS = (
    Action("/access/grant", "/access", Permission.ADMINISTER, grant_key),
    Action("/access/revoke", "/access", Permission.ADMINISTER, revoke_key),
)


INSTALL = "pip install 'sora-ledger[passkeys]'"


class Named(View):
    """A passkey of the reader in the policy in force."""

    key_id: str
    origin: str
    is_here: bool


class PasskeyView(View):
    """The page; `line` is the policy line of the passkey that was just made."""

    name: str
    policy: str
    named: list[Named]
    origin: str
    line: str | None
    key_id: str | None
    obstacle: str | None
    """Why no passkey can be made here; None if one can."""

    options: str | None
    """The request to the browser, as JSON."""


def read_passkeys(visit: Visit) -> PasskeyView:
    """Read the reader's passkeys, and the browser request to make one."""
    policy, name, origin = visit.session.in_force.rules.policy, visit.caller.name, own_origin(visit.request)
    made = _made(visit)
    obstacle = _obstacle(origin)
    return PasskeyView(
        name=name,
        policy=policy.name,
        named=[
            Named(key_id=key.key_id, origin=key.origin, is_here=key.origin == origin)
            for key in passkeys_of(policy, name)
        ],
        origin=origin,
        line=f"{json.dumps(name, ensure_ascii=False)} = [{json.dumps(str(made))}]" if made else None,
        key_id=made.key_id if made else None,
        obstacle=obstacle,
        options=_options(visit, origin) if obstacle is None and visit.csrf else None,
    )


def _made(visit: Visit) -> Passkey | None:
    """Return the passkey in the address, which is public."""
    text = visit.query("key")
    try:
        return Passkey.parse(text) if text else None
    except ValueError:
        return None


def _obstacle(origin: str) -> str | None:
    if not is_origin(origin):
        return (
            f"Browsers offer passkeys at an https address, or at localhost, and this is {origin}: open the "
            "console there."
        )
    try:
        import_module("webauthn")
    except ImportError:
        return f"This server lacks the extra for passkeys: {INSTALL}"
    return None


def _challenge(visit: Visit) -> bytes:
    """Return the challenge for a new passkey: derived from this session, so nothing must be stored."""
    return hashlib.sha256(f"sora-ledger/passkey/new\n{visit.csrf}\n{visit.caller.name}".encode()).digest()


def _options(visit: Visit, origin: str) -> str:
    webauthn, structs = import_module("webauthn"), import_module("webauthn.helpers.structs")
    host = urlsplit(origin).hostname
    known = passkeys_of(visit.session.in_force.rules.policy, visit.caller.name)
    user = f"{visit.session.ledger.ledger_id}\n{visit.caller.name}".encode()
    options = webauthn.generate_registration_options(
        rp_id=host,
        rp_name="sora-ledger",
        user_id=hashlib.sha256(user).digest(),
        user_name=visit.caller.name,
        challenge=_challenge(visit),
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.PREFERRED,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            structs.PublicKeyCredentialDescriptor(id=key.credential_id)
            for key in known
            if key.origin == origin
        ],
        supported_pub_key_algs=_algorithms(),
    )
    return str(webauthn.options_to_json(options))


def _algorithms() -> list[Any]:
    kinds = import_module("webauthn.helpers.cose").COSEAlgorithmIdentifier
    return [kinds(ES256), kinds(EDDSA)]


async def make(visit: Visit, form: FormData) -> Done:
    """Check a passkey that the browser made, and show its line for the policy."""
    origin = own_origin(visit.request)
    obstacle = _obstacle(origin)
    if obstacle is not None:
        raise BadInput(obstacle)
    webauthn, helpers = import_module("webauthn"), import_module("webauthn.helpers")
    invalid = import_module("webauthn.helpers.exceptions").WebAuthnException
    try:
        made = webauthn.verify_registration_response(
            credential=text_of(form, "credential"),
            expected_challenge=_challenge(visit),
            expected_rp_id=urlsplit(origin).hostname,
            expected_origin=origin,
            require_user_verification=True,
            supported_pub_key_algs=_algorithms(),
        )
        key = helpers.decode_credential_public_key(made.credential_public_key)
    except (invalid, ValueError) as error:
        raise BadInput(
            f"the browser did not create a usable passkey: {error}; nothing was recorded"
        ) from None
    public_key = key.x + key.y if int(key.alg) == ES256 else key.x
    name = "-".join(visit.caller.name.replace("+", " ").split())
    passkey = Passkey(name, int(key.alg), public_key, made.credential_id, origin)
    return Done(
        "/passkey?" + urlencode({"key": str(passkey)}),
        "Your passkey was created. It counts once the policy in force names it.",
    )


PASSKEY_PAGE = Page(
    "/passkey", "Passkey", "passkey.html", read_passkeys, permission=Permission.APPROVE, menu=False
)
PASSKEY_ACTIONS = (Action("/passkey", "/passkey", Permission.APPROVE, make),)
