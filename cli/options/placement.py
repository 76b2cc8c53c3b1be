"""How a request is placed, besides what it asks for: queued, or with a denial set aside."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from cli.options import common
from render_service.rules.overrides import read_override
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from render_service.rules.overrides import Override

FOR_AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Placing:
    """Whether the submission is left to somebody else, and what is overridden."""

    queue: bool = False
    override: "Override | None" = None


def placing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take --queue and what `overriding` takes, passed on as one value, `how`."""
    return common.queue(overriding(function))


def overriding(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take --override, --reason, --override-until, passed on as `how`, and --key; for what is not queued."""

    @click.option(
        "--override",
        "codes",
        metavar="CODE",
        multiple=True,
        help="Set this denial aside, if the policy lets it be; needs --reason. Repeatable.",
    )
    @common.signed_request
    @click.option("--reason", metavar="TEXT", help="Why it is overridden; recorded with your name.")
    @click.option(
        "--override-until",
        metavar="TIME",
        callback=common.read_moment,
        help="Until when it may be submitted on the strength of it.  [default: for an hour]",
    )
    @functools.wraps(function)
    def command(
        *args: Any,
        codes: tuple[str, ...],
        reason: str | None,
        override_until: str | None,
        queue: bool = False,
        **rest: Any,
    ) -> Any:
        how = Placing(queue, _override(codes, (reason or "").strip(), override_until))
        return function(*args, how=how, **rest)

    return command


def _override(codes: tuple[str, ...], reason: str, until: str | None) -> "Override | None":
    if not codes:
        if reason or until:
            raise click.UsageError("--reason and --override-until are for --override CODE")
        return None
    if not reason:
        raise click.UsageError('say why it is overridden: --reason "…"; it is recorded with your name')

    now = utc_now()
    return read_override(codes, reason, datetime.fromisoformat(until) if until else now + FOR_AN_HOUR, now)
