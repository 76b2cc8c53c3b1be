"""Signing in at an identity provider, as browsers do: over HTTP, with redirects and cookies."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from playwright.sync_api import Page

from tests.console.conftest import Console, Signed
from tests.outside.provider import Provider

pytest.importorskip("joserfc", reason="the extra oidc is not installed")
FILE = """
version = 1
issuer = "{issuer}"
audience = "sora-ledger"

[roles]
studio = ["requester"]
leads = ["administrator"]

[teams]
studio = "film"
"""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def console(provider: Provider, consoles: Callable[..., Console], tmp_path: Path) -> Console:
    """A console that believes the provider."""
    file = tmp_path / "oidc.toml"
    file.write_text(FILE.format(issuer=provider.issuer))
    return consoles("--no-work", SORA_LEDGER_OIDC=str(file), SORA_LEDGER_OIDC_SECRET="hush")


def begun(client: httpx2.Client) -> str:
    """Begin to sign in; return the address at the provider."""
    return str(
        client.get("/sign-in/provider", params={"next": "/console/access?all=yes"}).headers["location"]
    )


def back_from(address: str) -> str:
    """Return where the provider sends the browser after its page."""
    return str(httpx2.get(address).headers["location"])


def finished(client: httpx2.Client) -> httpx2.Response:
    return client.get(back_from(begun(client)))


def test_a_person_signs_in_and_acts_as_the_member_of_their_groups(
    console: Console, provider: Provider
) -> None:
    provider.secret = "hush"
    with console.client() as maria:
        assert urlsplit(provider.issuer).netloc in maria.get("/sign-in").text
        answer = finished(maria)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/access?all=yes")
        assert maria.act("/access/grant", {"name": "eve", "roles": "requester"}).status_code == 200
        newest = maria.get("/access.json").json()["keys"][0]
    assert (newest["granted_by"], newest["granted_by_source"]) == ("maria@example.org", "oidc")
    console.studio("verify")


def test_the_request_to_the_provider_has_what_protects_the_flow(console: Console) -> None:
    with console.client() as maria:
        first, second = (dict(parse_qsl(urlsplit(begun(maria)).query)) for _ in range(2))
    assert (first["response_type"], first["code_challenge_method"]) == ("code", "S256")
    assert first["redirect_uri"] == f"{console.url}/sign-in/provider/return"
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


def test_an_answer_is_taken_once_and_only_by_the_browser_that_asked(
    console: Console, provider: Provider
) -> None:
    provider.secret = "hush"
    with console.client() as maria, console.client() as thief, console.client() as other:
        back = back_from(begun(maria))
        begun(other)
        assert thief.get(back).status_code == 401  # has begun nothing
        assert other.get(back).status_code == 401  # has begun something else
        assert maria.get(back).status_code == 303
        assert maria.get(back).status_code == 401


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"nonce": "another"}, 401),
        ({"nonce": None}, 401),
        ({"aud": "another-client"}, 401),
        ({"iss": "https://elsewhere.example.org"}, 401),
        ({"exp": 1}, 401),
        ({"email_verified": False}, 401),
        ({"alg": "none"}, 401),
        (None, 401),
        ({"groups": []}, 303),
    ],
)
def test_what_the_provider_answers_is_checked(
    console: Console, provider: Provider, claims: dict[str, Any] | None, status: int
) -> None:
    provider.secret, provider.signs_in = "hush", claims
    with console.client() as maria:
        assert finished(maria).status_code == status
        if status == 303:  # identified, and without a role
            assert maria.get("/access").status_code == 403
            assert maria.get("/").status_code == 403


def test_without_the_client_secret_or_the_provider_nobody_is_signed_in(
    console: Console, provider: Provider
) -> None:
    provider.secret = "another"
    with console.client() as maria:
        refused = finished(maria)
        assert (refused.status_code, "cannot be used now" in refused.text) == (503, True)
        assert "hush" not in refused.text + console.log
        provider.is_down = True
        assert maria.get("/sign-in/provider").status_code == 503
        assert maria.post("/sign-in", data={"key": console.studio.keys["ana"]}).status_code == 303


def test_without_a_provider_there_is_no_such_way_in(shared: Console) -> None:
    client: Signed
    with shared.client() as client:
        assert "Sign in with" not in client.get("/sign-in").text
        assert client.get("/sign-in/provider").status_code == 401
        assert client.get("/sign-in/provider/return?code=a&state=b").status_code == 401


def test_a_browser_comes_back_from_another_site_signed_in(
    console: Console, provider: Provider, page: Page
) -> None:
    provider.secret = "hush"
    here = console.url.replace("127.0.0.1", "localhost")  # another site than the provider's
    page.goto(f"{here}/access")
    page.get_by_role("link", name="Sign in with").click()
    page.wait_for_url(f"{here}/access")
    assert page.locator(".who").inner_text() == "maria@example.org"
