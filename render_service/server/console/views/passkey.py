"""Passkey: those that the policy names for the reader, and a new one with the line for the policy.

Making a passkey records nothing. It counts once a policy that names it is in force, which is activated, and
where the policy wants it approved, like every other change: this server cannot give anyone a key.
"""

import hashlib
import json
from importlib import import_module
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import FormData

from decision.rules.passkeys import EDDSA, ES256, Passkey, is_origin
from decision.rules.roles import Permission
from render_service.approvals.approvers import passkeys_of
from render_service.runtime.errors import BadInput
from render_service.server.console.pages import Action, Done, Page, View, Visit, text_of
from render_service.server.console.security import own_origin

INSTALL = "pip install 'sora-ledger[passkeys]'"


class Named(View):
    """A passkey that the policy in force names for the reader."""

    key_id: str
    origin: str
    is_here: bool


class PasskeyView(View):
    """The page; `line` is what a policy needs for the passkey that was just made."""

    name: str
    policy: str
    named: list[Named]
    origin: str
    line: str | None
    key_id: str | None
    obstacle: str | None
    """Why no passkey can be made here; None if one can."""

    options: str | None
    """What the browser is asked for, as JSON."""


def read(visit: Visit) -> PasskeyView:
    """Read which passkeys the reader has, and what the browser is asked for to make one."""
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
    """Return the challenge for a new passkey: of this session, so nothing has to be remembered."""
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
    """Check a passkey that the browser made, and show the line that a policy needs for it."""
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
        raise BadInput(f"the browser did not make a usable passkey: {error}; nothing was recorded") from None
    public_key = key.x + key.y if int(key.alg) == ES256 else key.x
    name = "-".join(visit.caller.name.replace("+", " ").split())
    passkey = Passkey(name, int(key.alg), public_key, made.credential_id, origin)
    return Done(
        "/passkey?" + urlencode({"key": str(passkey)}),
        "Your passkey is made. It counts once the policy in force names it.",
    )


PAGE = Page("/passkey", "Passkey", "passkey.html", read, permission=Permission.APPROVE, menu=False)
ACTIONS = (Action("/passkey", "/passkey", Permission.APPROVE, make),)
