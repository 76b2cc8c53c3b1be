"""The page Log: whose records it shows, filters and pages, and new records that arrive while it is open."""

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from decision.rules.roles import Permission
from ledger.events import OutputAttached
from ledger.log.opening import open_ledger
from ledger.record import ActorSource
from ledger.store.filters import RecordFilter
from render_service.access.callers import Caller
from render_service.server.console.log_reader import Jobs, LogReader, Part, may_see_records
from tests.console.conftest import Console
from tests.ledger.scribe import Scribe

STOP_S = 15
AUDITOR = Caller("aud", ActorSource.ACCESS_KEY, ("auditor",), frozenset({Permission.READ, Permission.AUDIT}))
REQUESTER = replace(AUDITOR, name="ana", permissions=frozenset({Permission.READ}))


def records(console: Console, name: str, query: str = "") -> list[dict[str, Any]]:
    """Return the records on a page of the log, as `name` sees it."""
    with console.reader(name) as reader:
        answer = reader.get(f"/log.json{query}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["records"]
        return found


def whole_log(console: Console, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = console.studio("log", *options)["records"]
    return found


# --- filters ---


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("type=render.closed", ("--type=render.closed",)),
        ("actor=tom", ("--by-actor=tom",)),
        ("stream=policy", ("--stream=policy",)),
        ("job={coupe}", ("--job={coupe}",)),
        ("type=render.requested&actor=ana", ("--type=render.requested", "--by-actor=ana")),
        ("since=2000-01-01&until=2001-01-01", ("--since=2000-01-01", "--until=2001-01-01")),
        ("since=2000-01-01&type=render.decided", ("--type=render.decided",)),
    ],
)
def test_a_filter_finds_what_the_command_finds(shared: Console, query: str, options: tuple[str, ...]) -> None:
    jobs = shared.studio.jobs
    expected = [item["position"] for item in whole_log(shared, *(each.format(**jobs) for each in options))]
    found = [item["position"] for item in records(shared, "aud", "?" + query.format(**jobs))]
    assert found == expected[::-1][:100]


def test_a_job_may_be_named_by_a_part_of_its_id_and_a_trace_finds_its_records(shared: Console) -> None:
    job = shared.studio.jobs["coupe"]
    of_job = records(shared, "ana", f"?job={job[:-4]}")
    assert {item["job_id"] for item in of_job} == {job}
    of_trace = records(shared, "ana", f"?trace={of_job[-1]['trace_id']}")
    assert of_job[-1] in of_trace


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("type=render.dreamt", "is not the name of an event"),
        ("since=yesterday", "expected a time such as 2026-11-20"),
        ("before=minus", "expected a position such as 120"),
        ("actor=a%00b", "expected text without the character U+0000"),
    ],
)
def test_a_filter_that_cannot_be_read_is_explained(shared: Console, query: str, words: str) -> None:
    with shared.reader("aud") as reader:
        answer = reader.get(f"/log?{query}")
    assert answer.status_code == 400
    assert words in answer.text


# --- who sees what ---


def test_people_of_a_team_see_the_records_of_its_jobs_and_no_others(shared: Console) -> None:
    ads = {"bottle", "denied"}
    for name, own, others in (("ana", shared.studio.jobs.keys() - ads, "bottle"), ("tom", ads, "coupe")):
        positions = records(shared, name)
        assert {item["job_id"] for item in positions} == {shared.studio.jobs[each] for each in own}
        with shared.reader(name) as reader:
            for path in (
                f"/log?job={shared.studio.jobs[others]}",
                "/log?stream=access",
                "/log?stream=policy",
            ):
                assert reader.get(path).status_code == 404
            table = reader.get("/log.csv").text
            assert shared.studio.jobs[others] not in table
            assert "access.granted" not in table


def test_auditors_see_what_belongs_to_no_job_and_approvers_only_jobs(shared: Console) -> None:
    assert "access.granted" in {item["type"] for item in records(shared, "aud")}
    of_approver = records(shared, "maria")
    assert {item["job_id"] is None for item in of_approver} == {False}
    assert len({item["job_id"] for item in of_approver}) == len(shared.studio.jobs)


def test_a_record_that_a_person_may_not_see_is_not_there_for_them(shared: Console) -> None:
    [of_tom] = records(shared, "tom", f"?job={shared.studio.jobs['bottle']}&type=render.requested")
    with shared.reader("ana") as ana, shared.reader("tom") as tom:
        path = f"/log/{of_tom['position']}"
        assert [tom.get(path).status_code, ana.get(path).status_code, ana.get("/log/1").status_code] == [
            200,
            404,
            404,
        ]
        assert ana.get(f"{path}.json").json() == {
            "error": f"There is no record at position '{of_tom['position']}' that you may see"
        }
        assert "bottle" not in ana.get(path).text


# --- pages ---


@pytest.fixture
def reader_of(scribe: Scribe, tmp_path: Path) -> Iterator[Callable[..., LogReader]]:
    """Return a function that makes a reader of a log with records of two people in turn."""
    path = tmp_path / "ledger.db"
    with scribe.ledger(path) as ledger:
        for number in range(120):
            actor = ("ana", "tom")[number % 2]
            ledger.append([scribe.batch("notes", OutputAttached(workflow="trailer", uri="u"), actor=actor)])
    with open_ledger(str(path)) as ledger:

        def make(caller: Caller = AUDITOR, **where: Any) -> LogReader:
            return LogReader(ledger, caller, RecordFilter(**where))

        yield make


def positions(part: Part) -> list[int]:
    return [record.position for record in part.records]


def test_pages_from_the_newest_to_the_oldest_and_back_show_each_record_once(
    reader_of: Callable[..., LogReader],
) -> None:
    reader = reader_of(actor="ana")
    everything = [record.position for record in reader.ledger.read(RecordFilter(actor="ana"))]
    part, back = reader.latest(None, 25), list[int]()
    while True:
        back += positions(part)
        if not part.has_older:
            break
        part = reader.latest(part.first, 25)
    assert back == everything[::-1]
    part, forward = reader.following(0, 25), list[int]()
    while True:
        forward += positions(part)[::-1]
        if not part.has_newer:
            break
        part = reader.following(part.last, 25)
    assert forward == everything


def test_a_page_looks_at_a_limited_number_of_positions_and_says_which(
    reader_of: Callable[..., LogReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("render_service.server.console.log_reader.MOST_LOOKED", 30)
    reader = reader_of(actor="nobody")
    newest = reader.ledger.head().size
    part = reader.latest(None, 25)
    assert (positions(part), part.first, part.last, part.has_older) == ([], newest - 29, newest, True)
    looked_at = {part.first}
    while part.has_older:
        part = reader.latest(part.first, 25)
        looked_at.add(part.first)
    assert min(looked_at) == 1


def test_a_time_is_found_by_halving_the_log(reader_of: Callable[..., LogReader]) -> None:
    everything = list(reader_of().ledger.read())
    times = sorted({record.recorded_at for record in everything})
    since, until = times[len(times) // 3], times[2 * len(times) // 3]
    found = positions(reader_of(since=since, until=until).latest(None, 500))
    expected = [one.position for one in everything if since <= one.recorded_at < until]
    assert found == expected[::-1]


def test_the_database_finds_what_a_person_may_see(shared: Console) -> None:
    url = str(shared.studio.folder / "ledger.db")
    with open_ledger(url) as ledger:
        for caller in (REQUESTER, replace(REQUESTER, team="film"), replace(REQUESTER, team="none"), AUDITOR):
            jobs = Jobs(ledger)
            expected = [one.position for one in ledger.read() if may_see_records(caller, jobs(one.stream))]
            assert positions(LogReader(ledger, caller, RecordFilter()).latest(None, 500)) == expected[::-1]
            assert positions(LogReader(ledger, caller, RecordFilter()).following(0, 500)) == expected[::-1]


def test_without_a_script_a_link_leads_to_newer_records(console: Console) -> None:
    with console.client("aud") as aud:
        text = aud.get("/log?type=budget.set").text
        address = text.split('id="newer" href="')[1].split('"')[0].replace("&amp;", "&")
        assert "There is no newer record." in aud.get(address.removeprefix("/console")).text
        console.studio("budget", "set", "all", "--limit", "41", "--reason", "more")
        assert "41000000" in aud.get(address.removeprefix("/console")).text


# --- live ---


@contextmanager
def listening(console: Console, name: str, query: str = "", **headers: str) -> Iterator[Iterator[str]]:
    """Yield the lines of the stream of new records."""
    with console.reader(name) as reader, reader.stream("GET", f"/log/live{query}", headers=headers) as answer:
        assert answer.status_code == 200
        yield answer.iter_lines()


def next_event(lines: Iterator[str]) -> tuple[int, str]:
    """Return id and data of the next event with records."""
    position, data = 0, []
    for line in lines:
        if line.startswith("id: "):
            position = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and data:
            return position, "\n".join(data)
        elif not line:
            position = 0
    raise AssertionError("the stream ended")


def test_a_new_record_appears_on_open_pages_that_it_matches(console: Console, browser: Browser) -> None:
    context = browser.new_context()
    context.set_default_timeout(30_000)
    every, some = context.new_page(), context.new_page()
    console.sign_in(every, "aud", "/log")
    some.goto(f"{console.url}/log?type=review.recorded")
    for page in (every, some):
        page.get_by_text("Live: new records appear here.").wait_for()
    console.studio("budget", "set", "all", "--limit", "42", "--reason", "a <b>bold</b> plan")
    reviewed = console.studio("review", console.studio.jobs["coupe"], "--verdict", "approved")["job_id"]
    row = every.locator("#rows tr", has_text="review.recorded").first
    row.wait_for()
    assert every.locator("#rows tr", has_text="budget.set").first.inner_text().count("<b>bold</b>") == 1
    some.locator("#rows tr").first.wait_for()
    assert some.locator("#rows tr").count() == 1
    assert reviewed[:16] in some.locator("#rows tr").inner_text()
    context.close()


def test_a_stream_goes_on_after_the_last_event_that_came(console: Console) -> None:
    newest = records(console, "aud")[0]["position"]
    console.studio("budget", "set", "all", "--limit", "42", "--reason", "more")
    with listening(console, "aud", f"?after={newest}") as lines:
        position, data = next_event(lines)
        assert (position, data.count("<tr")) == (newest + 1, 1)
        console.studio("budget", "set", "all", "--limit", "43", "--reason", "more")
        position, data = next_event(lines)
        assert (position, data.count("<tr")) == (newest + 2, 1)
    console.studio("budget", "set", "all", "--limit", "44", "--reason", "more")
    with listening(console, "aud", f"?after={newest}", **{"last-event-id": str(newest + 2)}) as lines:
        position, data = next_event(lines)
        assert (position, data.count("<tr")) == (newest + 3, 1)


def test_a_stream_has_only_what_its_person_may_see(console: Console) -> None:
    newest = records(console, "aud")[0]["position"]
    with listening(console, "ana", f"?after={newest}") as lines:
        console.studio("budget", "set", "all", "--limit", "42", "--reason", "more")
        console.studio("create", "--prompt", "A secret bottle", "--queue", "--team=ads", "--actor=tom")
        console.studio("create", "--prompt", "A public fox", "--queue", "--team=film", "--actor=ana")
        data = ""
        while "render.decided" not in data:
            data += next_event(lines)[1]
    assert "A public fox" in data
    assert "secret" not in data
    assert "budget.set" not in data
    with console.reader("ana") as ana:
        assert ana.get(f"/log/live?job={console.studio.jobs['bottle']}").status_code == 404


def test_open_pages_do_not_hold_up_the_end_of_the_server(console: Console) -> None:
    with listening(console, "aud"), listening(console, "ana"):
        assert console.running is not None
        began = time.monotonic()
        console.end(signal.SIGTERM)
        assert time.monotonic() - began < STOP_S


def test_an_open_page_comes_back_after_a_restart_with_what_it_missed(page: Page, console: Console) -> None:
    console.sign_in(page, "aud", "/log")
    page.get_by_text("Live: new records appear here.").wait_for()
    console.end(signal.SIGTERM)
    page.get_by_text("Not live: connecting again.").wait_for()
    console.studio("budget", "set", "all", "--limit", "47", "--reason", "more")
    console.start()
    page.locator("#rows tr", has_text="47000000").wait_for()
    page.get_by_text("Live: new records appear here.").wait_for()
    shown = page.locator("#rows th").all_inner_texts()
    assert len(set(shown)) == len(shown)


def test_rows_show_hostile_text_as_text(console: Console) -> None:
    hostile = "<script>alert(1)</script> \u202egnp.exe \u0007"
    console.studio("create", "--prompt", hostile, "--queue", "--team=film", "--actor=ana")
    with console.reader("ana") as ana:
        page = ana.get("/log").text
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page
    assert "<script>alert" not in page


def test_a_damaged_payload_is_shown_as_unreadable_and_the_page_stays(console: Console) -> None:
    tamper(console.studio.folder / "ledger.db", "UPDATE events SET payload = ? WHERE position = 3", b"{}")
    assert [item["words"] for item in records(console, "aud")][-3] == "not readable by this version"
    with console.reader("aud") as aud:
        assert aud.get("/log/3").status_code == 200


def tamper(path: Path, statement: str, *values: Any) -> None:
    """Change rows of a ledger behind its back."""
    with sqlite3.connect(path, timeout=30) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(statement, values)
    db.close()
