"""One attempt to tell someone: JSON by webhook, a Slack-compatible message, or an e-mail.

Addresses are checked as those of webhooks are. An e-mail goes to a checked address of its server; with TLS
the certificate must be that of the name. A permanent refusal by a mail server (5xx) ends the attempts.
"""

import asyncio
import json
import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, NamedTuple, Protocol

from render_service.alerts.targets import EmailTarget, SlackTarget, WebhookTarget
from render_service.notifications.addresses import Addresses, Refused
from render_service.notifications.post import Letter, Post
from render_service.runtime.settings import named_secret
from render_service.session.session import Session
from sora_adapter.serving.signatures import signed_headers

MAIL_S = 10.0
_PERMANENT = 5
_SECURE, _PLAIN = "smtps", "smtp"


class Told(NamedTuple):
    """The result of an attempt; `is_final` if no other attempt can succeed. `because` is for the log."""

    is_accepted: bool
    http_status: int | None = None
    because: str | None = None
    is_final: bool = False


class Channel(Protocol):
    """A way to one target."""

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there; it need not answer yet."""

    async def tell(self, delivery_id: str, notice: dict[str, Any]) -> Told:
        """Make one attempt; never raises for what the receiver does."""

    async def close(self) -> None:
        """Close its connections."""


class WebChannel:
    """Posts a notice as JSON: its own for a webhook, that of Slack for a message."""

    def __init__(self, session: Session, target: WebhookTarget | SlackTarget) -> None:
        self._session, self._target = session, target
        self._url = target.url or named_secret(f"target {target.name}", target.url_env) or ""
        self._signing = None
        if isinstance(target, WebhookTarget):
            self._signing = named_secret(f"target {target.name}", target.signing_secret_env)
        of = f"target {target.name}"
        self._post = Post(Addresses(permits_private=session.settings.private_endpoints is True, of=of))

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there."""
        await self._post.addresses.check(self._url)

    async def tell(self, delivery_id: str, notice: dict[str, Any]) -> Told:
        """Post a notice."""
        headers = {"content-type": "application/json", "user-agent": "sora-ledger"}
        document = {"id": delivery_id, "object": "alert", **notice}
        if isinstance(self._target, SlackTarget):
            document = {"text": _escaped("\n".join(_lines(notice)))}
        body = json.dumps(document, separators=(",", ":")).encode()
        if self._signing:
            seconds = int(self._session.clock().timestamp())
            headers |= signed_headers(delivery_id, seconds, body, (self._signing,))
        answer = await self._post(Letter(self._url, headers, body))
        because = None if answer.is_accepted else answer.problem or f"HTTP {answer.http_status}"
        return Told(answer.is_accepted, answer.http_status, because)

    async def close(self) -> None:
        """Close the client."""
        await self._post.__aexit__()


class MailChannel:
    """Hands an e-mail to a mail server."""

    def __init__(self, session: Session, target: EmailTarget) -> None:
        self._session, self._target = session, target
        self._password = named_secret(f"target {target.name}", target.password_env)
        self._addresses = Addresses(
            permits_private=session.settings.private_endpoints is True,
            secure=_SECURE,
            plain=_PLAIN,
            of=f"target {target.name}",
        )

    @property
    def _url(self) -> str:
        host = f"[{self._target.server}]" if ":" in self._target.server else self._target.server
        return f"{_PLAIN if self._target.tls == 'none' else _SECURE}://{host}:{self._target.its_port}"

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there."""
        await self._addresses.check(self._url)

    async def tell(self, delivery_id: str, notice: dict[str, Any]) -> Told:
        """Send an e-mail."""
        message = self._message(delivery_id, notice)
        try:
            address = (await self._addresses.resolve(self._url))[0]
            await asyncio.to_thread(self._send, address, message)
        except smtplib.SMTPResponseException as error:
            words = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else ""
            is_final = error.smtp_code // 100 == _PERMANENT
            return Told(is_accepted=False, because=f"SMTP {error.smtp_code} {words}", is_final=is_final)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            is_final = all(code // 100 == _PERMANENT for code in codes)
            return Told(is_accepted=False, because=f"recipients refused: {codes}", is_final=is_final)
        except (Refused, smtplib.SMTPException, OSError, UnicodeError) as error:
            return Told(is_accepted=False, because=str(error) or type(error).__name__)
        return Told(is_accepted=True)

    def _message(self, delivery_id: str, notice: dict[str, Any]) -> EmailMessage:
        message = EmailMessage()
        title, *lines = _lines(notice)
        message["Subject"] = f"[sora-ledger] {title}"
        message["From"] = self._target.sender
        message["To"] = ", ".join(self._target.to)
        message["Date"] = format_datetime(self._session.clock())
        # The same in every attempt, so that a mailbox shows it once.
        message["Message-ID"] = f"<{delivery_id}@{self._target.sender.partition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n\n".join(lines) + "\n")
        return message

    def _send(self, address: str, message: EmailMessage) -> None:
        target = self._target
        kind = _ImplicitTls if target.tls == "implicit" else _Plain
        with kind(address, target.server, target.its_port) as smtp:
            if target.tls == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            if target.user and self._password:
                smtp.login(target.user, self._password)
            smtp.send_message(message, target.sender, list(target.to))

    async def close(self) -> None:
        """Each e-mail has a connection of its own."""


class _Plain(smtplib.SMTP):
    """A connection to a checked address of a server."""

    def __init__(self, address: str, server: str, port: int) -> None:
        self._address = address
        super().__init__(server, port, timeout=MAIL_S)

    def _get_socket(self, _host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((self._address, port), timeout)


class _ImplicitTls(_Plain):
    """The same, with TLS from the start."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = super()._get_socket(host, port, timeout)
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _lines(notice: dict[str, Any]) -> list[str]:
    return [notice["title"], notice["text"], f"Next: {notice['do']}"]


def _escaped(text: str) -> str:
    """Return text as Slack shows it literally."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def channel_to(session: Session, target: WebhookTarget | SlackTarget | EmailTarget) -> Channel:
    """Return the way to a target; `BadInput` if a secret is missing."""
    if isinstance(target, EmailTarget):
        return MailChannel(session, target)
    return WebChannel(session, target)
