"""Identify people by the signed tokens of their identity provider (OpenID Connect).

A TOML file, named by ``SORA_LEDGER_OIDC``, defines the trusted provider and the meaning of its groups::

    version = 1
    issuer = "https://login.example.org"
    audience = "sora-ledger"          # the client id for which tokens are issued
    name_claim = "email"              # the claim that names the person in the ledger

    [roles]                           # what the members of a group may do
    studio = ["requester"]
    leads = ["requester", "approver"]

    [teams]                           # the team that members of a group pay as, the first that matches
    studio = "film"

For the console, `scopes` before the tables lists the requested scopes (`openid`, `email` and `profile`; many
providers need another one for groups), and SORA_LEDGER_OIDC_SECRET is the client secret if the provider
requires one.

A token is accepted if (1) it names a key that the provider publishes, and that key signed it with an
asymmetric algorithm, (2) issuer and audience match the file, (3) it is already valid and has not expired, (4)
it names a person; an e-mail address must be verified by the provider.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
from pydantic import AfterValidator, Field

from decision.errors import BadDocument
from decision.rules.document import Document
from decision.rules.roles import RoleName, Roles, permissions_of
from decision.rules.toml import load_document
from ledger.record import ActorSource
from render_service.access.callers import Caller
from render_service.runtime.errors import BadInput, NotAuthenticated, ProviderUnavailable
from render_service.runtime.files import read_file
from render_service.runtime.settings import check_actor, check_word

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
LEEWAY_S = 60
"""Tolerated clock skew between the provider and this machine."""

KEYS_FRESH_S = 3_600.0
ASK_AGAIN_S = 10.0
"""Minimum interval between requests for the provider's keys, however many tokens name unknown ones."""

ANSWER_S = 5.0
MOST_BYTES = 1_000_000
FILE_LIMIT_BYTES = 100_000
LONGEST_TOKEN = 16_384
_PARTS = 3
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def check_url(text: str) -> str:
    """Return `text` if it is a trustworthy address for keys; `ValueError` says what is expected."""
    parts = urlsplit(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("expected an https address (http only on this machine)")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("expected an address without query and fragment, such as https://login.example.org")
    return text


Word = Annotated[str, AfterValidator(lambda text: check_word("team", text))]


class Provider(Document):
    """The trusted identity provider, and the meaning of its groups."""

    issuer: Annotated[str, AfterValidator(check_url)]
    audience: Annotated[str, Field(min_length=1)]
    name_claim: Annotated[str, Field(min_length=1)] = "email"
    groups_claim: Annotated[str, Field(min_length=1)] = "groups"
    roles: dict[str, tuple[RoleName, ...]]
    teams: dict[str, Word] = Field(default_factory=dict)
    scopes: tuple[Annotated[str, Field(pattern=r"^[!#-\[\]-~]+$")], ...] = ("openid", "email", "profile")

    @property
    def where(self) -> str:
        """The address of the provider's metadata."""
        return self.issuer.rstrip("/") + "/.well-known/openid-configuration"

    @property
    def label(self) -> str:
        """The name of the provider for people."""
        return urlsplit(self.issuer).netloc


def read_provider(path: Path) -> Provider:
    """Read the file; `BadInput` gives line and key of an error, or what must be installed."""
    try:
        import_module("joserfc.jwt")
    except ImportError:
        raise BadInput(
            f"SORA_LEDGER_OIDC={path}: sign-in needs the extra oidc: pip install 'sora-ledger[oidc]'",
            param="SORA_LEDGER_OIDC",
            expected="the extra oidc",
            found="it is not installed",
        ) from None
    try:
        return load_document(Provider, read_file(path, "file of the identity provider", FILE_LIMIT_BYTES))
    except BadDocument as error:
        raise BadInput(
            f"SORA_LEDGER_OIDC={path}: {error}",
            param="SORA_LEDGER_OIDC",
            expected="a file of an identity provider",
            found=error,
        ) from None


def looks_like_token(text: str) -> bool:
    """Return whether `text` has the three parts of a signed token."""
    return text.count(".") == _PARTS - 1


class SignedIn:
    """Identifies the people signed in by one provider."""

    def __init__(self, provider: Provider, elapsing: Callable[[], float] = time.monotonic) -> None:
        self.provider = provider
        self._keys = ProviderKeys(provider, elapsing)

    async def identify(self, token: str, roles: Roles, now: datetime) -> Caller:
        """Return the person in `token`; `NotAuthenticated` says why it is not accepted."""
        claims = await self.claims(token, now)
        return self.caller(self.name_in(claims), self.groups_in(claims), roles)

    def groups_in(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the groups in the claims that the file knows, in the order of the file."""
        provider = self.provider
        groups = claims.get(provider.groups_claim, [])
        groups = [groups] if isinstance(groups, str) else groups
        member = {group for group in groups if isinstance(group, str)} if isinstance(groups, list) else set()
        return tuple(group for group in {**provider.roles, **provider.teams} if group in member)

    def caller(self, name: str, groups: Collection[str], roles: Roles) -> Caller:
        """Return the member of `groups` called `name`, with the permissions from the file and the policy."""
        provider = self.provider
        named = [role for group, own in provider.roles.items() if group in groups for role in own]
        names = tuple(dict.fromkeys(named))
        return Caller(
            name=name,
            source=ActorSource.OIDC,
            roles=names,
            permissions=permissions_of(roles, names),
            team=next((team for group, team in provider.teams.items() if group in groups), None),
            roles_in_force=roles,
        )

    def name_in(self, claims: Mapping[str, Any]) -> str:
        """Return the person in the claims; `NotAuthenticated` if there is none."""
        claim = self.provider.name_claim
        name = claims.get(claim)
        if not isinstance(name, str) or not name:
            raise NotAuthenticated(
                f"the token does not name a person: it has no claim {claim}",
                param="Authorization",
                expected=f"a token with the claim {claim}",
                found="one without",
            )
        if claim == "email" and claims.get("email_verified") is not True:
            raise NotAuthenticated(
                "the identity provider has not verified the email address in the token (email_verified)",
                param="Authorization",
                expected="a verified email address",
                found="one that is not",
            )
        try:
            return check_actor(f"claim {claim}", name)
        except BadInput as error:
            raise NotAuthenticated(
                str(error), param="Authorization", expected="a token that can be checked", found=error
            ) from None

    async def claims(self, token: str, now: datetime) -> Mapping[str, Any]:
        """Return the claims of a valid token; `NotAuthenticated` says why it is not accepted."""
        jwt, errors = import_module("joserfc.jwt"), import_module("joserfc.errors")
        if len(token) > LONGEST_TOKEN:
            raise NotAuthenticated(
                f"the token has more than {LONGEST_TOKEN} characters",
                param="Authorization",
                expected=f"at most {LONGEST_TOKEN} characters",
                found="more",
            )
        provider = self.provider
        checked = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": provider.issuer},
            aud={"essential": True, "value": provider.audience},
            exp={"essential": True},
        )
        try:
            try:
                decoded = jwt.decode(token, await self._keys.get(), algorithms=ALGORITHMS)
            except errors.InvalidKeyIdError:  # the provider may have new keys
                decoded = jwt.decode(token, await self._keys.get(again=True), algorithms=ALGORITHMS)
            checked.validate(decoded.claims)
        except errors.ExpiredTokenError:
            raise NotAuthenticated(
                "the token has expired: sign in again",
                param="Authorization",
                expected="a valid token",
                found="an expired one",
            ) from None
        except (errors.JoseError, ValueError, TypeError) as error:
            raise NotAuthenticated(
                f"the token is not one of {provider.issuer} for {provider.audience}: {_reason(error)}",
                param="Authorization",
                expected=f"a token of {provider.issuer} for {provider.audience}",
                found=_reason(error),
            ) from None
        return dict(decoded.claims)


class ProviderKeys:
    """The public keys of a provider, fetched on first use, and again when they are old or unknown."""

    def __init__(self, provider: Provider, elapsing: Callable[[], float]) -> None:
        self._provider = provider
        self._issuer = provider.issuer
        self._elapsing = elapsing
        self._keys: Any = None
        self._fetched_at = self._requested_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, *, again: bool = False) -> Any:
        """Return the keys; with `again`, the ones that the provider publishes now.

        `ProviderUnavailable` if there are none yet. Old keys are used while it does not answer.
        """
        async with self._fetching:
            age_s = self._elapsing() - self._fetched_at
            is_due = self._elapsing() - self._requested_at > ASK_AGAIN_S
            if (again or age_s > KEYS_FRESH_S) and is_due:
                self._requested_at = self._elapsing()
                await self._fetch()
            if self._keys is None:
                raise ProviderUnavailable(f"the identity provider {self._issuer} does not publish keys now")
            return self._keys

    async def _fetch(self) -> None:
        jose, jwk = import_module("joserfc.errors").JoseError, import_module("joserfc.jwk")
        try:
            published = await self._fetch_published()
            self._keys, self._fetched_at = jwk.KeySet.import_key_set(published), self._elapsing()
        except (jose, httpx2.HTTPError, OSError, ValueError, TypeError, KeyError) as error:
            if self._keys is None:
                raise ProviderUnavailable(
                    f"the identity provider {self._issuer} cannot be asked for its keys: {_reason(error)}"
                ) from None

    async def _fetch_published(self) -> dict[str, Any]:
        """Return the key set of the provider; `ValueError` if it describes another issuer."""
        async with asyncio.timeout(ANSWER_S), new_client() as client:
            about = await describe(client, self._provider)
            return await read_json(client.stream("GET", check_url(str(about.get("jwks_uri")))))


async def describe(client: httpx2.AsyncClient, provider: Provider) -> dict[str, Any]:
    """Return a provider's metadata; `ValueError` if it is about another one."""
    about = await read_json(client.stream("GET", provider.where))
    if about.get("issuer") != provider.issuer:
        raise ValueError(f"{provider.where} describes another issuer")
    return about


def new_client() -> httpx2.AsyncClient:
    """Return a client that requires certificates and follows no redirects."""
    return httpx2.AsyncClient(verify=ssl.create_default_context(), follow_redirects=False, timeout=ANSWER_S)


async def read_json(response: AbstractAsyncContextManager[httpx2.Response]) -> dict[str, Any]:
    """Return the JSON object that answers a request; `ValueError` if the answer is anything else."""
    content = b""
    async with response as answer:
        url = answer.request.url
        if answer.status_code != HTTPStatus.OK:
            raise ValueError(f"{url} answered with HTTP {answer.status_code}")
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > MOST_BYTES:
                raise ValueError(f"{url} answered with more than {MOST_BYTES} bytes")
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError(f"{url} answered with something else than an object")
    return document


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
