"""A job belongs to a server: what another server says about it is neither asked for nor recorded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]


def created(person: Person, *options: str) -> str:
    ended = person("create", "--prompt", "A teal coupe in the desert", *options)
    assert ended.code == 0, ended.err
    return str(ended.document["job_id"])


def types(person: Person) -> list[str]:
    return [each["type"] for each in person("log", "--json").document["records"]]


def held(person: Person) -> int:
    return int(person("audit", "--offline", "--json").document["reserved_usd_micros"])


def verified(person: Person) -> None:
    assert person("verify").code == 0


def test_every_later_call_to_another_server_is_refused_before_anything_is_sent(
    outside: Start, person: Person
) -> None:
    first, second = outside(status="in_progress"), outside()
    job = created(person.at(first))
    before = types(person)
    for command in (
        ["delete", "--id", job],
        ["poll", "--id", job, "--timeout", "5"],
        ["status", "--id", job],
        ["download", "--id", job],
        ["remix", "--id", job, "--prompt", "Make it night"],
        ["extend", "--id", job, "--prompt", "It drives on", "--seconds", "4"],
        ["delete", "--id", job, "--dry-run"],
    ):
        ended = person.at(second)(*command)
        assert ended.code == 2, (command, ended)
        assert f"OPENAI_BASE_URL={first.base_url}" in ended.err, (command, ended.err)
    assert second.requests() == []
    assert types(person) == before
    assert len(first.bills()) == 1
    verified(person)


def test_a_worker_leaves_a_job_of_another_server_alone_and_keeps_its_money(
    outside: Start, person: Person
) -> None:
    first, second = outside(render_s=0.0), outside()
    jobs = [created(person.at(first)), created(person.at(first))]
    assert person("budget", "set", "all", "--limit", "5").code == 0
    before = types(person)
    with person.at(second).start("worker", "--drain", "--interval", "0.1") as worker:
        _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert second.requests() == []
    assert types(person) == before
    assert held(person) == 800_000
    assert person.at(first)("poll", "--id", jobs[0], "--poll-interval", "0.1").code == 0
    verified(person)


def test_a_deletion_a_server_has_no_route_for_is_not_recorded(outside: Start, person: Person) -> None:
    server = outside(status="in_progress", delete="404")
    job = created(person.at(server))
    ended = person.at(server)("delete", "--id", job)
    assert ended.code == 8, ended
    assert "still has it" in ended.err
    assert "video.deleted" not in types(person)
    server.behave(delete="405")
    refused = person.at(server)("delete", "--id", job)
    assert (refused.code, "it does not offer this operation" in refused.err) == (8, True)
    assert "video.deleted" not in types(person)
    assert held(person) == 400_000
    verified(person)


def test_a_404_to_deletion_and_question_alike_proves_nothing_while_the_video_is_young(
    outside: Start, person: Person
) -> None:
    server = outside(status="in_progress")
    job = created(person.at(server))
    server.behave(delete="404", retrieve=[404])
    ended = person.at(server)("delete", "--id", job)
    assert ended.code == 1, ended
    assert "proves nothing yet" in ended.err
    server.behave(delete="ok")
    assert "video.deleted" not in types(person)
    deleted = person.at(server)("delete", "--id", job)
    assert deleted.code == 0, deleted.err
    assert "video.deleted" in types(person)
    verified(person)


def test_the_source_of_a_remix_is_looked_at_before_the_decision(outside: Start, person: Person) -> None:
    server = outside(render_s=0)
    job = created(person.at(server))
    remixed = person.at(server)("remix", "--id", job, "--prompt", "Make it night")
    assert remixed.code == 0, remixed.err
    assert [bill["operation"] for bill in server.bills()] == ["create", "remix"]
    verified(person)


def test_a_dry_remix_and_a_decision_say_what_the_run_would_find_out(outside: Start, person: Person) -> None:
    server, other = outside(render_s=0.3), outside()
    ana = person.at(server)
    job = created(ana)
    options = ("--id", job, "--prompt", "Make it night", "--dry-run")
    ended = ana("remix", *options)
    assert (ended.code, ended.document["refused"]) == (0, None)
    assert "last seen queued, and the run checks with the server first" in ended.document["assumes"]
    decided = ana("decide", "--remix", job, "--prompt", "Make it night")
    assert (decided.code, decided.document["decision"]) == (0, "ALLOW")
    assert f"belongs to {server.base_url}" in person.at(other)("remix", *options).document["refused"]
    assert len(server.requests("GET")) == 0
    assert other.requests() == []


def test_a_source_that_cannot_be_asked_is_not_reported_to_be_queued(outside: Start, person: Person) -> None:
    server = outside(render_s=0.3)
    job = created(person.at(server))
    before = types(person)
    server.behave(retrieve=[503, 503])
    ended = person.at(server)("remix", "--id", job, "--prompt", "Make it night")
    assert ended.code == 8, ended
    assert types(person) == before
    verified(person)


def test_a_render_that_never_ends_is_given_up_and_its_money_booked(outside: Start, person: Person) -> None:
    server = outside(status="in_progress")
    ana = person.at(server)
    job = created(ana)
    overdue = ana.with_(SORA_LEDGER_LONGEST_RENDER="0")("audit", "--offline", "--json")
    assert [each["code"] for each in overdue.document["findings"]] == ["RENDER_OVERDUE"]
    ended = person("give-up", job, "--reason", "the machine is gone")
    assert ended.code == 0, ended.err
    assert types(person)[-3:] == ["render.abandoned", "cost.settled", "render.closed"]
    assert person("give-up", job, "--reason", "again").code == 0
    after = person("audit", "--offline", "--json").document
    assert (after["reserved_usd_micros"], after["settled_usd_micros"]) == (0, 400_000)
    assert [each["code"] for each in after["findings"]] == ["SPEND_WITHOUT_ASSET"]
    server.behave(status=None)
    assert ana("download", "--id", job).code == 0
    verified(person)


def test_an_attempt_whose_outcome_is_unknown_is_never_given_up(outside: Start, person: Person) -> None:
    server = outside(creates=["lost-answer"])
    lost = person.at(server)("create", "--prompt", "A teal coupe in the desert")
    assert lost.code == 6
    job = str(lost.document["job_id"])
    refused = person.at(server)("give-up", job, "--reason", "nobody waits")
    assert refused.code == 1
    assert f"sora-ledger reconcile {job}" in refused.err
    assert "render.abandoned" not in types(person)
    assert held(person) == 400_000


def test_a_file_that_never_decodes_is_given_up(outside: Start, person: Person) -> None:
    server = outside(content="garbage")
    job = created(person.at(server))
    assert person.at(server)("poll", "--id", job, "--poll-interval", "0.1").code == 1
    assert held(person) == 400_000
    assert person("give-up", job, "--reason", "it never decodes").code == 0
    assert held(person) == 0
    verified(person)


def with_two_profiles(person: Person) -> Person:
    """Return the same person under a second profile that names the same server."""
    profiles = Path(person.environment["SORA_LEDGER_PROFILES"])
    profiles.write_text(f"{profiles.read_text()}[second]\nlike = 'custom'\nlist_proves_absence = true\n")
    return person.with_(SORA_LEDGER_PROFILE="second")


@pytest.mark.parametrize("command", ["poll", "adopt"])
def test_a_video_has_one_job_under_whatever_profile_it_is_named(
    outside: Start, person: Person, command: str
) -> None:
    server = outside()
    person = person.at(server)
    job = created(person)
    [bill] = server.bills()
    second = with_two_profiles(person)
    ended = second(command, "--id", bill["id"])
    assert (ended.code, {each["job_id"] for each in second("jobs").document["jobs"]}) == (0, {job}), ended.err
    assert second("audit").document["findings"] == []
    verified(person)


def lost(person: Person) -> str:
    ended = person("create", "--prompt", "A teal coupe in the desert", "--no-augment")
    assert ended.code == 6, ended.err
    return str(ended.document["job_id"])


def verdict_for(person: Person, job: str) -> str:
    [settlement] = person("reconcile", job, "--grace", "0").document["settlements"]
    return str(settlement["verdict"])


def test_a_lost_video_of_one_profile_is_not_given_to_a_job_of_another(outside: Start, person: Person) -> None:
    server = outside(creates=["lost-answer", "lost-request"])
    person = person.at(server)
    second = with_two_profiles(person)
    first, other = lost(person), lost(second)
    assert (verdict_for(second, other), verdict_for(person, first)) == ("waiting", "recovered")
    verified(person)


def test_a_lost_video_is_found_under_another_spelling_of_the_address(outside: Start, person: Person) -> None:
    server = outside(creates=["lost-answer"])
    job = lost(person.with_(OPENAI_BASE_URL=f"{server.base_url.replace('http', 'HTTP')}/"))
    assert verdict_for(person.at(server), job) == "recovered"


def test_a_video_of_another_server_with_the_same_id_does_not_hide_a_lost_one(
    outside: Start, person: Person
) -> None:
    first, second = outside(same_id="video_1"), outside(same_id="video_1", creates=["lost-answer"])
    created(person.at(first))
    person = person.at(second)
    assert verdict_for(person, lost(person)) == "recovered"
    verified(person)
