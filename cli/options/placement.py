"""How a request is placed: queued, or with a denial overridden."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from cli.options import common
from cli.text.usage import Usage
from render_service.rules.overrides import read_override
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from render_service.rules.overrides import Override

FOR_AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class PlacementOptions:
    """Whether the submission is left to `resume` or a worker, and the denials to override."""

    queue: bool = False
    override: "Override | None" = None


def add_placement_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --queue and the options of `add_override_options`; the function gets one value, `how`."""
    return common.queue(add_override_options(function))


def add_override_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --override, --reason and --override-until, which the function gets as `how`, and --key."""

    @click.option(
        "--override",
        "codes",
        metavar="CODE",
        multiple=True,
        help="Override this denial, if the policy allows it; requires --reason; repeatable.",
    )
    @common.signed_request
    @click.option("--reason", metavar="TEXT", help="Why the denial is overridden; recorded with your name.")
    @click.option(
        "--override-until",
        metavar="TIME",
        callback=common.read_moment,
        help="When the override expires.  [default: in an hour]",
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
        how = PlacementOptions(queue, _override(codes, (reason or "").strip(), override_until))
        return function(*args, how=how, **rest)

    return command


def _override(codes: tuple[str, ...], reason: str, until: str | None) -> "Override | None":
    if not codes:
        if reason or until:
            raise Usage(
                "--reason and --override-until are for --override CODE",
                param="override",
                expected="--override CODE",
                found="nothing",
            )
        return None
    if not reason:
        raise Usage(
            'say why it is overridden: --reason "…"; it is recorded with your name',
            param="reason",
            expected="a reason",
            found="nothing",
        )

    now = utc_now()
    return read_override(codes, reason, datetime.fromisoformat(until) if until else now + FOR_AN_HOUR, now)
