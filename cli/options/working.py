"""Options of a worker, for ``worker`` and for ``serve``, which works the queue as well."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from render_service.evidence.checkpoints import Publication, Scheduled
from render_service.recovery.attempts import GRACE_S
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings
from render_service.worker.leases import MOST_AT_ONCE, WorkerOptions, read_limits

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--at-once",
        metavar="N",
        type=click.IntRange(1, MOST_AT_ONCE),
        default=100,
        show_default=True,
        help="Jobs at the same time.",
    ),
    click.option(
        "--interval",
        "interval_s",
        metavar="SECONDS",
        type=click.FloatRange(0.1, 3_600),
        default=10.0,
        show_default=True,
        help="Polling interval for a running render.",
    ),
    click.option(
        "--lease",
        "lease_s",
        metavar="SECONDS",
        type=click.FloatRange(1, 3_600),
        default=60.0,
        show_default=True,
        help="Time after which other workers take over the jobs of a stalled one.",
    ),
    click.option(
        "--grace",
        "grace_s",
        metavar="SECONDS",
        type=click.FloatRange(0, 86_400),
        default=GRACE_S,
        show_default=True,
        help="Age at which an interrupted attempt is reconciled.",
    ),
    click.option(
        "--per-minute",
        metavar="MODEL=N",
        multiple=True,
        help="Requests per minute for a model, all workers together; set the same on each.",
    ),
    click.option(
        "--running",
        metavar="MODEL=N",
        multiple=True,
        help="Running jobs of a model, all workers together; set the same on each.",
    ),
)


_PUBLISHING = (
    click.option(
        "--publish",
        metavar="FILE|URI",
        help="Publish checkpoints here, as `checkpoint --publish --record` does, with SORA_LEDGER_KEY and "
        "SORA_LEDGER_WITNESSES.",
    ),
    click.option(
        "--publish-every",
        metavar="SECONDS",
        type=click.FloatRange(1, 31 * 86_400),
        default=3_600.0,
        show_default=True,
        help="Time between two checkpoints, all workers together.",
    ),
    click.option(
        "--timestamp",
        metavar="URL",
        help="Have this time-stamping authority date them (SORA_LEDGER_TSA_CHAIN).",
    ),
)


def add_publishing_options(function: F) -> F:
    """Take the options of publishing on a schedule; `read_publication` reads them."""
    for option in reversed(_PUBLISHING):
        function = option(function)
    return function


def read_publication(
    settings: Settings, options: dict[str, Any], key: Path | None = None
) -> Scheduled | None:
    """Take the publishing options out of `options`; None if nothing is to be published."""
    target, every_s = options.pop("publish"), options.pop("publish_every")
    authority = options.pop("timestamp")
    if target is None:
        if authority:
            raise BadInput(
                "--timestamp is for --publish FILE|URI",
                param="timestamp",
                expected="--publish FILE|URI",
                found="nothing",
            )
        return None
    chain = settings.tsa_chain_file if authority else None
    key, witnesses = key or settings.key_file, settings.witnesses_file
    wanted = Publication(target, key, witnesses, record=True, timestamp=authority, tsa_chain=chain)
    return Scheduled(wanted, every_s)


def add_worker_options(function: F) -> F:
    """Take the options of a worker; `read_worker_options` reads them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_worker_options(
    *, per_minute: tuple[str, ...], running: tuple[str, ...], drain: bool = False, **rest: Any
) -> WorkerOptions:
    """Return the options of a worker as they were typed; `BadInput` names an invalid limit."""
    return WorkerOptions(
        per_minute=read_limits("--per-minute", per_minute),
        running=read_limits("--running", running),
        drain=drain,
        **rest,
    )
