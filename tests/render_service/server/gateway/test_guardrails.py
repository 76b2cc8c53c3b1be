"""Guardrails through the gateway: the error envelope says which rule, and nothing reaches the server."""

from pathlib import Path

import httpx2
import pytest

from decision.rules.guardrails import Guardrails
from decision.rules.policy import with_guardrails
from decision.rules.toml import load_document
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.session.session import Session
from tests.render_service.server.gateway.test_posts import client, gateway

__all__ = ["client", "gateway"]

pytestmark = pytest.mark.anyio

MODERATED = Path(__file__).parents[3] / "decision" / "data" / "guardrails-with-moderation.toml"


def moderated(session: Session) -> Rules:
    """Return the packaged rules with guardrails that also hold, and ask the server's moderation."""
    bare = session.policy.model_copy(update={"guardrails": None})
    return Rules(with_guardrails(bare, load_document(Guardrails, MODERATED.read_bytes())), session.catalog)


@pytest.fixture
def guarded(session: Session) -> Session:
    """Activate guardrails that deny, hold and ask the server."""
    activate(session.settings, session.trace, session.clock(), moderated(session), "for a test")
    session.in_force.follow()
    return session


@pytest.mark.parametrize(
    ("prompt", "code", "says"),
    [
        (
            "Emma Watson walks",
            "TERM_NOT_ALLOWED",
            "the words that the rule REAL_PERSON names",
        ),
        ("a gory beheading", "MODERATION_FLAGGED", "change in 'prompt' what the rule UNDER_18 is about"),
    ],
)
async def test_a_denial_by_a_guardrail_is_an_error_about_the_prompt(
    guarded: Session, client: httpx2.AsyncClient, prompt: str, code: str, says: str
) -> None:
    answer = await client.post("/videos", json={"prompt": prompt})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (403, code, "prompt")
    assert says in error["message"]
    assert prompt not in answer.text
    assert answer.headers["x-sora-ledger-decision"] == "deny"


async def test_what_a_guardrail_holds_waits_for_a_person(
    guarded: Session, client: httpx2.AsyncClient
) -> None:
    answer = await client.post("/videos", json={"prompt": "a dancer moves to Thriller"})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert answer.headers["x-sora-ledger-decision"] == "hold"


async def test_a_clean_prompt_is_rendered(guarded: Session, client: httpx2.AsyncClient) -> None:
    answer = await client.post("/videos", json={"prompt": "a red kite"})
    assert (answer.status_code, answer.headers["x-sora-ledger-decision"]) == (200, "allow")


async def test_guardrails_that_came_into_force_meanwhile_are_asked_before_anything_is_sent(
    session: Session, client: httpx2.AsyncClient
) -> None:
    activate(session.settings, session.trace, session.clock(), moderated(session), "in another process")
    assert session.policy.guardrails
    assert session.policy.guardrails.moderation is None  # as this process last read them
    answer = await client.post("/videos", json={"prompt": "a gory beheading"})
    assert answer.json()["error"]["code"] == "MODERATION_FLAGGED"
