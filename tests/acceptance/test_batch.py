"""A batch that is killed half-way: nothing is sent twice, and nothing is left out."""

from collections import Counter
from collections.abc import Callable

import httpx2

from tests.acceptance.conftest import Place
from tests.forks import Running

ENTRIES = 12
BATCH = ["create-batch", "--input", "prompts.jsonl", "--out-dir", "out", "--concurrency", "3"]
TO_THE_END = ["--resume", "--poll", "--poll-interval", "0.05"]


def creates(origin: str) -> int:
    return int(httpx2.get(f"{origin}/_sandbox/requests").json().get("creates", 0))


def videos(origin: str) -> int:
    """Return how many videos exist; a create is counted before, while its body still arrives."""
    return len(httpx2.get(f"{origin}/_sandbox/jobs").json()["data"])


def test_a_batch_killed_half_way_and_resumed_asks_once_for_every_entry(
    place: Place, own_sandbox: Callable[..., str]
) -> None:
    origin = own_sandbox("--render-seconds", "0", "--media", "cached")
    (place.folder / "prompts.jsonl").write_text("\n".join(f"fox {number}" for number in range(ENTRIES)))
    plan = {"faults": ["create=none:4", "create=kept-but-slow@600:3"]}
    httpx2.post(f"{origin}/_sandbox/faults", json=plan).raise_for_status()
    process = place.start(*BATCH)
    while videos(origin) < 7:
        assert process.poll() is None
    process.kill()  # four were answered; three were carried out and wait for their answers
    process.wait()
    ended = place.json(*BATCH, *TO_THE_END)
    assert Counter(job["state"] for job in ended["jobs"]) == {"stored": 9, "submitting": 3}
    assert place.run(*BATCH, *TO_THE_END).returncode == 6  # a video may exist: it is not asked for again
    assert creates(origin) == ENTRIES
    assert place.is_intact()


def test_ctrl_c_in_a_batch_says_how_to_go_on(
    place: Place,
    own_sandbox: Callable[..., str],
    seen: Callable[[Running, str], str],
    interrupt: Callable[[Running], int],
) -> None:
    origin = own_sandbox("--render-seconds", "60", "--media", "cached")
    (place.folder / "prompts.jsonl").write_text("\n".join(f"fox {number}" for number in range(ENTRIES)))
    process = place.start(*BATCH, "--poll")
    seen(process, "submission.accepted")
    assert interrupt(process) == 130
    assert place.run(*BATCH, "--resume").returncode == 0
    assert creates(origin) == ENTRIES
