"""Checkpoints that strangers cosign: real processes, and witnesses that share no code with the product."""

import json
import re
import signal
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.forks import CODE
from tests.outside.conftest import Gateway, Outside, Person, Witness, write_policy

PUBLISH = ("checkpoint", "--key", "signing.key", "--publish", "checkpoint.txt", "--witnesses", "policy")


def grow(person: Person, number: int) -> None:
    assert person("record", "elsewhere", "--video-id", f"video_{number}").code == 0


def signers(person: Person) -> list[str]:
    """Return the names on the published checkpoint's signature lines."""
    lines = (person.folder / "checkpoint.txt").read_text(encoding="utf-8").rpartition("\n\n")[2].splitlines()
    return [line.split(" ")[1].partition(".")[0] for line in lines]


def witnessed(person: Person) -> list[Any]:
    records = person("log", "--stream", "checks").document["records"]
    return [each["payload"] for each in records if each["type"] == "checkpoint.witnessed"]


def refused(person: Person, code: int) -> str:
    """Publish, which ends with `code` and leaves neither a checkpoint nor a record; return the message."""
    before = sorted(person.folder.glob("checkpoint.txt*"))
    records = len(person("log").document["records"])
    ended = person(*PUBLISH)
    assert (ended.code, sorted(person.folder.glob("checkpoint.txt*"))) == (code, before)
    assert len(person("log").document["records"]) == records
    return str(ended.document["error"]["message"])


def test_a_checkpoint_is_published_with_the_cosignatures_of_all_witnesses_and_recorded(
    person: Person, witnesses: list[Witness]
) -> None:
    done = person(*PUBLISH)
    assert (done.code, signers(person)[1:]) == (0, ["north", "south", "east"])
    assert [each["cosigned"] for each in done.document["witnesses"]] == [True] * 3
    [event] = witnessed(person)
    assert event["checkpoint"] == (person.folder / "checkpoint.txt").read_text(encoding="utf-8")
    assert [(each["witness"], each["key"]) for each in event["cosignatures"]] == [
        (each.name, each.key) for each in witnesses
    ]
    assert person("verify").code == 0


def test_the_next_checkpoint_is_proved_from_the_one_that_was_witnessed(
    person: Person, witnesses: list[Witness]
) -> None:
    first = person(*PUBLISH).document["size"]
    grow(person, 2)
    second = person(*PUBLISH).document["size"]
    assert witnesses[0].requests() == [{"old": 0, "size": first}, {"old": first, "size": second}]


def test_a_witness_at_another_size_is_asked_again_from_there(
    person: Person, witnesses: list[Witness]
) -> None:
    person(*PUBLISH)
    grow(person, 2)
    witnesses[0].stop()
    assert person(*PUBLISH).code == 0
    assert signers(person)[1:] == ["south", "east"]
    witnesses[0].start()
    grow(person, 3)
    assert person(*PUBLISH).code == 0
    assert signers(person)[1:] == ["north", "south", "east"]
    assert len(witnesses[0].requests()) == 2  # from the wrong size, then from its own


def test_a_witness_that_lost_its_state_is_asked_from_the_beginning(
    person: Person, witnesses: list[Witness]
) -> None:
    person(*PUBLISH)
    witnesses[0].stop()
    (witnesses[0].folder / "state.json").unlink()
    witnesses[0].start()
    grow(person, 2)
    assert person(*PUBLISH).code == 0
    assert [each["old"] for each in witnesses[0].requests()][-1] == 0
    assert "north" in signers(person)


def test_a_witness_that_names_ever_other_sizes_is_given_up(person: Person, witnesses: list[Witness]) -> None:
    write_policy(person, witnesses, "all")
    person(*PUBLISH)
    grow(person, 2)
    witnesses[2].behave(conflicts=[1, 2, 1, 2, 1, 2])
    ended = person(*PUBLISH)
    assert (ended.code, "east named another size 4 times" in ended.err) == (8, True)


REFUSALS = (
    ({"status": 403}, "does not know the key that signed"),
    ({"status": 404}, "does not know the log"),
    ({"status": 503}, "answered 503 (as told)"),
    ({"lie": "signature"}, "the signature of south.example/w is invalid"),
    ({"lie": "text"}, "the signature of south.example/w is invalid"),
    ({"lie": "key"}, "signed with another key"),
    ({"lie": "time"}, "check both clocks"),
    ({"lie": "future"}, "check both clocks"),
    ({"lie": "garbage"}, "something else than its cosignature"),
    ({"lie": "endless"}, "has more than 65536 bytes"),
)


def test_too_few_cosignatures_publish_and_record_nothing_and_say_who_answered_what(
    person: Person, witnesses: list[Witness]
) -> None:
    witnesses[0].stop()
    records = len(person("log").document["records"])
    for behaviour, words in REFUSALS:
        witnesses[1].behave(**{"status": None, "lie": None, **behaviour})
        ended = person(*PUBLISH)
        message = ended.document["error"]["message"]
        assert (ended.code, (person.folder / "checkpoint.txt").exists()) == (8, False)
        assert "1 of 3 witnesses cosigned, and the policy wants 2 of north, south, east" in message
        assert all(part in message for part in ("north could not be asked", words, "east cosigned"))
    assert len(person("log").document["records"]) == records


def test_one_witness_that_lies_does_not_stop_the_others(person: Person, witnesses: list[Witness]) -> None:
    witnesses[1].behave(lie="signature")
    done = person(*PUBLISH)
    assert (done.code, signers(person)[1:]) == (0, ["north", "east"])
    assert "witness south answered with something else" in done.err


def test_a_slow_witness_is_not_waited_for_once_the_others_are_enough(
    person: Person, witnesses: list[Witness]
) -> None:
    witnesses[1].behave(wait_s=60)
    done = person(*PUBLISH)
    assert (done.code, signers(person)[1:]) == (0, ["north", "east"])
    assert done.document["witnesses"][1]["problem"] == "had not answered when the others had"


def restore(person: Person, copy: bytes) -> None:
    """Put an old copy of the ledger back."""
    for path in person.folder.glob("ledger.db*"):
        path.unlink()
    (person.folder / "ledger.db").write_bytes(copy)


def test_a_rewritten_ledger_gets_no_cosignature(person: Person, witnesses: list[Witness]) -> None:
    before = (person.folder / "ledger.db").read_bytes()
    grow(person, 2)
    person(*PUBLISH)
    published = (person.folder / "checkpoint.txt").read_bytes()
    restore(person, before)
    for number in (7, 8, 9):
        grow(person, number)
    (person.folder / "checkpoint.txt").unlink()
    message = refused(person, 10)
    assert re.search(
        r"north refuses: the . records it cosigned last are not the beginning of this ledger", message
    )
    (person.folder / "checkpoint.txt").write_bytes(published)
    split = person("checkpoint", "--check", "checkpoint.txt", "--witnesses", "policy")
    assert (split.code, split.document["split_view"]) == (10, True)


def test_a_cut_ledger_gets_no_cosignature(person: Person, witnesses: list[Witness]) -> None:
    before = (person.folder / "ledger.db").read_bytes()
    grow(person, 2)
    person(*PUBLISH)
    restore(person, before)
    (person.folder / "checkpoint.txt").unlink()
    cut = r"north has cosigned \d+ records of this log, and this ledger has \d+: its tail was cut"
    assert re.search(cut, refused(person, 10))


def test_two_processes_that_publish_at_once_both_end_well(person: Person, witnesses: list[Witness]) -> None:
    running = [person.start(*PUBLISH) for _ in range(3)]
    ended = [process.communicate(60)[1] for process in running]
    assert ([process.wait() for process in running], ended and len(witnessed(person))) == ([0, 0, 0], 3)
    assert person("checkpoint", "--check", "checkpoint.txt", "--witnesses", "policy").code == 0


def test_a_witness_with_a_new_key_counts_once_the_policy_names_it(
    person: Person, witnesses: list[Witness]
) -> None:
    witnesses[0].stop()
    (witnesses[0].folder / "seed").unlink()
    witnesses[0].start()
    done = person(*PUBLISH)
    assert "witness north signed with another key" in done.err
    write_policy(person, witnesses, "all")
    assert person(*PUBLISH).code == 0
    assert signers(person)[1:] == ["north", "south", "east"]


def test_readers_count_cosignatures_by_their_own_policy(person: Person, witnesses: list[Witness]) -> None:
    witnesses[2].stop()
    person(*PUBLISH)
    check = ("checkpoint", "--check", "checkpoint.txt", "--witnesses", "policy")
    assert person(*check).document["cosigned_by"] == ["north", "south"]
    write_policy(person, witnesses, "all")
    ended = person(*check)
    assert (ended.code, ended.document["cosigned_by"]) == (10, ["north", "south"])
    assert ended.document["trouble"] == [
        "witnesses: cosigned by north, south, and the policy wants 3 of north, south, east"
    ]


def test_a_proof_under_a_cosigned_checkpoint_is_counted_without_the_ledger(
    person: Person, witnesses: list[Witness]
) -> None:
    person(*PUBLISH)
    person("prove", "2", "--checkpoint", "checkpoint.txt", "--out", "proof")
    (person.folder / "ledger.db").unlink()
    checked = person("prove", "--check", "proof", "--witnesses", "policy")
    assert (checked.code, checked.document["cosigned_by"]) == (0, ["north", "south", "east"])


def test_verify_and_bundles_count_cosignatures_by_the_policy_of_the_reader(
    person: Person, witnesses: list[Witness]
) -> None:
    witnesses[2].stop()
    person(*PUBLISH)
    person("export", "--all", "--out", "evidence.zip", "--checkpoint", "checkpoint.txt")
    readings = (
        ("verify", "--against", "checkpoint.txt", "--witnesses", "policy"),
        ("verify-bundle", "evidence.zip", "--witnesses", "policy"),
    )
    for reading in readings:
        checked = person(*reading)
        assert (checked.code, checked.document["cosigned_by"]) == (0, ["north", "south"])
    write_policy(person, witnesses, "all")
    for reading in readings:
        checked = person(*reading)
        codes = [each["code"] for each in checked.document["findings"]]
        assert (checked.code, codes) == (10, ["CHECKPOINT_WITNESSES"])


def test_a_cosignature_key_verifies_a_checkpoint_like_any_other_key(
    person: Person, witnesses: list[Witness]
) -> None:
    person(*PUBLISH)
    check = ("checkpoint", "--check", "checkpoint.txt", "--verifier", witnesses[1].key)
    assert person(*check).document["signed_by"] == ["south.example/w"]


def test_the_setting_makes_every_publication_ask(person: Person, witnesses: list[Witness]) -> None:
    done = person.with_(SORA_LEDGER_WITNESSES="policy", SORA_LEDGER_KEY="signing.key")(
        "checkpoint", "--publish", "checkpoint.txt", "--record"
    )
    assert (done.code, signers(person)[1:]) == (0, ["north", "south", "east"])
    published = person("log", "--stream", "checks").document["records"][-1]
    assert (published["type"], len(published["payload"]["signed_by"])) == ("checkpoint.published", 4)


def test_a_broken_policy_asks_nobody_and_is_an_error_that_names_the_line(
    person: Person, witnesses: list[Witness]
) -> None:
    (person.folder / "policy").write_text("# nobody\nquorum nobody\n")
    message = refused(person, 2)
    assert message.startswith("witness policy policy: line 2: 'nobody' is neither a witness nor a group")


def test_a_policy_without_addresses_for_its_quorum_asks_nobody(
    person: Person, witnesses: list[Witness]
) -> None:
    text = (person.folder / "policy").read_text()
    (person.folder / "policy").write_text(re.sub(r" http://\S+", "", text))
    assert "the witnesses with an address are not enough" in refused(person, 2)
    assert json.dumps([each.requests() for each in witnesses]) == "[[], [], []]"


def test_witnesses_are_not_asked_about_an_unsigned_checkpoint(
    person: Person, witnesses: list[Witness]
) -> None:
    ended = person("checkpoint", "--publish", "checkpoint.txt", "--witnesses", "policy")
    assert (ended.code, "witnesses cosign signed checkpoints only" in ended.err) == (2, True)


def test_a_worker_publishes_on_its_schedule_and_goes_on_when_the_witnesses_are_away(
    person: Person, witnesses: list[Witness]
) -> None:
    write_policy(person, witnesses, "all")
    witnesses[0].stop()
    worker = person.with_(SORA_LEDGER_WITNESSES="policy", SORA_LEDGER_KEY="signing.key").start(
        "worker", "--publish", "checkpoint.txt", "--publish-every", "1"
    )
    try:
        assert worker.stderr is not None
        assert any("checkpoint.not_published" in line for line in worker.stderr)
    finally:
        worker.terminate()
        worker.communicate(60)
    assert not (person.folder / "checkpoint.txt").exists()
    witnesses[0].start()
    worker = person.with_(SORA_LEDGER_WITNESSES="policy", SORA_LEDGER_KEY="signing.key").start(
        "worker", "--publish", "checkpoint.txt", "--publish-every", "1"
    )
    try:
        assert worker.stderr is not None
        assert any('"checkpoint.published"' in line for line in worker.stderr)
    finally:
        worker.terminate()
        worker.communicate(60)
    assert signers(person)[1:] == ["north", "south", "east"]
    kinds = [each["type"] for each in person("log", "--stream", "checks").document["records"]]
    assert kinds == ["checkpoint.witnessed", "checkpoint.published"]


KILLED = """
import os, signal, sys
from ledger.log.ledger import Ledger
from render_service.evidence import publishing

append, put = Ledger.append, publishing.put
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def append_and_die(*arguments, **options):
    append(*arguments, **options)
    die()
where = sys.argv.pop(1)
if where == "witnessed":
    Ledger.append = die
elif where == "recorded":
    publishing.put = die
elif where == "published":
    publishing.put = lambda *arguments: (put(*arguments), die())
from cli.main import main
main()
"""


@pytest.mark.parametrize("where", ["witnessed", "recorded", "published"])
def test_a_kill_between_witnessing_and_publishing_leaves_nothing_untrue_and_the_next_run_publishes(
    person: Person, witnesses: list[Witness], where: str
) -> None:
    grow(person, 1)
    head = person("checkpoint").document["size"]
    code, _, errors = person.forks.run(
        [KILLED, where, *PUBLISH], person.folder, person.environment, program=CODE
    )
    assert code == -signal.SIGKILL, errors
    assert all(len(each.requests()) == 1 for each in witnesses)
    recorded = witnessed(person)
    assert [each["size"] for each in recorded] == ([] if where == "witnessed" else [head])
    assert (person.folder / "checkpoint.txt").exists() == (where == "published")
    assert not [*person.folder.glob(".checkpoint.txt*")]
    assert person("verify", "--with-assets").code == 0
    assert person(*PUBLISH).code == 0
    assert signers(person)[1:] == ["north", "south", "east"]
    checked = person("checkpoint", "--check", "checkpoint.txt", "--witnesses", "policy")
    assert (checked.code, person("verify").code) == (0, 0)


def test_a_served_log_shows_the_checkpoint_that_witnesses_cosigned_and_a_monitor_follows_it(
    person: Person, witnesses: list[Witness], outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    options = ("--tiles", "--key", "signing.key", "--no-work")
    served = gateway(outside(), *options, SORA_LEDGER_WITNESSES="policy")
    address = f"http://127.0.0.1:{served.port}/log"
    early = httpx2.get(f"{address}/checkpoint", timeout=60)
    assert (early.status_code, "retry-after" in early.headers) == (503, True)
    assert person(*PUBLISH).code == 0
    grow(person, 2)
    cosigned = (person.folder / "checkpoint.txt").read_text(encoding="utf-8")
    assert httpx2.get(f"{address}/checkpoint", timeout=60).text == cosigned
    followed = person("monitor", address, "--state", "state.json")
    assert (followed.code, followed.document["size"]) == (0, int(cosigned.splitlines()[1]))
    assert person(*PUBLISH).code == 0
    assert person("monitor", address, "--state", "state.json").document["size"] > followed.document["size"]
