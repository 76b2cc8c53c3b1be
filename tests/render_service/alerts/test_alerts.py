"""People are told of each occasion once, by webhook, message and e-mail."""

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from decision.rules.policy import Policy, default_policy
from ledger.job import Job
from ledger.terms import State
from render_service.alerts import alerter as alerter_module
from render_service.alerts.alerter import Alerter
from render_service.alerts.targets import Targets, read_targets
from render_service.notifications.addresses import AddressRefused
from render_service.notifications.dead_letters import outbox_document, send_again
from render_service.recovery.findings import Finding
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import set_limit
from render_service.rules.opening import activate
from render_service.rules.policies import InForce, Rules
from render_service.runtime.errors import BadInput
from render_service.session.session import Session
from render_service.submission.resume import cancel
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer
from tests.certificates import LOOPBACK, certificate
from tests.conftest import Faults
from tests.receiver import Receiver
from tests.render_service.alerts.conftest import Mailbox, alerted, mail_to, targets

pytestmark = pytest.mark.anyio
PROMPT = "a quixotic fox"
FINDING = Finding("VIDEO_UNCLAIMED", "video_1", "words of a server", "sora-ledger adopt --id video_1")


@pytest.fixture
def held(permitting: Session, request_for: Callable[..., RenderRequest]) -> Callable[..., Awaitable[Job]]:
    """Hold a request, and return its job."""

    async def hold(**changes: Any) -> Job:
        rule = [{"code": "FINALS", "purposes": ["final"]}]
        policy = Policy.model_validate({**default_policy().model_dump(), "approvals": rule})
        rules = Rules(policy, permitting.catalog)
        activate(permitting.settings, permitting.trace, permitting.clock(), rules, "for a test")
        at = replace(permitting, in_force=InForce(permitting.ledger))
        return (await place(at, request_for(prompt=PROMPT, purpose="final", **changes))).job

    return hold


def notices(receiver: Any) -> list[dict[str, Any]]:
    return [one.event for one in receiver.received if one.status == 200]


async def test_a_held_render_is_announced_to_each_target_in_its_form(
    permitting: Session,
    receiver: Callable[..., Receiver],
    mailbox: Mailbox,
    held: Callable[..., Awaitable[Job]],
) -> None:
    hook, slack = receiver(), receiver()
    to = targets(webhook={"url": hook.url}, slack={"url": slack.url}, email=mail_to(mailbox))
    await alerted(permitting, to)
    job = await held()
    await alerted(permitting, to)
    [notice] = notices(hook)
    assert (notice["object"], notice["occasion"], notice["job_id"]) == ("alert", "held", job.job_id)
    assert notice["do"] == f"sora-ledger approve {job.job_id}"
    [message] = slack.received
    assert list(message.event) == ["text"]
    assert job.job_id in message.event["text"]
    [(recipients, mail)] = mailbox.mails
    assert recipients == ["ana@example.org", "bo@example.org"]
    assert (mail["Subject"], mail["From"]) == ("[sora-ledger] A render needs approval", "ledger@example.org")
    assert f"sora-ledger approve {job.job_id}" in mail.get_content()
    assert PROMPT not in hook.received[0].body.decode() + message.body.decode() + mail.as_string()


async def test_an_occasion_is_announced_once_however_many_processes_and_restarts_there_are(
    permitting: Session,
    at: Callable[[str], Session],
    receiver: Callable[..., Receiver],
    held: Callable[..., Awaitable[Job]],
) -> None:
    there = receiver()
    to = targets(webhook={"url": there.url})
    await alerted(permitting, to)
    await held()
    other = replace(at(str(permitting.settings.base_url)), settings=permitting.settings)
    await asyncio.gather(*(alerted(session, to) for session in (permitting, other) * 3))
    await alerted(permitting, to)
    assert [notice["occasion"] for notice in notices(there)] == ["held"]


async def test_a_new_installation_says_nothing_of_what_happened_before(
    permitting: Session, receiver: Callable[..., Receiver], held: Callable[..., Awaitable[Job]]
) -> None:
    there = receiver()
    await held()
    await alerted(permitting, targets(webhook={"url": there.url}))
    assert there.received == []


async def test_a_failed_render_is_shown_with_its_next_step(
    permitting: Session,
    at: Callable[[str], Session],
    sandbox: Callable[..., SandboxServer],
    receiver: Callable[..., Receiver],
    stored: Callable[[Session], Any],
) -> None:
    there = receiver()
    to = targets(webhook={"url": there.url})
    await alerted(permitting, to)
    failing = at(sandbox(faults=("create=failing",)).base_url)
    job = await stored(failing)
    await alerted(permitting, to)
    [notice] = notices(there)
    assert (notice["occasion"], notice["do"]) == ("failed", f"sora-ledger whynot {job.job_id}")
    assert "ended as failed" in notice["text"]


async def test_what_a_person_decided_is_no_failure(
    permitting: Session, receiver: Callable[..., Receiver], request_for: Callable[..., RenderRequest]
) -> None:
    there = receiver()
    to = targets(webhook={"url": there.url})
    await alerted(permitting, to)
    placed = await place(permitting, request_for(), queue=True)
    await cancel(permitting, placed.job)
    await alerted(permitting, to)
    assert there.received == []


async def test_an_outcome_that_stays_unknown_is_announced_once_after_the_time_of_the_file(
    permitting: Session,
    at: Callable[[str], Session],
    faults: Faults,
    receiver: Callable[..., Receiver],
    request_for: Callable[..., RenderRequest],
) -> None:
    there = receiver()
    to = targets(webhook={"url": there.url})
    losing = at(faults.then(500).base_url)
    job = (await place(losing, request_for())).job
    assert job.state is State.UNKNOWN

    async def after(minutes: int) -> list[Any]:
        later = replace(permitting, clock=lambda: permitting.clock() + timedelta(minutes=minutes))
        await alerted(later, to)
        return [notice["do"] for notice in notices(there)]

    assert await after(29) == []
    assert await after(31) == [f"sora-ledger reconcile {job.job_id}"]
    assert await after(60) == [f"sora-ledger reconcile {job.job_id}"]


def allow(session: Session, usd_micros: int, name: str = "all") -> None:
    budget = read_name(name, Period.NONE)
    set_limit(session.ledger, budget, usd_micros, None, session.clock(), session.provenance)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(506_000, []), (500_000, ["The budget all is at 80 %"]), (400_000, ["The budget all is at 100 %"])],
)
async def test_a_budget_is_announced_at_80_and_at_100_percent(
    permitting: Session,
    receiver: Callable[..., Receiver],
    request_for: Callable[..., RenderRequest],
    limit: int,
    expected: list[str],
) -> None:
    there = receiver()
    allow(permitting, limit)
    await place(permitting, request_for(), queue=True)  # it reserves 0.40 USD
    for _ in range(2):
        await alerted(permitting, targets(webhook={"url": there.url}))
    assert [notice["title"] for notice in notices(there)] == expected


async def test_a_new_limit_of_a_budget_is_a_new_occasion(
    permitting: Session, receiver: Callable[..., Receiver], request_for: Callable[..., RenderRequest]
) -> None:
    there = receiver()
    allow(permitting, 400_000)
    await place(permitting, request_for(), queue=True)
    await alerted(permitting, targets(webhook={"url": there.url}))
    allow(permitting, 480_000)
    await alerted(permitting, targets(webhook={"url": there.url}))
    titles = [notice["title"] for notice in notices(there)]
    assert titles == ["The budget all is at 100 %", "The budget all is at 83 %"]


async def test_a_target_is_told_only_of_its_occasions_and_teams(
    permitting: Session,
    receiver: Callable[..., Receiver],
    request_for: Callable[..., RenderRequest],
    held: Callable[..., Awaitable[Job]],
) -> None:
    film, failures, games = receiver(), receiver(), receiver()
    to = Targets.model_validate(
        {
            "version": 1,
            "webhook": [
                {"name": "film", "url": film.url, "teams": ["film"]},
                {"name": "failures", "url": failures.url, "occasions": ["failed"]},
                {"name": "games", "url": games.url, "teams": ["games"], "occasions": ["budget", "held"]},
            ],
        }
    )
    await alerted(permitting, to)
    allow(permitting, 400_000, "team_film")
    await place(
        replace(permitting, settings=replace(permitting.settings, team="film")), request_for(), queue=True
    )
    await held()
    await alerted(permitting, to)
    assert [notice["title"] for notice in notices(film)] == ["The budget team_film is at 100 %"]
    assert failures.received == games.received == []


async def test_an_alert_that_is_not_accepted_is_sent_again_under_the_same_id(
    permitting: Session, receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerter_module, "wait_ms", lambda _: 0)
    there = receiver(answer=lambda number: 503 if number == 1 else 200)
    to = targets(webhook={"url": there.url})
    await alerted(permitting, to, findings=[FINDING])
    await alerted(permitting, to)
    first, second = there.received
    assert first.event["id"] == second.event["id"]
    assert permitting.ledger.store.outbox.tally() == (0, 0)


async def test_what_a_mail_server_refuses_for_good_is_a_dead_letter_that_can_be_sent_again(
    permitting: Session, mailbox: Mailbox
) -> None:
    mailbox.refuses = "550 no such person"
    to = targets(email=mail_to(mailbox))
    await alerted(permitting, to, findings=[FINDING])
    [letter] = outbox_document(permitting.ledger)["dead_letters"]
    assert (letter["endpoint_id"], letter["webhook_type"], letter["attempts"]) == (
        "alert:email",
        "finding",
        1,
    )
    mailbox.refuses = None
    send_again(permitting, [letter["delivery_id"]])
    await alerted(permitting, to)
    [(_, mail)] = mailbox.mails
    assert mail["Message-ID"] == f"<{letter['delivery_id']}@example.org>"


async def test_a_mail_server_that_is_busy_is_asked_again(
    permitting: Session, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerter_module, "wait_ms", lambda _: 0)
    mailbox.refuses = "450 later"
    to = targets(email=mail_to(mailbox))
    await alerted(permitting, to, findings=[FINDING])
    assert outbox_document(permitting.ledger) == {"waiting": 1, "dead_letters": []}
    mailbox.refuses = None
    await alerted(permitting, to)
    assert len(mailbox.mails) == 1


async def test_a_mail_server_without_tls_gets_nothing_where_tls_is_wanted(
    permitting: Session, mailbox: Mailbox
) -> None:
    await alerted(permitting, targets(email=mail_to(mailbox, tls="starttls")), findings=[FINDING])
    assert (mailbox.attempts, mailbox.mails) == (1, [])
    assert permitting.ledger.store.outbox.tally() == (1, 0)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(("name", "mails"), [(LOOPBACK, 1), ("mail.example.org", 0)])
async def test_a_mail_is_sent_by_tls_to_the_server_whose_name_the_certificate_has(
    permitting: Session,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tls: str,
    name: str,
    mails: int,
) -> None:
    file = certificate(tmp_path, name)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    setattr(mailbox, tls, context)
    await alerted(permitting, targets(email=mail_to(mailbox, tls=tls)), findings=[FINDING])
    assert (mailbox.attempts, mailbox.encrypted, len(mailbox.mails)) == (1, mails, mails)
    assert permitting.ledger.store.outbox.tally() == (1 - mails, 0)


async def test_a_running_process_tells_of_what_is_recorded_meanwhile(
    permitting: Session, receiver: Callable[..., Receiver], held: Callable[..., Awaitable[Job]]
) -> None:
    there, stop = receiver(), asyncio.Event()
    async with Alerter(permitting, targets(webhook={"url": there.url})) as alerter:
        await alerter.announce()
        running = asyncio.create_task(alerter.run(stop))
        job = await held()
        await asyncio.to_thread(there.wait_for, 1)
        stop.set()
        await running
    assert there.received[0].event["job_id"] == job.job_id


async def test_a_webhook_is_signed_with_the_secret_of_its_variable(
    permitting: Session, receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
    there = receiver()
    monkeypatch.setenv("THERE_SECRET", secret)
    monkeypatch.setenv("THERE_URL", there.url)
    to = targets(webhook={"url_env": "THERE_URL", "signing_secret_env": "THERE_SECRET"})
    await alerted(permitting, to, findings=[FINDING])
    assert there.received[0].is_signed_with(secret)


async def test_nobody_on_this_machine_is_told_unless_that_is_permitted(
    session: Session, receiver: Callable[..., Receiver], mailbox: Mailbox
) -> None:
    for to in (targets(webhook={"url": receiver().url}), targets(email=mail_to(mailbox))):
        with pytest.raises(AddressRefused, match="SORA_LEDGER_PRIVATE_ENDPOINTS=allow permits"):
            await alerted(session, to, findings=[FINDING])
    with pytest.raises(AddressRefused, match="which is not public"):
        await alerted(session, targets(email=mail_to(mailbox, tls="starttls")))
    assert mailbox.attempts == 0


EMAIL = "version = 1\n[[email]]\nname = 'a'\nserver = 'mail'\nfrom = 'a@b.org'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 1", "expected at least one target"),
        ("version = 1\n[[slack]]\nname = 'a'", "line 2, slack.0: expected either url, or url_env"),
        ("version = 1\n[[slack]]\nname = 'a'\nurl = 'x'\noccasions = ['fun']", "line 5, .*'held', 'failed'"),
        (EMAIL, "line 2, email.0.to: Field required"),
        (EMAIL + "to = ['ana']", "line 6, .*'ana': expected an e-mail address"),
        (EMAIL + "to = ['a@b.org, c@d.org']", "line 6, .*expected an e-mail address"),
        (EMAIL + "to = ['a@b.org']\nuser = 'me'", "user and password_env belong together"),
        (
            EMAIL + "to = ['a@b.org']\nuser = 'me'\npassword_env = 'P'\ntls = 'none'",
            "a password is sent only with tls",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "alerts.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_targets(file)


async def test_a_finding_of_an_audit_is_announced_once_and_without_the_words_of_a_server(
    permitting: Session, receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    to = targets(webhook={"url": there.url})
    await alerted(permitting, to, findings=[FINDING])
    await alerted(permitting, to, findings=[FINDING, replace(FINDING, subject="video_2")])
    assert [notice["title"] for notice in notices(there)] == ["Audit finding VIDEO_UNCLAIMED"] * 2
    assert "words of a server" not in json.dumps(notices(there))
