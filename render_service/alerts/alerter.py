"""Tells people what happened: each occasion once per target, by whichever process is first.

1. Read the records after the cursor of the alerts, and add an alert for each target that wants it, moving the
   cursor in the same transaction. A new installation begins at the end of the log.
2. Look for conditions that no record states: outcomes that stay unknown, and budgets that run out. The id of
   an alert is derived from target and occasion, so it is added once, even after a restart.
3. Claim due alerts for one attempt each, and send them. A crash leaves a lease that expires; the alert is
   then sent again, so a person may get it twice.
4. Delete the delivery, or after 72 hours keep it as a dead letter. The text of the alert stays, as the memory
   that this occasion was announced.

Any number of processes may do this for one ledger, with the same file.

One attempt is JSON by webhook, a Slack-compatible message, or an e-mail. Addresses are checked like those of
webhooks. An e-mail goes to a checked address of its server; with TLS the certificate must be that of the
name. A permanent refusal by a mail server (5xx) ends the attempts.
"""

import asyncio
import json
import smtplib
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, NamedTuple, Protocol, Self

from ledger.errors import LedgerError
from ledger.store.filters import RecordFilter
from ledger.store.outbox import Delivery, NewDelivery
from render_service.alerts.occasions import (
    RECORD_TYPES,
    Notice,
    budget_notices,
    finding_notices,
    notice_of,
    unknown_notices,
)
from render_service.alerts.targets import EmailTarget, SlackTarget, Targets, WebhookTarget
from render_service.notifications.addresses import Addresses, AddressRefused
from render_service.notifications.outbox import LEASE_MS, UNUSABLE_S, DeliveryTasks, wait_ms
from render_service.notifications.post import Letter, Post
from render_service.recovery.findings import Finding
from render_service.rules.budgets import KnownLimits, list_remaining
from render_service.runtime.settings import read_named_secret
from render_service.session.event_ids import delivery_id
from render_service.session.session import Session
from sora_adapter.serving.signatures import sign_headers

MAIL_S = 10.0
_PERMANENT = 5
_SECURE, _PLAIN = "smtps", "smtp"


class SendResult(NamedTuple):
    """The result of an attempt; `is_final` if no other attempt can succeed. `because` is for the log."""

    is_accepted: bool
    http_status: int | None = None
    because: str | None = None
    is_final: bool = False


class Channel(Protocol):
    """A channel to one target."""

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there; it need not answer yet."""

    async def tell(self, delivery_id: str, notice: dict[str, Any]) -> SendResult:
        """Make one attempt; never raises for errors of the receiver."""

    async def close(self) -> None:
        """Close its connections."""


class WebChannel:
    """Posts a notice as JSON: our own format for a webhook, Slack's for a message."""

    def __init__(self, session: Session, target: WebhookTarget | SlackTarget) -> None:
        self._session, self._target = session, target
        self._url = target.url or read_named_secret(f"target {target.name}", target.url_env) or ""
        self._signing = None
        if isinstance(target, WebhookTarget):
            self._signing = read_named_secret(f"target {target.name}", target.signing_secret_env)
        of = f"target {target.name}"
        self._post = Post(Addresses(permits_private=session.settings.private_endpoints is True, of=of))

    async def check(self) -> None:
        """Raise `BadInput` if nothing may be sent there."""
        await self._post.addresses.check(self._url)

    async def tell(self, delivery_id: str, notice: dict[str, Any]) -> SendResult:
        """Post a notice."""
        headers = {"content-type": "application/json", "user-agent": "sora-ledger"}
        document = {"id": delivery_id, "object": "alert", **notice}
        if isinstance(self._target, SlackTarget):
            document = {"text": _escape("\n".join(_lines(notice)))}
        body = json.dumps(document, separators=(",", ":")).encode()
        if self._signing:
            seconds = int(self._session.clock().timestamp())
            headers |= sign_headers(delivery_id, seconds, body, (self._signing,))
        answer = await self._post(Letter(self._url, headers, body))
        because = None if answer.is_accepted else answer.problem or f"HTTP {answer.http_status}"
        return SendResult(answer.is_accepted, answer.http_status, because)

    async def close(self) -> None:
        """Close the client."""
        await self._post.__aexit__()


class MailChannel:
    """Hands an e-mail to a mail server."""

    def __init__(self, session: Session, target: EmailTarget) -> None:
        self._session, self._target = session, target
        self._password = read_named_secret(f"target {target.name}", target.password_env)
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

    async def tell(self, delivery_id: str, notice: dict[str, Any]) -> SendResult:
        """Send an e-mail."""
        message = self._message(delivery_id, notice)
        try:
            address = (await self._addresses.resolve(self._url))[0]
            await asyncio.to_thread(self._send, address, message)
        except smtplib.SMTPResponseException as error:
            words = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else ""
            is_final = error.smtp_code // 100 == _PERMANENT
            return SendResult(is_accepted=False, because=f"SMTP {error.smtp_code} {words}", is_final=is_final)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            is_final = all(code // 100 == _PERMANENT for code in codes)
            return SendResult(is_accepted=False, because=f"recipients refused: {codes}", is_final=is_final)
        except (AddressRefused, smtplib.SMTPException, OSError, UnicodeError) as error:
            return SendResult(is_accepted=False, because=str(error) or type(error).__name__)
        return SendResult(is_accepted=True)

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
        kind = _ImplicitTls if target.tls == "implicit" else _CheckedConnection
        with kind(address, target.server, target.its_port) as smtp:
            if target.tls == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            if target.user and self._password:
                smtp.login(target.user, self._password)
            smtp.send_message(message, target.sender, list(target.to))

    async def close(self) -> None:
        """Each e-mail has a connection of its own."""


class _CheckedConnection(smtplib.SMTP):
    """A connection to a checked address of a server."""

    def __init__(self, address: str, server: str, port: int) -> None:
        self._address = address
        super().__init__(server, port, timeout=MAIL_S)

    def _get_socket(self, _host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((self._address, port), timeout)


class _ImplicitTls(_CheckedConnection):
    """The same, with TLS from the start."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = super()._get_socket(host, port, timeout)
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _lines(notice: dict[str, Any]) -> list[str]:
    return [notice["title"], notice["text"], f"Next: {notice['do']}"]


def _escape(text: str) -> str:
    """Return text escaped so that Slack shows it literally."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def channel_to(session: Session, target: WebhookTarget | SlackTarget | EmailTarget) -> Channel:
    """Return the channel to a target; `BadInput` if a secret is missing."""
    if isinstance(target, EmailTarget):
        return MailChannel(session, target)
    return WebChannel(session, target)


CURSOR = "alerts"
IDLE_S = 1.0
LOOK_S = 15.0
"""Interval between checks of budgets and unknown outcomes, if something was recorded; see `UNKNOWN_S`."""

UNKNOWN_S = 60.0
AT_ONCE_OF_ONE = 2
FINISHING_S = 12.0
POSITIONS_TOGETHER = 10_000


class Alerter:
    """Announces and sends in a session; an async context manager that checks and closes the targets."""

    def __init__(self, session: Session, targets: Targets) -> None:
        self._session, self._targets = session, targets
        self._ledger, self._rows = session.ledger, session.ledger.store.outbox
        self._channels = {target.endpoint_id: channel_to(session, target) for target in targets.all_targets}
        self._limits = KnownLimits(session.ledger)
        self._under_way = DeliveryTasks(
            AT_ONCE_OF_ONE,
            self._deliver,
            lambda because: session.log.warning("alert.not_settled", because=because),
        )
        self._closing = AsyncExitStack()
        self._put: set[str] = set()
        self._looked_at: float | None = None
        self._looked_to = -1

    async def __aenter__(self) -> Self:
        """Raise `BadInput` if nothing may be sent to one of the targets."""
        async with AsyncExitStack() as stack:
            for channel in self._channels.values():
                stack.push_async_callback(channel.close)
                await channel.check()
            self._closing = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def run(self, stop: asyncio.Event) -> None:
        """Announce and send until `stop` is set; then finish earlier records, for a limited time."""
        while not stop.is_set():
            pause_s = IDLE_S
            try:
                await self._round()
            except LedgerError as error:
                self._session.log.warning("alerts.waiting", because=str(error))
                pause_s = UNUSABLE_S
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
        with suppress(LedgerError):
            await self.announce()

    async def announce(self, findings: Sequence[Finding] = ()) -> None:
        """Announce everything, with the findings of an audit, and make one attempt for each due alert."""
        if findings:
            await asyncio.to_thread(self._announce_all, list(finding_notices(findings)))
        await self._round()
        await self._under_way.finish(FINISHING_S)

    async def _round(self) -> None:
        await asyncio.to_thread(self._announce)
        room = self._under_way.room(self._channels)
        self._under_way.start(await asyncio.to_thread(self._rows.claim, room, LEASE_MS))

    # --- announcing, in a thread ---

    def _announce(self) -> None:
        size = self._ledger.head().size
        self._read_log(size)
        now = time.monotonic()
        waited = LOOK_S if size != self._looked_to else UNKNOWN_S
        if self._looked_at is None or now - self._looked_at >= waited:
            self._looked_at, self._looked_to = now, size
            moment = self._session.clock()
            after = timedelta(minutes=self._targets.unknown_after_minutes)
            notices = list(unknown_notices(self._ledger, moment, after))
            notices += budget_notices(list_remaining(self._ledger, moment, known=self._limits.get()))
            self._announce_all(notices)

    def _read_log(self, size: int) -> None:
        """Add alerts about the records since the cursor."""
        cursor = self._rows.cursor(CURSOR)
        if cursor is None:
            self._rows.add(None, size, [], CURSOR)
            return
        while cursor < size:
            moved_to = min(cursor + POSITIONS_TOGETHER, size)
            new = []
            for position, notice in self._collect_notices(cursor, moved_to):
                new += self._alerts([notice], position)
            if not self._rows.add(cursor, moved_to, new, CURSOR):
                return  # another process has read this part
            cursor = moved_to

    def _collect_notices(self, after: int, up_to: int) -> Iterable[tuple[int, Notice]]:
        noticed = []
        for type_ in RECORD_TYPES:
            for record in self._ledger.read(RecordFilter(type=type_), after=after):
                if record.position > up_to:
                    break
                if (notice := notice_of(self._ledger, record)) is not None:
                    noticed.append((record.position, notice))
        return sorted(noticed, key=lambda one: one[0])

    def _announce_all(self, notices: Sequence[Notice]) -> None:
        """Add alerts about conditions that no record states, each once."""
        alerts = self._alerts(notices, self._ledger.head().size)
        if new := [alert for alert in alerts if alert.delivery_id not in self._put]:
            self._rows.put(new)
            self._put.update(delivery.delivery_id for delivery in new)

    def _alerts(self, notices: Sequence[Notice], position: int) -> list[NewDelivery]:
        return [
            NewDelivery(
                delivery_id(target.endpoint_id, f"{notice.occasion}\n{notice.key}"),
                target.endpoint_id,
                position,
                body=json.dumps(notice.document()),
            )
            for notice in notices
            for target in self._targets.all_targets
            if target.wants(notice)
        ]

    # --- sending ---

    async def _deliver(self, delivery: Delivery) -> None:
        body = await asyncio.to_thread(self._rows.body, delivery.delivery_id)
        notice: dict[str, Any] = json.loads(body or "{}")
        outcome = await self._channels[delivery.endpoint_id].tell(delivery.delivery_id, notice)
        facts = {"target": delivery.endpoint_id, "delivery_id": delivery.delivery_id}
        # A crash here leaves an alert that was sent but is still leased: it is sent again.
        if outcome.is_accepted:
            await asyncio.to_thread(self._rows.finish, delivery)
            self._session.log.info("alert.sent", **facts, occasion=notice.get("occasion"))
            return
        wait = None if outcome.is_final else wait_ms(delivery.age_ms)
        self._session.log.warning("alert.not_sent", **facts, because=outcome.because, is_final=wait is None)
        if wait is None:
            await asyncio.to_thread(self._rows.give_up, delivery, outcome.http_status)
        else:
            await asyncio.to_thread(self._rows.retry, delivery, wait, outcome.http_status)
