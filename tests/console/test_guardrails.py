"""Guardrails in the console: the decision of the form, the way out, the Inbox, and the page Policy."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tests.console.conftest import Console
from tests.console.test_new_request import SHAPE, fields_of, text_of

MODERATED = Path(__file__).parents[1] / "decision" / "data" / "guardrails-with-moderation.toml"


@pytest.fixture
def guarded(console: Console, tmp_path: Path) -> Console:
    """Activate guardrails that deny, hold and ask the server's moderation."""
    (tmp_path / "policy.toml").write_bytes(files("decision").joinpath("policy.toml").read_bytes())
    (tmp_path / "guardrails.toml").write_bytes(MODERATED.read_bytes())
    rules = [str(tmp_path / "policy.toml"), "--guardrails", str(tmp_path / "guardrails.toml")]
    console.studio("policy", "activate", *rules, "--reason", "no real people")
    return console


def test_the_form_says_what_the_guardrails_find_and_the_inbox_has_what_they_hold(guarded: Console) -> None:
    with guarded.client("ana") as ana:
        form = {**fields_of(ana), **SHAPE, "purpose": "draft"}
        denied = text_of(ana.post("/new/check", data={**form, "prompt": "Emma Watson walks through Rome"}))
        assert "Denied" in denied
        assert "Leave out &#34;Emma Watson&#34;: the rule REAL_PERSON" in denied
        flagged = text_of(ana.post("/new/check", data={**form, "prompt": "a gory beheading at dawn"}))
        assert "flagged violence 97 %, violence/graphic 97 %" in flagged
        assert "the policy has the server moderate the prompt" in flagged
        music = {**form, "prompt": "a dancer moves to Thriller on a roof"}
        assert "Waits for approval" in text_of(ana.post("/new/check", data=music))
        job = ana.post("/new", data=music).headers["location"].rpartition("/")[2]
    with guarded.client("maria") as maria:
        assert job in maria.get("/inbox").text
        page = re.sub(r"<[^>]+>", " ", maria.get("/policy").text)
        assert "deny: 14 terms" in page
        assert "asked for; flagged prompts: hold" in page
