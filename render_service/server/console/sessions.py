"""Sign-in sessions: a signed cookie that names the person, and never contains a key.

A session ends after `LONGEST`, after `IDLE` without a page, when its person signs out, or within a second of
the revocation or expiry of its key; its beginning and its end are recorded. People signed in by a provider
sign in there again after `LONGEST_OIDC`, because changes at the provider are not visible here.
"""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from decision.rules.roles import Permission
from ledger.record import ActorSource
from render_service.access.callers import Caller
from render_service.access.code_flow import Pending
from render_service.access.gatekeeper import Gatekeeper
from render_service.access.sign_ins import EndedSessions, record_beginning, record_end
from render_service.access.signing import Signer
from render_service.runtime.errors import NotAuthenticated
from render_service.server.console.pages import PREFIX
from render_service.server.console.security import is_secure, own_origin
from render_service.session.session import Session

LONGEST = timedelta(hours=12)
LONGEST_OIDC = timedelta(hours=1)
IDLE = timedelta(hours=1)
RENEWED_AFTER = timedelta(minutes=1)
MESSAGE_S = 60
PENDING_S = 600
"""Time limit for a person at the identity provider."""

_SESSION, _MESSAGE, _PENDING, _CSRF = "session", "message", "pending", "csrf"


class Login(BaseModel):
    """The content of the cookie: how the person was identified, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: ActorSource
    key_id: str | None = None
    name: str | None = None
    groups: tuple[str, ...] = ()
    began: int
    renewed: int

    @property
    def ends(self) -> datetime:
        """The time when it ends even with activity."""
        longest = LONGEST_OIDC if self.source is ActorSource.OIDC else LONGEST
        return datetime.fromtimestamp(self.began, UTC) + longest


@dataclass
class Sessions:
    """The sessions of one console."""

    signer: Signer
    gatekeeper: Gatekeeper
    session: Session
    ended: EndedSessions
    ledger_id: str

    async def begin(
        self,
        request: Request,
        response: Response,
        caller: Caller,
        *,
        groups: tuple[str, ...] = (),
        session_id: str | None = None,
    ) -> None:
        """Sign in: record it, and set the cookie of a new session."""
        now = self.session.clock()
        moment = int(now.timestamp())
        login = Login(
            id=session_id or secrets.token_hex(16),
            source=caller.source,
            key_id=caller.key_id,
            name=None if caller.key_id else caller.name,
            groups=groups,
            began=moment,
            renewed=moment,
        )
        await record_beginning(caller.session(self.session), login.id, login.ends, caller.key_id)
        self._set(request, response, login, now)

    def read(self, request: Request, now: datetime) -> Login | None:
        """Return the session of the cookie; None without one, or if it has ended."""
        content = self.signer.read(_SESSION, request.cookies.get(self._name(request, _SESSION)), now)
        if content is None:
            return None
        login = Login.model_validate(content)
        return None if login.ends <= now else login

    async def caller(self, login: Login) -> Caller:
        """Return who is signed in, with what they may do now; `NotAuthenticated` if that has ended."""
        if await self.ended.has(login.id):
            raise NotAuthenticated("you have signed out: sign in again")
        if login.key_id is not None:
            return await self.gatekeeper.holder(login.key_id)
        assert login.name is not None  # only keys sign in without one
        if login.source is ActorSource.OIDC:
            return await self.gatekeeper.member(login.name, login.groups)
        return await self.at_terminal(login.name, login.source)

    async def at_terminal(self, name: str, source: ActorSource) -> Caller:
        """Return the person at the terminal of this machine, who may do what the command line can."""
        return Caller(
            name=name,
            source=source,
            roles=(),
            permissions=frozenset(Permission),
            roles_in_force=await self.gatekeeper.roles(),
        )

    def renew(self, request: Request, response: Response, login: Login, now: datetime) -> None:
        """Note activity of the person; not more often than needed."""
        if now.timestamp() - login.renewed >= RENEWED_AFTER.total_seconds():
            renewed = login.model_copy(update={"renewed": int(now.timestamp())})
            self._set(request, response, renewed, now)

    async def end(self, request: Request, response: Response, login: Login) -> None:
        """Sign out: record it, so that no copy of the cookie is accepted, and delete the cookie."""
        with suppress(NotAuthenticated):  # the key was revoked, and the session with it
            caller = await self.caller(login)
            await record_end(caller.session(self.session), login.id)
            self.ended.add(login.id)
        self._delete(request, response, _SESSION)

    def csrf(self, login: Login) -> str:
        """Return the token that the forms of a session carry."""
        return self.signer.token(_CSRF, login.id)

    def say(self, request: Request, response: Response, message: str, now: datetime) -> None:
        """Have the next page show `message` once."""
        ends = now + timedelta(seconds=MESSAGE_S)
        text = self.signer.sign(_MESSAGE, {"message": message[:LONGEST_MESSAGE]}, ends)
        self._cookie(request, response, _MESSAGE, text, MESSAGE_S)

    def message_left(self, request: Request, now: datetime) -> str | None:
        """Return the message that the last action left."""
        content = self.signer.read(_MESSAGE, request.cookies.get(self._name(request, _MESSAGE)), now)
        return None if content is None else str(content["message"])

    def keep(self, request: Request, response: Response, pending: Pending) -> None:
        """Store the data needed when the person returns from the identity provider."""
        ends = self.session.clock() + timedelta(seconds=PENDING_S)
        text = self.signer.sign(_PENDING, pending.model_dump(), ends)
        self._cookie(request, response, _PENDING, text, PENDING_S)

    def pending(self, request: Request, now: datetime) -> Pending | None:
        """Return the stored data."""
        content = self.signer.read(_PENDING, request.cookies.get(self._name(request, _PENDING)), now)
        return None if content is None else Pending.model_validate(content)

    def drop_pending(self, request: Request, response: Response) -> None:
        """Delete the stored data: it is used once."""
        self._delete(request, response, _PENDING)

    def forget(self, request: Request, response: Response) -> None:
        """Delete the message that was shown."""
        self._delete(request, response, _MESSAGE)

    def _set(self, request: Request, response: Response, login: Login, now: datetime) -> None:
        ends = min(login.ends, now + IDLE)
        text = self.signer.sign(_SESSION, login.model_dump(mode="json", exclude_defaults=True), ends)
        self._cookie(request, response, _SESSION, text, int((ends - now).total_seconds()))

    def _name(self, request: Request, what: str) -> str:
        """Return the name of a cookie: browsers do not keep the ports of one machine apart."""
        ledger = sha256(self.ledger_id.encode()).hexdigest()[:8]
        prefix = "__Host-" if is_secure(own_origin(request)) else ""
        return f"{prefix}sora_ledger_{what}_{ledger}"

    def _cookie(self, request: Request, response: Response, what: str, text: str, age_s: int) -> None:
        secure = is_secure(own_origin(request))
        path = "/" if secure else PREFIX  # __Host- requires the first
        response.set_cookie(
            self._name(request, what), text, age_s, path=path, secure=secure, httponly=True, samesite="lax"
        )

    def _delete(self, request: Request, response: Response, what: str) -> None:
        secure = is_secure(own_origin(request))
        path = "/" if secure else PREFIX
        name = self._name(request, what)
        response.delete_cookie(name, path, secure=secure, httponly=True, samesite="lax")


LONGEST_MESSAGE = 1_000
"""Characters of a message; browsers refuse cookies over 4 kB."""
