"""A ledger on PostgreSQL as its users meet it: what the doctor says, and what cannot be used."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from render_service.runtime.settings import read_settings
from tests.cli.conftest import Sora
from tests.ledger.store.postgres.server import Databases

SECRET = "geheim-4711"
CREATE = ("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox")


@pytest.fixture
def url(databases: Databases, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Return the URL of an empty place, with a password, which is where commands look for the ledger."""
    place = f"{databases.url()}&password={SECRET}"
    monkeypatch.setenv("SORA_LEDGER_URL", place)
    monkeypatch.setenv("SORA_LEDGER_FAILOVER_SECONDS", "0")
    return place


@pytest.fixture
def execute(postgres: ModuleType, url: str) -> Callable[..., list[Any]]:
    return lambda *statements: postgres.execute(url, *statements)


@pytest.fixture
def role(execute: Callable[..., list[Any]]) -> Iterator[str]:
    """Yield the name of a role that may connect and no more."""
    name = f"app_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE ROLE {name} LOGIN")
    yield name
    execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def ledger(ended: Any) -> tuple[str, str, str | None]:
    """Return what the doctor found about the ledger."""
    [found] = [finding for finding in ended.document["findings"] if finding["check"] == "ledger"]
    return found["found"], found["says"], found["fix"]


# --- the doctor ---


def test_the_doctor_says_that_there_is_none_yet(sora: Sora, url: str) -> None:
    found, says, _ = ledger(sora("doctor", "--dry-run"))
    assert (found, "no ledger yet; the first `create` creates it" in says) == ("ok", True)


def test_the_doctor_names_server_user_and_size(sora: Sora, url: str) -> None:
    sora("init")
    found, says, _ = ledger(sora("doctor", "--dry-run"))
    assert found == "ok"
    assert "(PostgreSQL 18" in says
    assert (
        "as postgres), which owns it; `init --role` sets up a role with fewer rights: 1 record, 0 jobs"
        in says
    )


def test_the_doctor_finds_nothing_wrong_with_a_role_that_has_its_grants(
    sora: Sora, url: str, role: str
) -> None:
    sora("init", "--role", role, "--apply")
    found, says, _ = ledger(sora("doctor", "--dry-run", "--ledger", f"{url}&user={role}"))
    assert (found, f"as {role}): 1 record," in says) == ("ok", True)


def test_the_doctor_names_the_rights_that_are_missing(
    sora: Sora, url: str, role: str, execute: Callable[..., list[Any]]
) -> None:
    sora("init", "--role", role, "--apply")
    execute(f"REVOKE INSERT ON events, tiles FROM {role}")
    found, says, fix = ledger(sora("doctor", "--dry-run", "--ledger", f"{url}&user={role}"))
    assert (found, says.endswith("lacks INSERT on events, INSERT on tiles")) == ("wrong", True)
    assert fix == "have the owner run `sora-ledger init --apply --role` for this user"


def test_the_doctor_says_what_to_do_about_a_server_that_is_not_there(sora: Sora, folder: Path) -> None:
    away = f"postgresql://ana:{SECRET}@127.0.0.1:1/renders"
    ended = sora("doctor", "--dry-run", "--ledger", away)
    found, says, fix = ledger(ended)
    assert (found, fix) == ("wrong", "start it, or check host and port in SORA_LEDGER_URL")
    assert "the server cannot be reached" in says
    assert SECRET not in ended.out + ended.err


# --- what cannot be used ---

TROUBLES = {
    "nobody there": (
        lambda url: f"postgresql://ana:{SECRET}@127.0.0.1:1/renders",
        "the server cannot be reached",
    ),
    "no such host": (lambda url: f"postgresql://ana:{SECRET}@nowhere.invalid/renders", "cannot be reached"),
    "no such database": (lambda url: url.replace("/postgres?", "/nowhere?"), "there is no such database"),
    "no such user": (lambda url: f"{url}&user=nobody", "check user and password"),
    "no such schema": (
        lambda url: url.replace("search_path%3D", "search_path%3Dno"),
        "does not exist: create it",
    ),
    "an odd URL": (
        lambda url: f"postgresql://ana:{SECRET}%zz@host/db",
        "it cannot be read: expected postgresql://",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(
    "command", [CREATE, ("jobs",), ("verify",), ("init",), ("backup", "b.dump")], ids=lambda c: c[0]
)
def test_a_server_that_cannot_be_used_ends_with_7_and_shows_no_password(
    sora: Sora, url: str, command: tuple[str, ...], trouble: str
) -> None:
    change, expected = TROUBLES[trouble]
    ended = sora(*command, "--ledger", change(url))  # type: ignore[no-untyped-call]
    assert (ended.code, expected in ended.error, ended.data) == (ExitCode.LEDGER_UNUSABLE, True, "")
    assert SECRET not in ended.err


def test_a_user_without_rights_is_told_what_to_do(
    sora: Sora, url: str, role: str, execute: Callable[..., list[Any]]
) -> None:
    sora("init")
    execute(f"GRANT USAGE ON SCHEMA {execute('SELECT current_schema()')[0][0]} TO {role}")
    ended = sora("jobs", "--ledger", f"{url}&user={role}")
    assert (ended.code, "have the database's owner run the grants" in ended.error) == (7, True)


def test_settings_in_a_traceback_show_no_password() -> None:
    settings = read_settings(ledger=f"postgresql://ana:{SECRET}@host/db", environment={})
    assert SECRET not in repr(settings)


def test_a_whole_ledger_on_a_server_shows_no_password(sora: Sora, url: str) -> None:
    messages = [
        sora(*command) for command in (CREATE, ("jobs",), ("log",), ("verify",), ("doctor", "--dry-run"))
    ]
    assert [SECRET in ended.out + ended.err for ended in messages] == [False] * 5
