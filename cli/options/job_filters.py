"""The options that select the jobs a command lists."""

from collections.abc import Callable
from typing import Any

import click

from cli.options import common, words
from cli.options.command import Renamed
from cli.options.since import FORMS, read_since
from ledger.store.filters import JobFilter
from ledger.terms import State, Status

_OPTIONS = (
    click.option(
        "--state",
        "states",
        multiple=True,
        metavar="STATE",
        type=click.Choice([state.value for state in State]),
        help="Only jobs in this state; repeatable.",
    ),
    click.option(
        "--status",
        "statuses",
        multiple=True,
        metavar="STATUS",
        type=click.Choice([status.value for status in Status]),
        help="Only videos the server called queued, in_progress, completed or failed; repeatable.",
    ),
    click.option(
        "--model",
        metavar="NAME",
        shell_complete=words.models,
        help="Only jobs of this model, requested or decided.",
    ),
    click.option(
        "--purpose", metavar="WORD", shell_complete=words.purposes, help="Only jobs for this purpose."
    ),
    common.add_by_actor_option("Only requests of this actor."),
    click.option(
        "--profile",
        "server",
        cls=Renamed,
        old=["--on"],
        metavar="NAME",
        shell_complete=words.profiles,
        help="Only jobs of this server profile.",
    ),
    click.option(
        "--since", callback=read_since, metavar="TIME", help=f"Begun at or after this time: {FORMS}."
    ),
    click.option("--until", callback=read_since, metavar="TIME", help="Begun before this time."),
)


def job_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that restrict a list of jobs; `filter_of` makes a filter of their values."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filter_of(
    *,
    states: tuple[str, ...],
    statuses: tuple[str, ...],
    by_actor: str | None,
    server: str | None,
    **where: Any,
) -> JobFilter:
    """Return the filter described by the options."""
    return JobFilter(
        states=tuple(State(name) for name in states) or None,
        statuses=tuple(Status(name) for name in statuses) or None,
        actor=by_actor,
        profile=server,
        **where,
    )
