"""People sign in with tokens that an identity provider signs, and whose keys it publishes over HTTP."""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from decision.rules.roles import DEFAULT_ROLES, Permission
from ledger.record import ActorSource
from render_service.access.oidc import ASK_AGAIN_S, SignedIn, read_provider
from render_service.runtime.errors import BadInput, NotAuthenticated, ProviderUnavailable
from render_service.runtime.settings import read_settings
from render_service.session.session import utc_now
from tests.outside.conftest import Gateway, Outside, Person
from tests.outside.provider import Provider, encoded
from tests.outside.test_access_keys import CLIP, ask

pytest.importorskip("joserfc", reason="the extra oidc is not installed")
pytestmark = pytest.mark.anyio
FILE = """
version = 1
issuer = "{issuer}"
audience = "sora-ledger"

[roles]
studio = ["requester"]
leads = ["requester", "approver"]

[teams]
studio = "film"
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Iterator[Provider]:
    """The provider as it was at first, whatever a test does to it."""
    keys = dict(running.keys)
    yield running
    running.keys, running.is_down = keys, False


@pytest.fixture
def file(provider: Provider, tmp_path: Path) -> Path:
    path = tmp_path / "oidc.toml"
    path.write_text(FILE.format(issuer=provider.issuer))
    return path


class Elapsing:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def elapsing() -> Elapsing:
    return Elapsing()


@pytest.fixture
def signed_in(file: Path, elapsing: Elapsing) -> SignedIn:
    return SignedIn(read_provider(file), elapsing)


async def test_a_token_identifies_its_person_with_the_roles_of_their_groups(
    signed_in: SignedIn, provider: Provider
) -> None:
    caller = await signed_in.identify(provider.token(), DEFAULT_ROLES, utc_now())
    assert (caller.name, caller.source, caller.key_id) == ("maria@example.org", ActorSource.OIDC, None)
    assert caller.roles == ("requester", "approver")
    assert Permission.APPROVE in caller.permissions
    assert caller.team is None
    both = await signed_in.identify(
        provider.token(groups=["leads", "studio", "other"]), DEFAULT_ROLES, utc_now()
    )
    assert both.team == "film"
    nobody = await signed_in.identify(provider.token(groups=None), DEFAULT_ROLES, utc_now())
    assert nobody.permissions == frozenset()


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": int(time.time()) - 3600}, "has expired: sign in again"),
        ({"exp": None}, "the token is not one of"),
        ({"nbf": int(time.time()) + 3600}, "the token is not one of"),
        ({"iss": "http://127.0.0.1:1"}, "the token is not one of"),
        ({"iss": None}, "the token is not one of"),
        ({"aud": "another-client"}, "the token is not one of"),
        ({"aud": ["another-client"]}, "the token is not one of"),
        ({"aud": None}, "the token is not one of"),
        ({"email": None}, "no claim email"),
        ({"email": ["maria@example.org"]}, "no claim email"),
        ({"email_verified": False}, "has not verified the email address"),
        ({"email_verified": None}, "has not verified the email address"),
        ({"email": "maria\x07"}, "printable characters"),
        ({"alg": "none"}, "the token is not one of"),
        ({"key": rsa.generate_private_key(65537, 2048)}, "the token is not one of"),
    ],
)
async def test_a_token_that_is_wrong_in_one_thing_identifies_nobody(
    signed_in: SignedIn, provider: Provider, claims: dict[str, Any], says: str
) -> None:
    with pytest.raises(NotAuthenticated, match=says):
        await signed_in.identify(provider.token(**claims), DEFAULT_ROLES, utc_now())


async def test_the_public_key_is_no_shared_secret(signed_in: SignedIn, provider: Provider) -> None:
    public = (
        provider.keys["one"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    text = provider.token(alg="HS256").rpartition(".")[0]
    forged = f"{text}.{encoded(hmac.digest(public, text.encode(), hashlib.sha256))}"
    with pytest.raises(NotAuthenticated):
        await signed_in.identify(forged, DEFAULT_ROLES, utc_now())


@pytest.mark.parametrize("token", ["a.b.c", "..", "e30.e30.", "x" * 20_000 + "..", "\u00fc.\u00fc.\u00fc"])
async def test_what_is_no_token_identifies_nobody(signed_in: SignedIn, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        await signed_in.identify(token, DEFAULT_ROLES, utc_now())


async def test_new_keys_of_the_provider_are_fetched_once_for_many_unknown_tokens(
    signed_in: SignedIn, provider: Provider, elapsing: Elapsing
) -> None:
    await signed_in.identify(provider.token(), DEFAULT_ROLES, utc_now())
    provider.keys["two"] = rsa.generate_private_key(65537, 2048)
    elapsing.now += ASK_AGAIN_S + 1
    before = provider.answers
    caller = await signed_in.identify(provider.token(kid="two"), DEFAULT_ROLES, utc_now())
    assert caller.name == "maria@example.org"
    unknown = provider.token(kid="three", key=provider.keys["two"])
    for _ in range(3):
        with pytest.raises(NotAuthenticated):
            await signed_in.identify(unknown, DEFAULT_ROLES, utc_now())
    assert provider.answers == before + 1


async def test_a_provider_that_is_down_refuses_nobody_whose_key_is_known(
    signed_in: SignedIn, provider: Provider, elapsing: Elapsing, file: Path
) -> None:
    await signed_in.identify(provider.token(), DEFAULT_ROLES, utc_now())
    provider.is_down = True
    elapsing.now += 100_000
    assert (await signed_in.identify(provider.token(), DEFAULT_ROLES, utc_now())).name == "maria@example.org"
    with pytest.raises(ProviderUnavailable, match="cannot be asked for its keys"):
        await SignedIn(read_provider(file)).identify(provider.token(), DEFAULT_ROLES, utc_now())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('issuer = "http://login.example.org"', "line 3, issuer: expected an https address"),
        ('issuer = "https://login.example.org?x=1"', "line 3, issuer: expected an address without query"),
        ('surprise = "x"', "there is no such key"),
        ("issuer = 7", "line 3, issuer"),
        ("=", "not valid TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_line_and_key(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "oidc.toml"
    path.write_text(FILE.replace('issuer = "{issuer}"', line))
    with pytest.raises(BadInput, match=says):
        read_provider(path)


def test_someone_signed_in_requests_and_sees_at_the_gateway(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway], provider: Provider, file: Path
) -> None:
    upstream = outside()
    server = gateway(upstream, "--no-work", SORA_LEDGER_OIDC=str(file))
    token = provider.token(groups=["studio"], email="omar@example.org")
    status, video = ask(server, token, "POST", "/videos", prompt="a fox", **CLIP)
    assert status == 200, video
    assert ask(server, token, "GET", f"/videos/{video['id']}")[0] == 200
    assert ask(server, provider.token(groups=[]), "GET", "/videos")[0] == 403
    assert ask(server, provider.token(aud="other"), "GET", "/videos")[0] == 401
    [job] = server.person("jobs").document["jobs"]
    assert (job["actor"], job["team"]) == ("omar@example.org", "film")
    records = server.person("log").document["records"]
    assert {each["actor_source"] for each in records if each["type"] == "render.requested"} == {"oidc"}
    assert token not in server.errors
    assert server.person("verify").code == 0
    assert len(upstream.bills()) == 1


def test_a_settings_file_in_the_folder_names_no_provider(person: Person, file: Path) -> None:
    (person.folder / ".env").write_text(f"SORA_LEDGER_OIDC={file}\n")
    (person.folder / ".env").chmod(0o600)
    assert read_settings(environment={}, folder=person.folder).oidc_file is None
