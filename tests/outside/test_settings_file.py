"""A `.env` in a folder that was cloned: it sends no key anywhere, and what it sets is said."""

import json
from collections.abc import Callable

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]


def test_a_cloned_folder_gets_no_key_and_no_other_secret(outside: Start, person: Person) -> None:
    theirs = outside()
    lines = f"OPENAI_BASE_URL={theirs.origin}/${{AWS_SECRET_ACCESS_KEY}}/v1\n"
    (person.folder / ".env").write_text(lines)
    ana = person.with_(AWS_SECRET_ACCESS_KEY="wJalrXUtnFEMI", SORA_LEDGER_PROFILE="custom")
    for command in (["list"], ["create", "--prompt", "a fox runs"]):
        ended = ana(*command)
        assert ended.code == 2, command
        assert "export OPENAI_BASE_URL=" in ended.err
        assert "wJalr" not in ended.err
    assert theirs.requests() == []


def test_a_server_and_its_key_in_one_file_are_used_together_and_reported_by_name(
    outside: Start, person: Person
) -> None:
    server = outside()
    (person.folder / ".env").write_text(f"OPENAI_BASE_URL={server.base_url}\nOPENAI_API_KEY=sk-of-the-file\n")
    listed = person("list")
    assert listed.code == 0
    [request] = server.requests()
    assert request["headers"]["authorization"] == "Bearer sk-of-the-file"
    [line] = [line for line in map(json.loads, listed.err.splitlines()) if line["event"] == "settings.read"]
    assert line["names"] == ["OPENAI_API_KEY", "OPENAI_BASE_URL"]
    assert "sk-of-the-file" not in listed.err + listed.out
    text = person("list", "--format=text").err
    assert f"settings from {person.folder / '.env'}: OPENAI_API_KEY, OPENAI_BASE_URL\n" in text


def test_a_file_that_others_may_write_is_ignored_and_reported(outside: Start, person: Person) -> None:
    theirs, ours = outside(), outside()
    (person.folder / ".env").write_text(f"OPENAI_BASE_URL={theirs.base_url}\nOPENAI_API_KEY=sk-theirs\n")
    (person.folder / ".env").chmod(0o666)
    ended = person.at(ours)("list", "--format=text")
    assert (ended.code, theirs.requests()) == (0, [])
    assert ".env: ignored, because every user may write it" in ended.err
