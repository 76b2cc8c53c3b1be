"""Guardrails on the command line: what they find is denied or held with its rule and the way out."""

import json
import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

MODERATED = Path(__file__).parents[1] / "decision" / "data" / "guardrails-with-moderation.toml"
DENIED = [
    ("Emma Watson walks through Times Square", "TERM_NOT_ALLOWED", "REAL_PERSON"),
    ("Mickey Mouse dances to Thriller", "TERM_NOT_ALLOWED", "COPYRIGHTED_CHARACTER"),
    ("a gory beheading", "MODERATION_FLAGGED", "UNDER_18"),
]


def asked(running: SandboxServer) -> int:
    return int(httpx2.get(f"{running.origin}/_sandbox/requests").json().get("moderations", 0))


def creates(running: SandboxServer) -> int:
    return int(httpx2.get(f"{running.origin}/_sandbox/requests").json().get("creates", 0))


@pytest.fixture
def running(sora: Sora, server: Callable[..., SandboxServer], folder: Path) -> SandboxServer:
    """Start a server, and activate guardrails that ask it for its moderation of each prompt."""
    running = server()
    (folder / "policy.toml").write_text(sora("policy", "show", "--packaged", "policy").out)
    (folder / "guardrails.toml").write_bytes(MODERATED.read_bytes())
    rules = ["policy.toml", "--guardrails", "guardrails.toml"]
    assert sora("policy", "check", *rules).code == 0
    assert sora("policy", "activate", *rules, "--reason", "no real people").code == 0
    return running


@pytest.mark.parametrize(("prompt", "code", "rule"), DENIED)
@pytest.mark.parametrize("purpose", ["draft", "final"])
def test_what_the_guardrails_deny_is_denied_before_money_is_spent(
    sora: Sora, running: SandboxServer, prompt: str, code: str, rule: str, purpose: str
) -> None:
    words = ["--prompt", prompt, "--purpose", purpose]
    ahead, dry, placed = sora("decide", *words), sora("create", *words, "--dry-run"), sora("create", *words)
    for ended in (ahead, dry, placed):
        trace = ended.document.get("denial_trace") or ended.document["decision"]["denial_trace"]
        assert (ended.code, trace["detail_code"], trace["found"]) == (3, code, rule)
    assert rule in placed.error + placed.out
    document = sora("whynot", placed.document["job_id"]).document
    assert rule in document["what_now"][0]
    final = " --purpose final" if purpose == "final" else ""
    assert document["commands"] == [f"sora-ledger create --prompt 'THE PROMPT WITHOUT IT'{final}"]
    assert creates(running) == 0


def test_whynot_says_which_words_and_an_erasure_takes_them_away(sora: Sora, running: SandboxServer) -> None:
    job = sora("create", "--prompt", "A walk with EMMA watson").document["job_id"]
    assert '"EMMA watson"' in sora("whynot", job).document["what_now"][0]
    assert sora("erase", job, "--reason", "asked", "--yes").code == 0
    told = sora("whynot", job).document["what_now"][0]
    assert "watson" not in told.lower()
    assert "policy show" in told


def test_a_prompt_that_a_term_denies_is_not_shown_to_the_server(sora: Sora, running: SandboxServer) -> None:
    assert sora("create", "--prompt", "Emma Watson walks").code == 3
    assert asked(running) == 0


def test_what_is_held_is_rendered_once_another_person_approves_it(
    sora: Sora, running: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SORA_LEDGER_ACTOR")
    held = sora("create", "--prompt", "A dancer moves to Thriller")
    assert (held.code, held.document["state"]) == (3, "held")
    assert held.document["decision"]["reason_codes"] == ["COPYRIGHTED_MUSIC"]
    assert "sora-ledger approve" in held.document["decision"]["what_now"][0]
    assert (asked(running), creates(running)) == (1, 0)
    assert sora("verify").document["findings"] == []


def test_the_server_is_asked_once_for_a_render_and_the_result_is_recorded(
    sora: Sora, running: SandboxServer
) -> None:
    placed = sora("create", "--prompt", "A teal coupe")
    assert (placed.code, placed.document["state"], asked(running)) == (0, "running", 1)
    inputs = sora("explain", placed.document["job_id"]).document["why"]["inputs"]
    assert (inputs["moderation_status"], inputs["moderation_model"]) == ("checked", "omni-moderation-latest")
    assert "violence:200" in inputs["moderation_ppm"].split(",")
    assert (inputs["guardrails"], inputs["terms_found"]) == ("", "")


@pytest.mark.parametrize(
    ("prompt", "rule"),
    [*((prompt, rule) for prompt, _, rule in DENIED), ("billie  JEAN", "COPYRIGHTED_MUSIC")],
)
def test_before_a_policy_is_activated_the_packaged_terms_deny_and_no_server_is_asked(
    sora: Sora, server: Callable[..., SandboxServer], prompt: str, rule: str
) -> None:
    running = server()
    denied = sora("create", prompt)
    trace = denied.document["decision"]["denial_trace"]
    assert (denied.code, trace["detail_code"], trace["found"]) == (3, "TERM_NOT_ALLOWED", rule)
    assert sora("create", "A teal coupe").code == 0
    assert (asked(running), creates(running)) == (0, 1)


def test_the_packaged_guardrails_are_a_file_to_start_from(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    for name in ("policy", "guardrails"):
        (folder / f"{name}.toml").write_text(sora("policy", "show", "--packaged", name).out)
    same = sora("policy", "diff", "policy.toml", "--guardrails", "guardrails.toml")
    assert same.document["changes"] == []
    terms, _, examples = (folder / "guardrails.toml").read_text().partition("# A word that has")
    in_use = re.sub(r"(?m)^# (?=\[|\w+ = )", "", examples.partition("\n")[2])
    (folder / "all.toml").write_text(terms + in_use)
    assert "[moderation]" in in_use.splitlines()
    assert sora("policy", "check", "policy.toml", "--guardrails", "all.toml").code == 0


def test_a_batch_is_searched_and_moderated_row_by_row(
    sora: Sora, running: SandboxServer, folder: Path
) -> None:
    rows = [{"prompt": prompt} for prompt, _, _ in DENIED] + [{"prompt": "A teal coupe"}]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    batch = ["create-batch", "--input", "rows.jsonl", "--out-dir", "out"]
    assert sora(*batch, "--dry-run").document["counts"] == {
        "entries": 4,
        "allowed": 1,
        "denied": 3,
        "held": 0,
    }
    ended = sora(*batch)
    assert ended.document["counts"] == {"entries": 4, "denied": 3, "running": 1}
    assert creates(running) == 1
    assert sora("verify").code == 0


@pytest.fixture
def nobody(running: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody listen at the address of the server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")


def test_a_held_row_of_a_dry_run_is_counted_once(sora: Sora, nobody: None, folder: Path) -> None:
    row = {"prompt": "A teal coupe", "purpose": "final"}
    (folder / "rows.jsonl").write_text(json.dumps(row))
    ended = sora("create-batch", "--input", "rows.jsonl", "--out-dir", "out", "--dry-run")
    assert ended.document["counts"] == {"entries": 1, "allowed": 0, "denied": 0, "held": 1}


def test_where_the_server_cannot_be_asked_a_final_is_held_and_a_draft_is_marked(
    sora: Sora, nobody: None
) -> None:
    final = sora("create", "--prompt", "A teal coupe", "--purpose", "final")
    assert (final.code, final.document["decision"]["reason_codes"]) == (3, ["MODERATION_MISSING"])
    draft = sora("decide", "--prompt", "A teal coupe")
    assert (draft.code, "MODERATION_MISSING" in draft.document["reason_codes"]) == (0, True)
    assert "it did not answer in time" in " ".join(draft.document["why"])


def test_a_batch_asks_a_server_that_does_not_answer_only_a_few_times(
    sora: Sora, nobody: None, folder: Path
) -> None:
    rows = [{"prompt": f"A teal coupe, take {n}", "purpose": "final"} for n in range(30)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ended = sora("create-batch", "--input", "rows.jsonl", "--out-dir", "out")
    assert ended.document["counts"] == {"entries": 30, "held": 30}


def test_a_server_without_moderations_counts_as_not_asked(
    sora: Sora, running: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "vllm-omni")
    ended = sora("decide", "--prompt", "A teal coupe", "--purpose", "client")
    assert (ended.code, ended.document["reason_codes"]) == (3, ["MODERATION_MISSING"])
    assert "the profile vllm-omni has no moderations" in " ".join(ended.document["why"])
    assert asked(running) == 0


def test_decisions_are_repeated_without_a_server_and_without_the_text(sora: Sora, nobody: None) -> None:
    job = sora("create", "--prompt", "Emma Watson walks").document["job_id"]
    sora("create", "--prompt", "A teal coupe", "--purpose", "final")
    assert sora("replay", "--decisions").document["counts"]["SAME"] == 2
    sora("erase", job, "--reason", "asked", "--yes")
    counts = sora("replay", "--decisions").document["counts"]
    assert (counts["SAME"], counts["NOT_RECOMPUTABLE"], counts["DECISION_DRIFT"]) == (1, 1, 0)


def test_a_finding_that_the_text_does_not_have_is_drift(
    sora: Sora, running: SandboxServer, folder: Path
) -> None:
    sora("create", "--prompt", "An emu watches Thriller")
    forge(folder / "ledger.db", "An emu watches nothing")
    ended = sora("replay", "--decisions")
    assert (ended.code != 0, ended.document["counts"]["DECISION_DRIFT"]) == (True, 1)
    fields = ended.document["findings"][0]["fields"]
    assert fields["guardrails"] == ["COPYRIGHTED_MUSIC", ""]


def forge(database: Path, text: str) -> None:
    """Change the prompts in the file of a ledger, past its guards."""
    with closing(sqlite3.connect(database)) as db, db:
        for [name] in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE private_bodies SET text = ? WHERE field IN ('prompt', 'augmented_prompt')", [text])


def test_what_if_searches_the_texts_for_the_terms_of_another_policy(
    sora: Sora, running: SandboxServer, folder: Path
) -> None:
    for prompt in ("A zebra in a suit", "A dancer moves to Thriller", "a gory beheading"):
        sora("create", "--prompt", prompt)
    terms = '[[terms]]\ncode = "ANIMALS"\nthen = "deny"\nterms = ["zebra"]\n'
    (folder / "other.toml").write_text(f'version = 1\n{terms}[moderation]\nflagged = "deny"\n')
    before = asked(running)
    tally = sora("what-if", "--policy", "policy.toml", "--guardrails", "other.toml").document
    assert tally["kinds"] == {"ALLOW to DENY": 1, "HOLD to ALLOW": 1}
    assert asked(running) == before


def test_guardrails_stay_in_force_under_a_policy_that_has_none(
    sora: Sora, running: SandboxServer, folder: Path
) -> None:
    renamed = (folder / "policy.toml").read_text().replace('name = "default"', 'name = "second"')
    (folder / "second.toml").write_text(renamed)
    changes = sora("policy", "diff", "second.toml").document["changes"]
    assert [change["setting"] for change in changes] == ["name"]
    assert sora("policy", "activate", "second.toml", "--reason", "a new name").code == 0
    assert sora("decide", "--prompt", "Emma Watson walks").code == 3
    (folder / "none.toml").write_text(f"{renamed}\n[guardrails]\nversion = 1\n")
    assert sora("policy", "activate", "none.toml", "--reason", "no guardrails").code == 0
    assert sora("decide", "--prompt", "Emma Watson walks").code == 0


def test_two_sources_of_guardrails_are_refused(sora: Sora, running: SandboxServer, folder: Path) -> None:
    both = (folder / "policy.toml").read_text() + "\n[guardrails]\nversion = 1\n"
    (folder / "both.toml").write_text(both)
    ended = sora("policy", "check", "both.toml", "--guardrails", "guardrails.toml")
    assert (ended.code, "has guardrails of its own" in ended.error) == (2, True)


def test_policy_show_says_what_the_guardrails_do(sora: Sora, running: SandboxServer) -> None:
    text = sora("policy", "show", "--format=text").out
    assert "terms REAL_PERSON: deny: 14 terms" in text
    assert "moderation by the server: asked for; flagged prompts: hold" in text
    assert "NEARLY_GRAPHIC: hold violence/graphic from 30 %" in text
    assert "if it cannot be asked: hold for final purposes, warn for others" in text
