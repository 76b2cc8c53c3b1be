"""Webhooks that go wrong on demand: lost, doubled, late, out of order, badly signed.

A layer around whatever posts letters. What goes wrong is not the sender's to notice: it is told that a lost
or held delivery went well, as a network or a proxy that loses things would have it, and does not try again. A
job with a fate of its own (`Faults.fate_of`) is not announced: what the sender knows of it is not so.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus

from sora_adapter.sandbox.faults import WEBHOOK, Fault, Faults
from sora_adapter.sandbox.webhooks.outbox import Letter

Post = Callable[[Letter], Awaitable[int | None]]
_SIGNATURE = "webhook-signature"
_NOT_OURS = "v1,bm90IHNpZ25lZCBieSB0aGUgc2FuZGJveA=="


class FaultyMail:
    """Posts letters as `post` does, but for the planned faults."""

    def __init__(self, post: Post, faults: Faults) -> None:
        self._post, self._faults = post, faults
        self._held: list[Letter] = []

    async def __call__(self, letter: Letter) -> int | None:
        """Send a letter, and after it those that were held for it; return the status it was answered with."""
        if self._faults.fate_of(json.loads(letter.body)["data"]["id"]) is not None:
            return HTTPStatus.OK
        fault = self._faults.next(WEBHOOK)
        if fault is not None and fault.kind == "out-of-order":
            self._held.append(letter)
            return HTTPStatus.OK
        status = await self._sent(letter, fault)
        held, self._held = self._held, []
        for late in held:
            await self._post(late)
        return status

    async def _sent(self, letter: Letter, fault: Fault | None) -> int | None:
        kind = fault.kind if fault else "none"
        if kind == "lost":
            return HTTPStatus.OK
        if kind == "doubled":
            await self._post(letter)
        if fault is not None and kind == "late":
            await asyncio.sleep(fault.number)
        if kind == "badly-signed":
            letter = replace(letter, headers={**letter.headers, _SIGNATURE: _NOT_OURS})
        return await self._post(letter)
