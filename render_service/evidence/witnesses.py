"""Ask witnesses to cosign a checkpoint (C2SP tlog-witness): all in parallel, each within a time limit.

A witness remembers the last checkpoint of this log that it cosigned. It cosigns another one only if a proof
shows that the log still begins with the old one, so a rewritten ledger gets no cosignature:

1. Send the proof from the witness's last recorded size, or from 0.
2. If the witness is at another size, it answers 409 with that size. Prove from there, a few times at most:
   another process may be publishing.
3. Check the cosignature: the key that the policy names, this text, and a time that agrees with our clock.

An unchecked cosignature is not used. `Answer.problem` has each witness's problem, for the person who must
find out why a checkpoint was not published.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx2

from ledger.errors import LedgerError
from ledger.log.ledger import Ledger
from ledger.record import timestamp
from ledger.tree.checkpoint import CheckpointInvalid, Note, Signature
from ledger.tree.head import TreeHead
from ledger.tree.merkle import ProofInvalid
from ledger.tree.proof import ConsistencyProof
from ledger.tree.trust_policy import NONE, TrustPolicy, Witness
from render_service.runtime.errors import BadInput, NotIntact, NotWitnessed
from render_service.runtime.printable import printable

LONGEST_S = 10.0
"""Time limit per witness, however slowly network and witness answer."""
LATE_S = 1.0
"""How long to wait for the others once enough witnesses have cosigned."""
CLOCK_SKEW_S = 300
TRIES = 4
MOST_BYTES = 64 << 10
SIZE_DIGITS = 19


@dataclass(frozen=True)
class Answer:
    """A witness's answer: a cosignature, or a problem.

    `knows_another` is True if the witness cosigned a history that this ledger does not extend, `overtaken` if
    it cosigned a longer checkpoint of this ledger in the meantime.
    """

    witness: Witness
    cosignature: Signature | None = None
    problem: str = ""
    knows_another: bool = False
    overtaken: bool = False

    def __str__(self) -> str:
        return f"{self.witness.name} {'cosigned' if self.cosignature else self.problem}"


def check_can_be_met(policy: TrustPolicy) -> None:
    """Raise `BadInput` if the witnesses that can be asked would not be enough even if all of them cosign."""
    for witness in policy.witnesses.values():
        parts = urlsplit(witness.url or "http://none")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadInput(
                f"witness policy: {witness.name} has the address {printable(witness.url or '')!r}; "
                "expected its submission prefix, such as https://witness.example",
                param="witnesses",
                expected="its submission prefix, such as https://witness.example",
                found=printable(witness.url or ""),
            )
    if not policy.is_met({witness.name for witness in policy.witnesses.values() if witness.url}):
        raise BadInput(
            f"witness policy: the quorum is {printable(policy.rule())}, and the witnesses with an address "
            "are not enough for it; add the URL after the key of each witness to ask",
            param="witnesses",
            expected="addresses of enough witnesses",
            found=f"too few for {printable(policy.rule())}",
        )


async def ask_witnesses(
    ledger: Ledger,
    head: TreeHead,
    policy: TrustPolicy,
    last_sizes: Mapping[str, int],
    *,
    now: datetime,
    longest_s: float = LONGEST_S,
) -> list[Answer]:
    """Ask every witness of `policy` that has an address for a cosignature of `head`; never raises for one.

    `last_sizes` has the size that each witness is known to have cosigned last, by verifier key.
    """
    async with new_client([witness.url or "" for witness in policy.witnesses.values()], longest_s) as client:
        requests = [
            _WitnessRequest(client, ledger, head, witness, last_sizes.get(str(witness.verifier), 0), now)
            for witness in policy.witnesses.values()
            if witness.url
        ]
        tasks = [asyncio.create_task(request.answer(longest_s)) for request in requests]
        try:
            await _wait_for_quorum(tasks, policy)
        finally:  # also after Ctrl-C: no more requests are sent
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return [
        request.late() if task.cancelled() else task.result()
        for request, task in zip(requests, tasks, strict=True)
    ]


def new_client(urls: Sequence[str], longest_s: float) -> httpx2.AsyncClient:
    """Return a client for `urls`; certificate authorities are loaded only if one of them is https."""
    is_tls = any(url.lower().startswith("https:") for url in urls)
    tls = ssl.create_default_context() if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.AsyncClient(verify=tls, follow_redirects=False, timeout=longest_s)


async def post(
    client: httpx2.AsyncClient, url: str, content: bytes, content_type: str = "text/plain"
) -> tuple[int, bytes]:
    """Send `content`; return the status and the answer; `ValueError` if it is longer than `MOST_BYTES`."""
    body = bytearray()
    async with client.stream("POST", url, content=content, headers={"content-type": content_type}) as answer:
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise ValueError(f"its answer has more than {MOST_BYTES} bytes")
    return answer.status_code, bytes(body)


async def _wait_for_quorum(tasks: list["asyncio.Task[Answer]"], policy: TrustPolicy) -> None:
    """Wait for all answers; once the quorum is met, only a little longer."""
    waiting: set[asyncio.Task[Answer]] = set(tasks)
    cosigned: set[str] = set()
    late_s = None
    while waiting and (late_s is None or late_s > 0):
        began = time.monotonic()
        done, waiting = await asyncio.wait(waiting, timeout=late_s, return_when=asyncio.FIRST_COMPLETED)
        cosigned |= {task.result().witness.name for task in done if task.result().cosignature}
        if late_s is not None:
            late_s -= time.monotonic() - began
        elif policy.quorum != NONE and policy.is_met(cosigned):
            late_s = LATE_S


def with_cosignatures(head: TreeHead, policy: TrustPolicy, answers: list[Answer]) -> TreeHead:
    """Return `head` with the cosignatures; without enough of them, an error that says who answered what.

    It is `NotIntact` if a witness knows another history of this log, else `NotWitnessed`.
    """
    assert head.note is not None
    cosignatures = tuple(answer.cosignature for answer in answers if answer.cosignature)
    names = {answer.witness.name for answer in answers if answer.cosignature}
    if not policy.is_met(names):
        kind = NotIntact if any(answer.knows_another for answer in answers) else NotWitnessed
        raise kind(
            f"not published: {len(names)} of {len(answers)} witnesses cosigned, and the policy wants "
            f"{printable(policy.rule())}. " + "; ".join(printable(str(answer)) for answer in answers)
        )
    return TreeHead(head.checkpoint, Note(head.note.text, (*head.note.signatures, *cosignatures)).check())


class _WitnessRequest:
    """A request to one witness for its cosignature."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        ledger: Ledger,
        head: TreeHead,
        witness: Witness,
        old_size: int,
        now: datetime,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._head = head
        self._witness = witness
        self._old_size = old_size if old_size <= head.checkpoint.size else 0
        self._now = now

    async def answer(self, longest_s: float) -> Answer:
        try:
            async with asyncio.timeout(longest_s):
                return await self._ask()
        except TimeoutError:
            return self._problem(f"did not answer within {longest_s:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return self._problem(f"could not be asked ({str(error) or type(error).__name__})")
        except (LedgerError, ProofInvalid) as error:
            return self._problem(f"was not asked, because the proof cannot be made ({error})")

    def late(self) -> Answer:
        """Return the answer of a witness that was not waited for."""
        return self._problem("had not answered when the others had")

    async def _ask(self) -> Answer:
        for _ in range(TRIES):
            status, body = await self._post()
            if status == HTTPStatus.OK:
                return self._read_cosignature(body)
            if status != HTTPStatus.CONFLICT:
                return self._read_refusal(status, body)
            size = _size(body)
            if size is None:
                return self._problem(f"answered 409 without a size ({_quote(body)})")
            if size > self._head.checkpoint.size:
                return await self._is_ahead(size)
            if size == self._old_size > 0:  # tlog-witness 1.0.0: the same size, another root
                return self._knows_another()
            self._old_size = size
        return self._problem(
            f"named another size {TRIES} times: another process may be publishing; try again"
        )

    async def _post(self) -> tuple[int, bytes]:
        """Send the proof and the checkpoint; return the status and the answer."""
        prove = partial(ConsistencyProof.make, self._ledger.store, self._old_size, self._head)
        proof = await asyncio.to_thread(prove)
        url = f"{(self._witness.url or '').rstrip('/')}/add-checkpoint"
        return await post(self._client, url, proof.to_bytes())

    def _read_cosignature(self, body: bytes) -> Answer:
        assert self._head.note is not None
        text = self._head.note.text
        try:
            signatures = Note.parse(text.encode() + b"\n" + body).signatures
            ours = [
                signature for signature in signatures if self._witness.verifier.has_signed(text, signature)
            ]
        except CheckpointInvalid as error:
            return self._problem(f"answered with something else than its cosignature ({error})")
        if not ours:
            return self._problem(
                f"signed with another key than {self._witness.verifier}; if it has a new key, "
                "put that into the policy"
            )
        ahead_s = ours[0].time - self._now.timestamp()
        if abs(ahead_s) > CLOCK_SKEW_S:
            dated, now = format_cosigned_at(ours[0]), timestamp(self._now)
            return self._problem(f"dated its cosignature {dated}, and here it is {now}: check both clocks")
        return Answer(self._witness, ours[0])

    def _read_refusal(self, status: int, body: bytes) -> Answer:
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return self._knows_another()
        if status == HTTPStatus.FORBIDDEN:
            return self._problem("does not know the key that signed (403): give it the ledger's verifier key")
        if status == HTTPStatus.NOT_FOUND:
            origin = self._head.checkpoint.origin
            return self._problem(f"does not know the log {origin} (404): register it there, or check the URL")
        return self._problem(f"answered {status} ({_quote(body)})")

    async def _is_ahead(self, size: int) -> Answer:
        """Distinguish a ledger that lost its tail from one that another process has published since."""
        newest = await asyncio.to_thread(lambda: self._ledger.head().size)
        if newest >= size:
            problem = f"has cosigned {size} records meanwhile: another process published them"
            return Answer(self._witness, None, problem, overtaken=True)
        return self._problem(
            f"has cosigned {size} records of this log, and this ledger has {newest}: its tail was cut",
            another=True,
        )

    def _knows_another(self) -> Answer:
        size = f"{self._old_size} " if self._old_size else ""
        problem = f"refuses: the {size}records it cosigned last are not the beginning of this ledger"
        return self._problem(problem, another=True)

    def _problem(self, text: str, *, another: bool = False) -> Answer:
        return Answer(self._witness, None, text, another)


def format_cosigned_at(signature: Signature) -> str:
    """Return the time of a cosignature as it is recorded; far times, which nobody believes, as seconds."""
    try:
        return timestamp(datetime.fromtimestamp(signature.time, UTC))
    except (OverflowError, OSError, ValueError):
        return f"second {signature.time}"


def _size(body: bytes) -> int | None:
    text = body.removesuffix(b"\n")
    return int(text) if text.isdigit() and len(text) <= SIZE_DIGITS else None


def _quote(body: bytes) -> str:
    words = printable(" ".join(body[:200].decode(errors="replace").split()))
    return words[:100] or "no text"
