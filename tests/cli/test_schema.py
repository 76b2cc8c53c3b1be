"""Every document that is printed fits its published schema, and a version of a schema loses nothing."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.schemas import DOCUMENTS, schema_of
from decision.rules.policy import default_policy
from ledger.events import EVENT_TYPES
from tests.cli.conftest import Sora
from tests.golden.make_schemas import FROZEN, current

EXAMPLES = FROZEN.with_name("events")
FOX = ("create", "--prompt", "a fox runs", "--profile", "sandbox")
HELD = '\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'


def closed(schema: Any) -> Any:
    """Return the schema without room for a field it does not name; published ones are open."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    within = {name: closed(item) for name, item in schema.items() if name != "properties"}
    if "properties" in schema:
        within["properties"] = {name: closed(item) for name, item in schema["properties"].items()}
        within.setdefault("additionalProperties", False)
    return within


@pytest.fixture(scope="module")
def validator() -> Any:
    """Return the validator of the dialect; it comes with the extra mcp."""
    return pytest.importorskip("jsonschema").Draft202012Validator


def check(validator: Any, document: Any, name: str) -> None:
    found = validator(closed(schema_of(name))).iter_errors(document)
    problems = [f"{error.json_path}: {error.message[:200]}" for error in found]
    assert problems == [], name


@pytest.fixture
def printed(sora: Sora, validator: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run commands against the sandbox, each with the name of the document it prints."""
    monkeypatch.setenv("SORA_SANDBOX_SECONDS", "0")

    def run(name: str, *command: str) -> Any:
        document = sora(*command).document
        check(validator, document, name)
        return document

    return run


def test_documents_about_jobs_fit_their_schemas(printed: Callable[..., Any], folder: Path) -> None:
    job = printed("placed", *FOX, "--request-key", "k")["job_id"]
    printed("placed", *FOX, "--request-key", "k")
    printed("placed", *FOX, "--max-cost", "0.01")
    printed("finished", "poll", "--id", job, "--poll-interval", "0.05")
    printed("finished", "download", "--id", job, "--out", "fox.mp4")
    printed("job", "status", "--id", job)
    printed("job", "review", job, "--verdict", "approved", "--notes", "good")
    printed("placed", "remix", "--id", job, "--prompt", "Same shot. Make it night.")
    printed("placed", "remix", "--id", job, "--prompt", "Make it night and add snow.")
    printed("created", "create-and-poll", *FOX[1:], "--poll-interval", "0.05", "--out", "other.mp4")
    queued = printed("placed", *FOX, "--queue")["job_id"]
    printed("job", "cancel", queued)
    printed("jobs", "jobs")
    printed("records", "log")
    printed("spending", "spend", "--by", "purpose")


def test_documents_about_decisions_fit_their_schemas(printed: Callable[..., Any], folder: Path) -> None:
    packaged = folder / "team.toml"
    printed("preview", *FOX, "--dry-run")
    printed("preview", *FOX, "--max-cost", "0.01", "--dry-run")
    printed("decision", "decide", *FOX[1:])
    printed("decision", "decide", *FOX[1:], "--max-cost", "0.01")
    printed("one-change", "check-remix", "--prompt", "Make it night")
    printed("one-change", "check-remix", "--prompt", "Make it night and add snow")
    printed("budgets", "budget", "set", "all", "--limit", "5", "--period", "month")
    printed("budgets", "budget", "list", "--past")
    printed("policy", "policy", "show")
    packaged.write_text(default_policy_text() + HELD)
    printed("policy", "policy", "check", "team.toml")
    printed("policy", "policy", "activate", "team.toml", "--reason", "finals need a person")
    printed("placed", *FOX, "--purpose", "final")
    printed("decision", "decide", *FOX[1:], "--purpose", "final")
    printed("records", "log")


def test_reports_fit_their_schemas(printed: Callable[..., Any], sora: Sora, folder: Path) -> None:
    job = printed("placed", *FOX)["job_id"]
    printed("finished", "poll", "--id", job, "--poll-interval", "0.05")
    printed("placed", *FOX, "--max-cost", "0.01")
    sora("review", job, "--verdict", "approved", "--score", "motion=80", "--note", "1.5=hands")
    printed("explanation", "explain", job)
    sora("key", "new", "signing.key")
    printed("checkpoint", "checkpoint", "--key", "signing.key", "--publish", "head.txt", "--record")
    printed("comparison", "checkpoint", "--check", "head.txt")
    printed("verified", "verify", "--against", "head.txt", "--with-assets")
    printed("audited", "audit", "--offline")
    printed("diagnosis", "doctor", "--dry-run")
    printed("replayed", "replay", "--record")
    printed("exported", "export", job, "--out", "job.zip")
    printed("exported", "export", "--range", "1..3", "--out", "range.zip")
    printed("checked-bundle", "verify-bundle", "job.zip")
    printed("tiles", "export", "--tiles", "public", "--key", "signing.key")
    printed("monitored", "monitor", "public", "--state", "state.json")


def test_reports_with_findings_fit_their_schemas(
    printed: Callable[..., Any], sora: Sora, folder: Path
) -> None:
    job = printed("placed", *FOX)["job_id"]
    printed("finished", "poll", "--id", job, "--poll-interval", "0.05")
    printed("replayed", "replay", "--record")
    with closing(sqlite3.connect("ledger.db", isolation_level=None)) as db:
        db.execute("UPDATE listing SET actor = 'eve'")
        attempts = "replace(body, '\"attempts\":1', '\"attempts\":7')"
        db.execute(f"UPDATE jobs SET body = CAST({attempts} AS BLOB)")
        replayed = printed("replayed", "replay")
        assert replayed["drift"]
        assert replayed["lists"]
        db.execute("DROP TRIGGER events_no_update")
        db.execute("UPDATE events SET leaf = zeroblob(32) WHERE position = 5")
    assert not printed("verified", "verify")["clean"]
    assert printed("explanation", "explain", job)["record"]["trouble"]


def default_policy_text() -> str:
    assert default_policy().name == "default"
    return (Path(__file__).parents[2] / "decision" / "policy.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        (*FOX, "--seconds", "5"),
        ("create", "--prompt"),
        ("poll", "--id", "job_none"),
        ("verify",),
        ("nothing",),
    ],
)
def test_failures_fit_their_schema(printed: Callable[..., Any], command: tuple[str, ...]) -> None:
    printed("error", *command, "--json")


@pytest.mark.parametrize("name", [*DOCUMENTS, *EVENT_TYPES])
def test_a_schema_is_printed_with_its_name_and_version(sora: Sora, validator: Any, name: str) -> None:
    schema = sora("schema", name).document
    validator.check_schema(schema)
    kind, version = (
        ("document", DOCUMENTS[name].version)
        if name in DOCUMENTS
        else ("event", EVENT_TYPES[name].schema_version)
    )
    assert schema["$id"] == f"urn:sora-ledger:{kind}:{name}:{version}"
    assert "$ref" not in json.dumps(schema)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_the_frozen_example_of_an_event_fits_its_schema(validator: Any, name: str) -> None:
    example = EXAMPLES / f"{name}.{EVENT_TYPES[name].schema_version}.json"
    check(validator, json.loads(example.read_text(encoding="utf-8")), name)


def test_a_version_of_a_document_loses_no_field_and_no_type() -> None:
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    today = current()
    assert set(today) <= set(frozen), "a new document or version: run tests/golden/make_schemas.py"
    lost = [
        f"{name}: {path}"
        for name, fields in frozen.items()
        if name in today
        for path, kinds in fields.items()
        if path not in today[name] or not set(today[name][path]) <= set(kinds) | {"any"}
    ]
    assert lost == [], "raise the version of the document in cli/schemas.py"


def test_the_schemas_are_listed_and_an_unknown_name_suggests_another(sora: Sora) -> None:
    listed = sora("schema").document
    assert [one["name"] for one in listed["documents"]] == list(DOCUMENTS)
    assert [one["name"] for one in listed["events"]] == list(EVENT_TYPES)
    unknown = sora("schema", "jbo")
    assert (unknown.code, "'job'" in unknown.error) == (2, True)
