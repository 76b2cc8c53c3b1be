"""Content credentials of films, validated in a real browser by the reader of the C2PA project."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests import c2pa_peer as peer
from tests.console.conftest import Console
from tests.console.test_browser_check import ready


@pytest.fixture(scope="module")
def by() -> peer.Credentials:
    return peer.credentials()


@pytest.fixture
def film(clip: bytes, by: peer.Credentials) -> bytes:
    return peer.signed(clip, by)


def check(page: Page, console: Console, file: Path, trust: str = "", keys: str = "") -> str:
    """Choose a file on the page "Check a file"; return what it shows about it."""
    page.goto(f"{console.url}/check")
    ready(page)
    page.get_by_label("Certificates (PEM)").fill(trust)
    page.get_by_label("Public keys").fill(keys)
    page.get_by_label("Choose or drop").set_input_files(str(file))
    card = page.locator(".result")
    card.wait_for(timeout=120_000)  # the reader of 8 MB is compiled first, on a busy machine
    return str(card.inner_text())


def test_a_film_is_validated_in_the_browser_and_nothing_is_uploaded(
    page: Page, shared: Console, tmp_path: Path, film: bytes, by: peer.Credentials
) -> None:
    requests: list[Any] = []
    page.on("request", lambda request: requests.extend([request]))
    (tmp_path / "film.mp4").write_bytes(film)
    shared.sign_in(page, "aud", "/log")
    requests.clear()
    shown = check(page, shared, tmp_path / "film.mp4", by.authority.decode())
    assert "valid, and by a signer whom you trust" in shown
    assert "Example Signer" in shown
    assert "trainedAlgorithmicMedia" in shown
    assert {(one.method, one.post_data) for one in requests} == {("GET", None)}
    assert all(one.url.startswith(shared.url) for one in requests)


def test_without_the_authority_a_film_is_valid_by_a_signer_who_is_not_known(
    page: Page, shared: Console, tmp_path: Path, film: bytes
) -> None:
    (tmp_path / "film.mp4").write_bytes(film)
    shared.sign_in(page, "aud", "/log")
    shown = check(page, shared, tmp_path / "film.mp4")
    assert "Anyone can sign" in shown
    assert "Who the signer is" in shown


def test_an_altered_a_stripped_and_a_broken_film_are_distinguished(
    page: Page, shared: Console, tmp_path: Path, film: bytes, clip: bytes
) -> None:
    altered = bytearray(film)
    altered[-200] ^= 1
    before, manifest, behind = peer.split(film)
    broken = before + manifest[:200] + bytes(len(manifest) - 200) + behind
    shared.sign_in(page, "aud", "/log")
    facts = {}
    for name, content in {"altered": bytes(altered), "stripped": clip, "broken": broken}.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
        facts[name] = check(page, shared, tmp_path / f"{name}.mp4")
    assert "pictures, sound or other content differ" in facts["altered"]
    assert "Do not rely on it" in facts["altered"]
    assert "No content credentials" in facts["stripped"]
    assert "Do not rely on it" in facts["broken"]


def test_a_published_film_leads_to_its_record_and_the_key_of_its_checkpoint(
    page: Page, console: Console, tmp_path: Path
) -> None:
    studio = console.studio
    studio("key", "certificate", "studio.pem", "--test-ca", "--name", "Studio")
    studio("key", "new", "log.key", "--name", "log.example")
    key = studio("key", "show", "log.key")["verifier"]
    job, film = studio.jobs["coupe"], str(tmp_path / "film.mp4")
    studio("publish", job, "--to", film, "--certificate", "studio.pem", "--key", "log.key", "--eu-icon")
    console.sign_in(page, "aud", "/log")
    trust = (studio.folder / "studio.pem.authority.pem").read_text()
    shown = check(page, console, Path(film), trust, key)
    assert "by a signer whom you trust" in shown
    assert job in shown
    assert "The checkpoint is signed by log.example" in shown


def test_the_page_of_a_video_leads_to_a_check_of_its_file(page: Page, shared: Console) -> None:
    shared.sign_in(page, "aud", f"/videos/{shared.studio.jobs['coupe']}")
    page.get_by_role("link", name="Check its content credentials in this browser").first.click()
    card = page.locator(".result")
    card.wait_for(timeout=120_000)
    assert "No content credentials" in card.inner_text()


def test_only_the_page_that_checks_may_compile_webassembly(shared: Console) -> None:
    with shared.reader("aud") as reader:
        policies = {path: reader.get(path).headers["content-security-policy"] for path in ("/check", "/log")}
        module = reader.get("/static/c2pa.wasm")
    assert "script-src 'self' 'wasm-unsafe-eval';" in policies["/check"]
    assert "wasm" not in policies["/log"]
    assert (module.headers["content-type"], module.content[:4]) == ("application/wasm", b"\0asm")
