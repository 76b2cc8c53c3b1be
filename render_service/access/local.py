"""The console of this machine: its address, and links that sign in the person at the terminal.

`serve` notes its address in a file next to the ledger. Another program may listen there by now, so a server
must prove that it has the secret before a link is made for it.

A link carries a ticket, which is signed, used once and valid for a minute, after ``#``: browsers do not send
that part, so it is in no log. A browser is started with a file that redirects to the link, because other
users of the machine can read the arguments of programs.
"""

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from ledger.private_files import NewFile
from ledger.record import ActorSource
from render_service.access.signing import Signer, secret_file
from render_service.runtime.settings import Settings

TICKET_S = 60
PROOF_S = 5.0
_TICKET, _PROOF = "ticket", "proof"
_LOCAL = ("http://127.0.0.1:", "http://[::1]:")
_MOST_BYTES = 4_096


def make_ticket(signer: Signer, name: str, source: ActorSource, now: datetime) -> str:
    """Return a ticket that signs in `name` once, as the person at the terminal of this machine."""
    content = {"once": secrets.token_hex(16), "name": name, "source": source.value}
    return signer.sign(_TICKET, content, now + timedelta(seconds=TICKET_S))


def read_ticket(signer: Signer, text: str, now: datetime) -> dict[str, Any] | None:
    """Return a ticket's content: `name`, `source` and `once`, its id; None if it is not valid."""
    return signer.read(_TICKET, text, now)


def prove(signer: Signer, challenge: str) -> str:
    """Return the proof that this process has the secret."""
    return signer.token(_PROOF, challenge)


@contextmanager
def note_console(settings: Settings, origin: str) -> Iterator[None]:
    """Note the address of the console on this machine while it is served."""
    file = _note(settings)
    written = json.dumps({"origin": origin, "pid": os.getpid()}).encode()
    with suppress(OSError), NewFile(file) as note:  # without it, `console` serves one itself
        note.write(written)
        note.replace(durable=False)
    try:
        yield
    finally:
        with suppress(OSError):
            if file.read_bytes() == written:
                file.unlink()


def find_console(settings: Settings, signer: Signer) -> str | None:
    """Return the address of this ledger's console on this machine; None if it is not served."""
    try:
        origin = json.loads(_note(settings).read_bytes()[:_MOST_BYTES])["origin"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(origin, str) or not origin.startswith(_LOCAL):
        return None
    challenge = secrets.token_hex(16)
    where = f"{origin}/console/sign-in/proof?of={challenge}"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(where, timeout=PROOF_S) as answer:
            proof = answer.read(_MOST_BYTES).decode("ascii", "replace")
    except (OSError, ValueError):
        return None
    return origin if secrets.compare_digest(proof.encode(), prove(signer, challenge).encode()) else None


def link(origin: str, ticket: str) -> str:
    """Return the address that signs in with a ticket."""
    return f"{origin}/console/sign-in#ticket={ticket}"


def write_link(settings: Settings, address: str) -> Path:
    """Write a file that redirects a browser to `address`, readable only by its owner; return its path."""
    return _page(settings, f'<meta http-equiv="refresh" content="0;url={escape(address)}">')


def write_choice(settings: Settings, links: Mapping[str, str]) -> Path:
    """Write a file with a link to each ledger's console, readable only by its owner; return its path."""
    items = "".join(f'<li><a href="{escape(at)}">{escape(name)}</a></li>' for name, at in links.items())
    return _page(
        settings, f"<h1>Ledgers</h1><p>These links sign in once, within a minute.</p><ul>{items}</ul>"
    )


def _page(settings: Settings, content: str) -> Path:
    file = secret_file(settings).with_name(f"{secret_file(settings).name}.html")
    page = f'<!doctype html><meta charset="utf-8"><title>sora-ledger</title>{content}'
    with NewFile(file) as new:
        new.write(page.encode())
        new.replace(durable=False)
    return file.absolute()


def _note(settings: Settings) -> Path:
    secret = secret_file(settings)
    return secret.with_name(f"{secret.name}.at")
