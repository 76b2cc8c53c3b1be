"""A job is named by what is displayed: its id, either end of it, its video, or how far back it is."""

from collections.abc import Callable

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


@pytest.fixture
def two(sora: Sora) -> list[str]:
    """Record two denied jobs, the older one first."""
    command = ["create", "--max-cost", "0", "--profile", "sandbox", "--prompt"]
    return [sora(*command, prompt).document["job_id"] for prompt in ("a fox in snow", "a cat in snow")]


def shown_name(sora: Sora, name: str) -> str:
    return str(sora("show", name).document["job"]["job_id"])


@pytest.mark.parametrize(
    "displayed",
    [
        lambda job: job,
        lambda job: job.removeprefix("job_"),
        lambda job: job[-8:],
        lambda job: f"…{job[-8:]}",
        lambda job: f"job_…{job[-8:]}",
        lambda job: f"{job[:16]}…{job[-6:]}",
        lambda job: f"...{job[-8:]}",
        lambda job: f"video_{job.removeprefix('job_')}",
    ],
)
def test_every_displayed_form_of_an_id_names_its_job(
    sora: Sora, two: list[str], displayed: Callable[[str], str]
) -> None:
    assert [shown_name(sora, displayed(job)) for job in two] == two


def test_the_last_jobs_are_counted_back(sora: Sora, two: list[str]) -> None:
    assert [shown_name(sora, name) for name in ("@last", "@-1", "@-2")] == [two[1], two[1], two[0]]


def test_the_last_job_is_that_of_the_person_who_acts(sora: Sora, two: list[str]) -> None:
    other = sora(
        "create", "--max-cost", "0", "--profile", "sandbox", "--prompt", "a dog runs", "--actor", "ben"
    )
    assert shown_name(sora, "@last") == two[1]
    assert sora("show", "@last", "--actor", "ben").document["job"]["job_id"] == other.document["job_id"]


def test_too_far_back_says_how_many_there_are(sora: Sora, two: list[str]) -> None:
    ended = sora("show", "@-3")
    assert (ended.code, "the ledger has only 2 jobs of ana so far" in ended.error) == (2, True)


def test_an_ambiguous_name_lists_the_candidates_with_state_and_time(sora: Sora, two: list[str]) -> None:
    ended = sora("show", "job_01")
    assert ended.code == 2
    for job in two:
        assert f"{job} (denied, 20" in ended.error


def test_less_than_four_digits_are_no_end_of_an_id(sora: Sora, two: list[str]) -> None:
    assert sora("show", two[0][-3:]).code == 2


@pytest.mark.parametrize("name", ["%", "_", "job_", "", "…", "@", "@-0", "@-1000000", "@lastly", "video_"])
def test_a_word_that_names_nothing_is_refused(sora: Sora, two: list[str], name: str) -> None:
    assert sora("show", "--id", name).code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["explain", "@last"],
        ["whynot", "@last"],
        ["log", "--job", "@last"],
        ["jobs", "--of", "@last"],
        ["status", "@last", "--offline"],
        ["export", "@last", "--out", "bundle.zip"],
        ["erase", "@last", "--reason", "subject_request", "--yes"],
    ],
)
def test_every_command_that_takes_a_job_takes_the_last_one(
    sora: Sora, two: list[str], command: list[str]
) -> None:
    ended = sora(*command)
    assert "bad_input" not in ended.out
    assert two[1] in ended.out + ended.err or command[0] == "export"


def test_a_prompt_that_looks_like_a_name_stays_a_prompt(sora: Sora) -> None:
    ended = sora("create", "--max-cost", "0", "--profile", "sandbox", "--prompt", "@last", "--attest")
    assert "has no jobs" not in ended.error


def test_poll_without_a_job_waits_for_the_last_one(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    job = sora("create", "--prompt", "a fox in snow").document["job_id"]
    ended = sora("poll", "--poll-interval", "0.05")
    assert (ended.code, ended.document["job_id"], ended.document["state"]) == (0, job, "stored")
    assert f"your last submitted job is {job}" in ended.error


def test_the_last_job_of_commands_about_a_video_is_the_last_one_that_was_submitted(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    job = sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05").document["final"]["job_id"]
    denied = sora("create", "--prompt", "a cat", "--max-cost", "0").document["job_id"]
    sora("create", "--prompt", "an owl", "--queue")
    assert sora("poll", "@last").document["job_id"] == job
    assert sora("poll").document["job_id"] == job
    assert sora("open", "@last", "--print").document["job_id"] == job
    assert sora("download", "@last", "--out", "fox.mp4").document["job_id"] == job
    assert shown_name(sora, "@-2") == denied


def test_poll_says_where_nothing_was_submitted(sora: Sora, two: list[str]) -> None:
    ended = sora("poll")
    assert (ended.code, "has no submitted jobs" in ended.error) == (2, True)


def test_poll_all_waits_for_every_render_and_stores_the_videos(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    jobs = [sora("create", "--prompt", f"a fox in snow, take {take}").document["job_id"] for take in range(3)]
    ended = sora("poll", "--all", "--poll-interval", "0.05", "--download")
    assert ended.code == 0
    assert [(job["job_id"], job["state"]) for job in ended.document["jobs"]] == [
        (job, "stored") for job in reversed(jobs)
    ]
    assert all(len(job["files"]) == 1 for job in ended.document["jobs"])
    assert sora("verify").code == 0


def test_poll_all_with_nothing_under_way_is_done(sora: Sora, two: list[str]) -> None:
    ended = sora("poll", "--all")
    assert (ended.code, ended.document) == (0, {"jobs": []})


def test_poll_all_names_what_it_cannot_wait_for_and_ends_as_that_does(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server(faults=("create=kept-but-answer-lost:1",))
    lost = sora("create", "--prompt", "a fox in snow").document["job_id"]
    ended = sora("poll", "--all")
    assert (ended.code, ended.document) == (6, {"jobs": []})
    assert f"sora-ledger reconcile {lost}" in ended.error


def test_poll_all_tells_of_a_render_that_it_cannot_ask_for(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = server()
    sora("create", "--prompt", "a fox in snow")
    monkeypatch.setenv("OPENAI_BASE_URL", running.base_url.replace("127.0.0.1", "localhost"))
    ended = sora("poll", "--all", "--poll-interval", "0.05")
    assert ended.code != 0
    assert ended.document["jobs"][0]["trouble"] is not None


@pytest.mark.parametrize("more", [["job_01"], ["--out", "clip.mp4"], ["--dry-run"]])
def test_poll_all_refuses_what_is_about_one_job(sora: Sora, two: list[str], more: list[str]) -> None:
    assert sora("poll", "--all", *more).code == 2
