"""A ledger begun on purpose, and the role that may add to it and change nothing."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cli.exit_codes import ExitCode
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora, Terminal
from tests.ledger.store.postgres.server import Databases


@pytest.fixture
def owner(databases: Databases, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Return the URL of an empty place, which is where commands look for the ledger."""
    url: str = databases.url()
    monkeypatch.setenv("SORA_LEDGER_URL", url)
    return url


@pytest.fixture
def execute(postgres: ModuleType, owner: str) -> Callable[..., list[Any]]:
    return lambda *statements: postgres.execute(owner, *statements)


@pytest.fixture
def role(execute: Callable[..., list[Any]]) -> Iterator[str]:
    """Yield the name of a role that may connect and no more, and needs to be quoted."""
    name = f"App {uuid.uuid4().hex[:8]}"
    execute(f'CREATE ROLE "{name}" LOGIN')
    yield name
    execute(f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')


@pytest.fixture
def as_role(sora: Sora, role: str, owner: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the owner begin the ledger for `role`, and go on as that role; return its URL."""
    assert sora("init", "--role", role, "--apply").code == ExitCode.DONE
    url = f"{owner}&user={role.replace(' ', '%20')}"
    monkeypatch.setenv("SORA_LEDGER_URL", url)
    return make_conninfo(owner, user=role)


def test_init_begins_a_ledger(sora: Sora, folder: Path) -> None:
    ended = sora("init")
    assert (ended.code, ended.document["begun"], ended.document["size"]) == (ExitCode.DONE, True, 1)
    assert sora("verify").document["clean"]


def test_init_again_leaves_the_ledger_as_it_is(sora: Sora, folder: Path) -> None:
    first = sora("init").document
    again = sora("init").document
    assert (again["begun"], again["ledger_id"], again["size"]) == (False, first["ledger_id"], 1)


def test_a_role_for_a_file_is_refused_and_begins_nothing(sora: Sora, folder: Path) -> None:
    ended = sora("init", "--role", "app")
    assert (ended.code, (folder / "ledger.db").exists()) == (ExitCode.BAD_INPUT, False)
    assert "ledger.db is a file, and SQLite has no roles" in ended.error


def test_to_apply_without_a_role_is_a_usage_error(sora: Sora, folder: Path) -> None:
    assert sora("init", "--apply").code == ExitCode.BAD_INPUT


def test_the_grants_are_printed_as_sql_that_psql_can_run(
    sora: Sora,
    owner: str,
    role: str,
    execute: Callable[..., list[Any]],
    terminal: Callable[..., tuple[Terminal, Terminal]],
) -> None:
    printed, _ = terminal()
    sora("init", "--role", role)
    execute(printed.getvalue())
    assert f'GRANT SELECT, INSERT ON "{schema(execute)}"."events" TO "{role}"' in printed.getvalue()


def test_printing_the_grants_gives_none(
    sora: Sora, owner: str, role: str, execute: Callable[..., list[Any]]
) -> None:
    document = sora("init", "--role", role).document
    assert (document["applied"], execute(RIGHTS.format(role))) == (False, [])


RIGHTS = """
SELECT DISTINCT privilege_type FROM information_schema.role_table_grants
WHERE grantee = '{}' AND table_name = 'events' AND table_schema = current_schema() ORDER BY 1
"""


def test_the_role_may_add_to_the_log_and_read_it(
    as_role: str, role: str, execute: Callable[..., list[Any]]
) -> None:
    assert execute(RIGHTS.format(role)) == [("INSERT",), ("SELECT",)]


def test_the_role_carries_out_a_render_from_prompt_to_file(
    sora: Sora, as_role: str, server: Callable[..., SandboxServer]
) -> None:
    server(render_seconds=0)
    rendered = sora("create-and-poll", "--prompt", "a paper boat", "--poll-interval", "0.05")
    final = rendered.document["final"]
    assert (rendered.code, final["state"]) == (ExitCode.DONE, "stored")
    assert sora("status", final["job_id"]).document["state"] == "stored"
    assert sora("verify").document["clean"]
    assert sora("replay").code == ExitCode.DONE


def test_the_role_erases_what_people_wrote(
    sora: Sora, as_role: str, server: Callable[..., SandboxServer]
) -> None:
    sora("create", "--prompt", "a paper boat", "--max-cost", "0.01", "--profile", "sandbox")
    erased = sora("erase", "--older-than", "0", "--reason", "subject_request", "--yes")
    assert erased.code == ExitCode.DONE, erased
    assert ("paper boat" in sora("log").out, sora("verify").document["clean"]) == (False, True)


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET actor = 'x'", "DELETE FROM events", "TRUNCATE events"]
)
def test_the_grants_keep_the_role_from_changing_the_log_and_triggers_its_owner(
    postgres: ModuleType, as_role: str, execute: Callable[..., list[Any]], statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        postgres.execute(as_role, statement)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="events is append-only"):
        execute(statement)


def test_a_role_that_is_not_there_says_how_to_make_it(sora: Sora, owner: str) -> None:
    ended = sora("init", "--role", "nobody", "--apply")
    assert ended.code == ExitCode.LEDGER_UNUSABLE
    assert (
        "the role 'nobody' does not exist: create it (psql -c 'CREATE ROLE \"nobody\" LOGIN PASSWORD"
        in ended.error
    )


def test_a_role_no_grant_restricts_is_refused(sora: Sora, owner: str) -> None:
    ended = sora("init", "--role", "postgres", "--apply")
    assert (ended.code, "is a superuser, so no grant prevents it" in ended.error) == (7, True)


def test_a_role_that_may_act_as_the_owner_is_refused(
    sora: Sora, owner: str, role: str, execute: Callable[..., list[Any]], postgres: ModuleType
) -> None:
    execute(f'GRANT ALL ON SCHEMA {schema(execute)} TO "{role}"')
    begun = sora("init", "--ledger", f"{owner}&user={role.replace(' ', '%20')}")
    assert begun.code == ExitCode.DONE
    ended = sora("init", "--role", role, "--apply")
    assert (ended.code, "owns the tables of the ledger" in ended.error) == (7, True)


def test_a_person_who_may_not_grant_is_told(sora: Sora, as_role: str, role: str) -> None:
    ended = sora("init", "--role", role, "--apply")
    assert (
        ended.code,
        "does not own the tables of the ledger, so it cannot grant anything" in ended.error,
    ) == (
        7,
        True,
    )


def schema(execute: Callable[..., list[Any]]) -> str:
    return str(execute("SELECT current_schema()")[0][0])
