"""The page Operations: what needs a person, what the person does there, and what other roles see of it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ledger.log.opening import open_or_create
from ledger.record import ActorSource, Authority, Provenance
from ledger.store.queue import Limit
from render_service.session.session import utc_now
from tests.console.conftest import Console, Studio, serving
from tests.outside.authority import Authority as Clock
from tests.outside.conftest import Outside, Witness, write_policy

WHO = Provenance("test", ActorSource.FLAG, Authority.HUMAN, "1" * 32, "2" * 16)


@pytest.fixture
def lost(outside: Callable[..., Outside], studio: Studio, tmp_path: Path) -> tuple[Outside, Studio, str]:
    """Return a studio whose server created a video for `fox`, and whose answers about it were lost."""
    server = outside(creates=["lost-answer"])
    copy = studio.copy(tmp_path / "work")
    copy.environment = copy.environment | {
        "SORA_LEDGER_PROFILE": "custom",
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "sk-outside-0123456789",
    }
    job = copy("create", "--prompt", "a lost <b>fox</b>", "--team=film", "--actor=ana", code=6)["job_id"]
    return server, copy, job


def test_the_page_says_that_nothing_is_open(shared: Console) -> None:
    with shared.reader("olga") as olga, shared.reader("ana") as ana:
        view = olga.get("/operations.json").json()
        assert (view["open_attempts"], view["overdue"], view["jobs"]["denied"]) == ([], [], 1)
        assert "Every submission has an outcome." in olga.get("/operations").text
        assert (ana.get("/operations").status_code, ana.get("/operations.json").status_code) == (403, 403)


def test_a_lost_submission_is_settled_by_asking_the_server(lost: tuple[Outside, Studio, str]) -> None:
    server, studio, job = lost
    with serving(studio) as console, console.client("olga") as olga, console.reader("olga") as reader:
        (shown,) = reader.get("/operations.json").json()["open_attempts"]
        assert (shown["job_id"], shown["state"], shown["cost_usd_micros"]) == (job, "unknown", 400_000)
        page = olga.get("/operations").text
        assert ("a lost &lt;b&gt;fox&lt;/b&gt;" in page, f'href="/console/inbox/{job}"' in page) == (
            True,
            True,
        )
        asked = olga.act("/operations/look", {}, page="/operations")
        assert asked.status_code == 303
        assert f"{job}: recovered" in olga.get("/operations").text
        assert reader.get("/operations.json").json()["open_attempts"] == []
    assert len(server.bills()) == 1
    studio("verify")


def test_a_video_that_is_described_differently_is_taken_only_when_that_is_confirmed(
    lost: tuple[Outside, Studio, str],
) -> None:
    server, studio, job = lost
    other = server.create("a red kite over the sea", seconds="8")["id"]
    with serving(studio) as console, console.client("olga") as olga, console.reader("olga") as reader:
        page, named = f"/inbox/{job}", {"choice": "found", "video_id": other}
        refused = olga.act(f"{page}/settle", named, page=page)
        assert (refused.status_code, "differs from the request" in refused.text) == (400, True)
        assert len(reader.get("/operations.json").json()["open_attempts"]) == 1
        olga.act(f"{page}/settle", named | {"force": "yes"}, page=page)
        assert reader.get("/operations.json").json()["open_attempts"] == []
    records = studio("log", "--job", job)["records"]
    recorded = [each for each in records if each["type"] == "submission.recovered"]
    assert [(each["actor"], each["actor_source"]) for each in recorded] == [("olga", "access_key")]
    studio("verify")


def test_an_operator_of_another_team_sees_and_settles_nothing_of_it(
    lost: tuple[Outside, Studio, str],
) -> None:
    _, studio, job = lost
    studio.grant("otto", "--role=operator", "--team=ads")
    with serving(studio) as console, console.client("otto") as otto, console.reader("otto") as reader:
        view = reader.get("/operations.json").json()
        assert (view["open_attempts"], view["queue"], view["jobs"], view["deliveries"]) == (
            [],
            None,
            None,
            None,
        )
        asked = otto.act("/operations/look", {}, page="/operations")
        assert (asked.status_code, "No submission is open." in otto.get("/operations").text) == (303, True)
        assert otto.get(f"/inbox/{job}").status_code == 404
        letters = otto.act("/operations/send-again", {"delivery_id": "all"}, page="/operations")
        assert letters.status_code == 403
        assert otto.act("/operations/verify", {}, page="/operations").status_code == 403


def test_the_page_says_when_the_record_was_last_checked_and_by_whom(studio: Studio, tmp_path: Path) -> None:
    copy = studio.copy(tmp_path / "work")
    with serving(copy) as console, console.reader("olga") as olga:
        assert olga.get("/operations.json").json()["checks"] == dict.fromkeys(
            ("verified", "published", "witnessed", "timestamped")
        )
        assert olga.get("/operations").text.count("None recorded") == 2
        verified = copy("verify", "--record", "--with-assets", "--actor=nina")
        copy("key", "new", "signing.key", "--name", "studio.example")
        copy("checkpoint", "--key", "signing.key", "--publish", "out.checkpoint", "--record", "--actor=nils")
        checks = olga.get("/operations.json").json()["checks"]
        size = verified["size"]
        last = checks["verified"]
        assert (last["by"], last["size"], last["files"]) == ("nina", size, verified["files"])
        assert (last["newer"], last["is_old"]) == (2, False)
        last = checks["published"]
        assert (last["by"], last["size"], last["newer"]) == ("nils", size + 1, 1)
        assert (last["signed_by"], last["cosigned_by"]) == (["studio.example"], [])
        assert last["target"] == (copy.folder / "out.checkpoint").as_uri()
        page = olga.get("/operations").text
        assert all(word in page for word in ("nina", "out.checkpoint", "None asked")), page
    copy("verify")


def test_the_page_counts_cosignatures_and_checks_dates_by_what_this_server_trusts(
    studio: Studio, tmp_path: Path
) -> None:
    copy = studio.copy(tmp_path / "work")
    key = copy("key", "new", "signing.key")
    running = [
        Witness(name, tmp_path / name, (key["name"], key["verifier"]), copy.forks)
        for name in ("north", "south")
    ]
    for witness in running:
        witness.start()
    write_policy(copy, running, "1")
    with Clock(tmp_path / "clock") as clock:
        believed = ("--timestamp", clock.url, "--tsa-chain", str(clock.root))
        publish = ("checkpoint", "--key", "signing.key", "--publish", "out.checkpoint")
        running[1].stop()
        copy(*publish, "--witnesses", "policy", *believed)
        running[0].stop()
    trusted = {"SORA_LEDGER_WITNESSES": "policy", "SORA_LEDGER_TSA_CHAIN": str(clock.root)}
    with serving(copy, **trusted) as console, console.reader("olga") as olga:
        checks = olga.get("/operations.json").json()["checks"]
        seen, dated = checks["witnessed"], checks["timestamped"]
        assert (seen["cosigned_by"], seen["is_enough"], seen["rule"]) == (
            ["north"],
            True,
            "1 of north, south",
        )
        assert (dated["is_checked"], dated["authority"]) == (True, "CN=clock.example")
        page = olga.get("/operations").text
        assert all(word in page for word in ("Cosigned", "1 of north, south", "Dated"))
        write_policy(copy, running, "all")
        assert "Too few cosignatures" in olga.get("/operations").text
    with serving(copy) as console, console.reader("olga") as olga:
        page = olga.get("/operations").text
        assert all(word in page for word in ("no policy is set here", "Dated, not checked here"))


def test_a_person_has_all_records_verified_on_the_page(consoles: Callable[..., Console]) -> None:
    console = consoles("--no-work")
    file = console.studio.folder / "ledger.db"
    with console.client("olga") as olga, console.reader("olga") as reader:
        assert "sora-ledger verify" not in olga.get("/operations").text
        assert olga.act("/operations/verify", {}, page="/operations").status_code == 303
        assert "are intact" in olga.get("/operations").text
        verified = reader.get("/operations.json").json()["checks"]["verified"]
        assert (verified["by"], verified["newer"]) == ("olga", 1)
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("DROP TRIGGER events_no_update")
            db.execute("UPDATE events SET payload = CAST('{}' AS BLOB) WHERE position = 1")
        before = reader.get("/operations.json").json()["records"]
        assert olga.act("/operations/verify", {}, page="/operations").status_code == 303
        assert "Nothing was recorded. Keep the ledger unchanged" in olga.get("/operations").text
        assert reader.get("/operations.json").json()["records"] == before


def test_the_page_shows_the_limits_of_the_worker_here_and_of_all_workers(
    consoles: Callable[..., Console],
) -> None:
    elsewhere = consoles("--no-work")
    with open_or_create(f"sqlite:///{elsewhere.studio.folder}/ledger.db", WHO, utc_now()) as ledger:
        ledger.store.queue.back_off("sandbox/sora-2-pro", 60_000)
        ledger.store.queue.acquire_slot("job_1", Limit("sandbox/sora-2", running=2))
    with elsewhere.reader("olga") as olga:
        limits = olga.get("/operations.json").json()["limits"]
        sora_2, sora_2_pro = limits["paces"]
        assert (limits["here"], sora_2) == (None, {"name": "sandbox/sora-2", "running": 1, "wait_s": 0})
        assert (sora_2_pro["running"], 30 < sora_2_pro["wait_s"] <= 60) == (0, True)
    here = consoles("--per-minute", "sora-2=30", "--running", "sora-2-pro=4", "--at-once", "7")
    with here.reader("olga") as olga:
        terms = olga.get("/operations.json").json()["limits"]["here"]
        assert terms == {"at_once": 7, "per_minute": {"sora-2": 30}, "running": {"sora-2-pro": 4}}
        assert "30 requests a minute" in olga.get("/operations").text


def test_who_has_a_webhook_sent_again_is_recorded(consoles: Callable[..., Console]) -> None:
    console = consoles("--no-work", "--no-notifications")
    with closing(sqlite3.connect(console.studio.folder / "ledger.db")) as db, db:
        db.execute("INSERT INTO deliveries VALUES ('wh_1', 'whe_1', 2, 0, 31, NULL, 503)")
    with console.client("olga") as olga:
        sent = olga.act("/operations/send-again", {"delivery_id": "wh_1"}, page="/operations")
        assert (sent.status_code, "1 webhook will be sent again" in olga.get("/operations").text) == (
            303,
            True,
        )
        again = olga.act("/operations/send-again", {"delivery_id": "wh_1"}, page="/operations")
        assert (again.status_code, "not a dead letter" in again.text) == (400, True)
    (record,) = console.studio("log", "--type", "notification.resent")["records"]
    assert (record["actor"], record["actor_source"], record["stream"]) == ("olga", "access_key", "whe_1")
    assert record["payload"] == {"delivery_id": "wh_1", "endpoint_id": "whe_1"}
    console.studio("verify")
