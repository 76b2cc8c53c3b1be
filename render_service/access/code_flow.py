"""Sign people in at their identity provider: the authorization code flow of OpenID Connect, with PKCE.

(1) A browser is sent to the provider with a random `state`, a `nonce` and the digest of a `verifier`; it
stores the three in a signed cookie. (2) It comes back with a code and the state, which must match the cookie:
no other answer is accepted. (3) This server exchanges the code, with the verifier, for a token at the
provider itself. (4) The token is checked like any other (`render_service.access.oidc`), and must carry the
nonce.
"""

import asyncio
import base64
import secrets
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import httpx2
from pydantic import BaseModel, ConfigDict

from render_service.access.oidc import ANSWER_S, SignedIn, check_url, describe, new_client, read_json
from render_service.runtime.errors import NotAuthenticated, ProviderUnavailable

LONGEST_CODE = 4_096
VERIFIER_BYTES = 48


class Pending(BaseModel):
    """A sign-in in progress at the provider, as stored in the browser's cookie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: str
    nonce: str
    verifier: str
    after: str


class CodeFlow:
    """Sends browsers to a provider, and reads the answers they return with."""

    def __init__(self, signed_in: SignedIn, secret: str | None) -> None:
        self._signed_in = signed_in
        self._secret = secret

    async def begin(self, redirect_uri: str, after: str) -> tuple[str, Pending]:
        """Return the provider's address, and the data that the browser must store until it returns."""
        provider = self._signed_in.provider
        pending = Pending(
            state=secrets.token_urlsafe(16),
            nonce=secrets.token_urlsafe(16),
            verifier=secrets.token_urlsafe(VERIFIER_BYTES),
            after=after,
        )
        about = await self._document(self._describe())
        query = {
            "response_type": "code",
            "client_id": provider.audience,
            "redirect_uri": redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": _digest(pending.verifier),
            "code_challenge_method": "S256",
        }
        return f"{check_url(str(about.get('authorization_endpoint')))}?{urlencode(query)}", pending

    async def finish(
        self, pending: Pending | None, query: Mapping[str, str], redirect_uri: str, now: datetime
    ) -> tuple[str, tuple[str, ...]]:
        """Return name and groups of the returning person; `NotAuthenticated` says why it is not valid."""
        if pending is None or not secrets.compare_digest(
            query.get("state", "").encode(), pending.state.encode()
        ):
            raise NotAuthenticated(
                "this sign-in was not begun here, or took too long: sign in again",
                expected="a sign-in that was begun here",
                found="another, or an old one",
            )
        label = self._signed_in.provider.label
        code = query.get("code", "")
        if not code or len(code) > LONGEST_CODE:
            raise NotAuthenticated(
                f"{label} did not sign you in ({query.get('error', 'no code')[:100]})",
                expected="a code",
                found=f"{query.get('error', 'no code')[:100]}",
            )
        token = await self._document(self._exchange(code, pending.verifier, redirect_uri))
        claims = await self._signed_in.claims(str(token.get("id_token", "")), now)
        if claims.get("nonce") != pending.nonce:
            raise NotAuthenticated(
                f"{label} answered for another sign-in: sign in again",
                expected="an answer for this sign-in",
                found="one for another",
            )
        return self._signed_in.name_in(claims), self._signed_in.groups_in(claims)

    async def _describe(self) -> dict[str, Any]:
        async with new_client() as client:
            return await describe(client, self._signed_in.provider)

    async def _exchange(self, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        provider = self._signed_in.provider
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": provider.audience,
            "code_verifier": verifier,
            **({"client_secret": self._secret} if self._secret else {}),
        }
        async with new_client() as client:
            about = await describe(client, provider)
            where = check_url(str(about.get("token_endpoint")))
            return await read_json(client.stream("POST", where, data=form))

    async def _document(self, response: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_S):
                answer: dict[str, Any] = await response
                return answer
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise ProviderUnavailable(
                f"the identity provider {self._signed_in.provider.issuer} cannot be used now: "
                f"{str(error) or type(error).__name__}"
            ) from None


def _digest(verifier: str) -> str:
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
