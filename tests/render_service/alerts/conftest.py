"""Targets on this machine, and a mail server that writes down what it takes."""

import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from render_service.alerts.alerter import Alerter
from render_service.alerts.targets import Targets
from render_service.session.session import Session


@dataclass
class Mailbox:
    """A mail server on a socket; `refuses` is what it answers to a recipient instead of taking it."""

    port: int = 0
    refuses: str | None = None
    starttls: ssl.SSLContext | None = None
    implicit: ssl.SSLContext | None = None
    encrypted: int = 0
    """How many conversations were encrypted."""
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)
    attempts: int = 0


class _Conversation(socketserver.StreamRequestHandler):
    box: Mailbox

    def handle(self) -> None:
        try:
            with suppress(OSError):  # a client that does not trust the certificate hangs up
                self._converse()
        finally:
            self.request.close()

    def _converse(self) -> None:
        self.box.attempts += 1
        recipients: list[str] = []
        if self.box.implicit is not None:
            self._encrypt(self.box.implicit)
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            verb = line.upper().split(" ")[0].split(":")[0]
            if verb == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
                self._say(self.box.refuses or "250 ok")
            elif verb == "DATA":
                self._say("354 go on")
                self.box.mails.append((recipients, self._message()))
                self._say("250 taken")
            elif verb == "EHLO" and self.box.starttls is not None:
                self._say("250-mail\r\n250 STARTTLS")
            elif verb == "STARTTLS" and self.box.starttls is not None:
                self._say("220 go on")
                self._encrypt(self.box.starttls)
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _encrypt(self, context: ssl.SSLContext) -> None:
        self.request = context.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.box.encrypted += 1

    def _message(self) -> EmailMessage:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        message = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    handler = type("Conversation", (_Conversation,), {"box": box})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield box
        server.shutdown()
        thread.join()


def targets(**tables: Any) -> Targets:
    """Return targets; each table is called like its kind."""
    content = {kind: [{"name": kind} | table] for kind, table in tables.items()}
    return Targets.model_validate({"version": 1, **content})


def mail_to(box: Mailbox, **more: Any) -> dict[str, Any]:
    """Return the table of a mailbox."""
    there = {"server": "127.0.0.1", "port": box.port, "tls": "none"}
    return there | {"from": "ledger@example.org", "to": ["ana@example.org", "bo@example.org"]} | more


async def alerted(session: Session, to: Targets, **more: Any) -> None:
    """Announce what there is and send it, as a process does that starts and ends."""
    async with Alerter(session, to) as alerter:
        await alerter.announce(**more)
