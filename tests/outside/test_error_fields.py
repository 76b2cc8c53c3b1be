"""At each of the four doors, an error names the field, what was expected there and what was found."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp")
from ledger.errors import SoraLedgerError
from render_service import SyncRenderDesk
from tests.outside.conftest import Gateway, Outside, Person
from tests.outside.test_gateway_refusals import ask
from tests.outside.test_mcp import agent, run

Start = Callable[..., Outside]
Open = Callable[..., Gateway]
FOX = {"prompt": "a fox runs"}
FIELDS = ("param", "expected", "found")


def unfilled(errors: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return, by mistake, the fields of its error that are empty."""
    empty = {
        mistake: [name for name in FIELDS if not (error or {}).get(name)] for mistake, error in errors.items()
    }
    return {mistake: names for mistake, names in empty.items() if names}


COMMANDS = {
    "size": ("create", "--prompt", "a fox", "--size", "7x7"),
    "seconds": ("create", "--prompt", "a fox", "--seconds", "5"),
    "model": ("create", "--prompt", "a fox", "--model", "sora-9"),
    "purpose": ("create", "--prompt", "a fox", "--purpose", "fun"),
    "money": ("create", "--prompt", "a fox", "--max-cost", "much"),
    "no prompt": ("create", "--prompt", ""),
    "no such file": ("create", "--prompt", "a fox", "--input-reference", "none.png"),
    "an empty file": ("create", "--prompt", "a fox", "--input-reference", "empty.png"),
    "profile": ("create", "--prompt", "a fox", "--profile", "nowhere"),
    "unknown option": ("create", "--promt", "a fox"),
    "unknown command": ("crate",),
    "unknown subcommand": ("budget", "sett"),
    "missing argument": ("policy", "check"),
    "missing value": ("create", "--prompt"),
    "not a number": ("poll", "--id", "job_1", "--timeout", "soon"),
    "not one of several": ("review", "job_1", "--verdict", "great"),
    "unknown job": ("show", "job_0000"),
    "unknown remix source": ("remix", "--id", "job_0000", "--prompt", "Make it night."),
    "contradicting options": ("reconcile", "job_1", "--video-id", "video_1", "--absent"),
    "policy file": ("policy", "check", "empty.png"),
    "batch": ("create-batch", "--input", "none.jsonl"),
    "schema": ("schema", "nothing"),
    "budget name": ("budget", "set", "no such name", "--limit", "1"),
    "a time": ("jobs", "--since", "someday"),
    "a ledger": ("jobs", "--ledger", "none.db"),
}


def test_the_fields_of_errors_are_filled_on_the_command_line(outside: Start, person: Person) -> None:
    there = person.at(outside())
    (person.folder / "empty.png").touch()
    assert there("create", "--prompt", "a fox").code == 0
    errors = {mistake: there(*words).document["error"] for mistake, words in COMMANDS.items()}
    keyless = person.with_(OPENAI_API_KEY="", SORA_LEDGER_PROFILE="openai")
    errors["no key"] = keyless("create", "--prompt", "a fox").document["error"]
    assert unfilled(errors) == {}
    assert (errors["no key"]["param"], errors["seconds"]["param"]) == ("OPENAI_API_KEY", "seconds")


REQUESTS: Mapping[str, tuple[str, str, Any]] = {
    "size": ("POST", "/v1/videos", FOX | {"size": "7x7"}),
    "seconds": ("POST", "/v1/videos", FOX | {"seconds": "5"}),
    "model": ("POST", "/v1/videos", FOX | {"model": "sora-9"}),
    "unknown field": ("POST", "/v1/videos", FOX | {"lenght": 4}),
    "wrong type": ("POST", "/v1/videos", FOX | {"seconds": [4]}),
    "no prompt": ("POST", "/v1/videos", {}),
    "empty prompt": ("POST", "/v1/videos", {"prompt": ""}),
    "money": ("POST", "/v1/videos", FOX | {"max_cost_usd": "much"}),
    "a limit too low": ("POST", "/v1/videos", FOX | {"max_cost_usd": "0.01"}),
    "an image": (
        "POST",
        "/v1/videos",
        FOX | {"input_reference": {"image_url": "data:image/png;base64,YQ=="}},
    ),
    "unknown source": ("POST", "/v1/videos/video_0000/remix", {"prompt": "Make it night."}),
    "unknown video": ("GET", "/v1/videos/video_0000", None),
    "unknown file": ("GET", "/v1/videos/video_0000/content", None),
    "unknown character": ("GET", "/v1/videos/characters/char_0", None),
    "unknown model": ("GET", "/v1/models/sora-9", None),
    "unknown address": ("GET", "/v1/vidoes", None),
    "unknown method": ("PATCH", "/v1/videos", {}),
    "limit": ("GET", "/v1/videos?limit=many", None),
    "an address": (
        "POST",
        "/v1/webhook_endpoints",
        {"name": "a", "url": "nowhere", "event_types": ["video.completed"]},
    ),
}


def test_the_fields_of_errors_are_filled_in_the_gateway(outside: Start, gateway: Open) -> None:
    one = gateway(outside(), "--no-work")
    key = one.grant("app", "requester")
    answers = {mistake: ask(one, *called[:2], key, called[2]) for mistake, called in REQUESTS.items()}
    answers["no key"] = ask(one, "POST", "/v1/videos", "", FOX)
    assert one.person("budget", "set", "all", "--limit", "0.01").code == 0
    answers["no money"] = ask(one, "POST", "/v1/videos", key, FOX)
    assert {mistake for mistake, answer in answers.items() if answer.status < 400} == set()
    errors = {mistake: answer.document["error"] for mistake, answer in answers.items()}
    assert unfilled(errors) == {}
    assert errors["seconds"]["calls"] == [
        {"method": "POST", "path": "/v1/videos", "body": FOX | {"seconds": "4"}}
    ]
    assert errors["seconds"]["next"] == [
        ["sora-ledger", "create", "--prompt", "a fox runs", "--seconds", "4"]
    ]
    assert errors["no money"]["next"] == [["sora-ledger", "budget", "list"]]
    assert all(argv[0] == "sora-ledger" for error in errors.values() for argv in error["next"])


CALLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "size": ("render", {"request_key": "a", "size": "7x7"}),
    "seconds": ("render", {"request_key": "a", "seconds": 5}),
    "model": ("render", {"request_key": "a", "model": "sora-9"}),
    "no key": ("render", {}),
    "unknown argument": ("render", {"request_key": "a", "lenght": 4}),
    "money": ("render", {"request_key": "a", "max_cost_usd": "much"}),
    "a limit too low": ("render", {"request_key": "low", "max_cost_usd": "0.01"}),
    "no such file": ("render", {"request_key": "a", "first_frame": "none.png"}),
    "a file outside": ("render", {"request_key": "a", "first_frame": "../none.png"}),
    "a blank": ("render", {"request_key": "a", "prompt": "a {colour} fox"}),
    "an operation without its job": ("decide", {"operation": "remix"}),
}
OTHERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "unknown job": ("job", {"job": "job_0000"}),
    "unknown source": ("remix", {"job": "job_0000", "request_key": "a", "prompt": "Make it night."}),
    "waiting too long": ("wait", {"job": "job_0000", "seconds": 10_000}),
    "a score": ("review", {"job": "job_0000", "verdict": "approved", "clarity": 200}),
    "unknown tool": ("approve", {"job": "job_0000"}),
}


def test_the_fields_of_errors_are_filled_for_agents(outside: Start, person: Person) -> None:
    async def use() -> dict[str, Any]:
        async with agent(person.at(outside())) as call:
            errors = {
                mistake: (await call(tool, **FOX | arguments))["error"]
                for mistake, (tool, arguments) in CALLS.items()
            }
            errors |= {
                mistake: (await call(tool, **arguments))["error"]
                for mistake, (tool, arguments) in OTHERS.items()
            }
            assert person("budget", "set", "all", "--limit", "0.01").code == 0
            errors["no money"] = (await call("render", **FOX, request_key="money"))["error"]
            return errors

    errors = run(use())
    assert unfilled(errors) == {}
    assert [each["tool"] for each in errors["no key"]["calls"]] == ["render"]


def test_the_fields_of_errors_are_filled_in_python(
    outside: Start, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in person.at(outside()).environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(person.folder)
    with SyncRenderDesk() as desk:
        wrong: dict[str, Callable[[], object]] = {
            "size": lambda: desk.create("a fox", size="7x7"),
            "seconds": lambda: desk.create("a fox", seconds="5"),
            "model": lambda: desk.create("a fox", model="sora-9"),
            "money": lambda: desk.create("a fox", max_cost="much"),
            "a limit too low": lambda: desk.create("a fox", max_cost="0.01"),
            "no prompt": lambda: desk.create(""),
            "no such file": lambda: desk.create("a fox", input_reference="none.png"),
            "unknown job": lambda: desk.job("job_0000"),
            "unknown source": lambda: desk.remix("job_0000", "Make it night."),
            "without its job": lambda: desk.decide("Make it night.", operation="remix"),
            "a verdict": lambda: desk.review(desk.create("a fox").job_id, "approved"),
            "a fact": lambda: desk.record("renders", {"videoId": "v", "progress": 900}),
        }
        errors = {}
        for mistake, call in wrong.items():
            with pytest.raises(SoraLedgerError) as raised:
                call()
            errors[mistake] = raised.value.document["error"]
    assert unfilled(errors) == {}
