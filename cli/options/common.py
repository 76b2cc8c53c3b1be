"""Options that several commands share, as decorators. A command's first argument is its `Invocation`."""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.invocation import Invocation, announce, announce_settings
from cli.options import words
from cli.options.command import Renamed
from cli.options.job_names import HELP, JOB, resolve_last
from cli.text import output
from cli.text.usage import BadValue, Usage
from decision.money import micros_of
from decision.rules.purpose import PURPOSES
from ledger.log.job_names import NAMES
from ledger.record import timestamp
from render_service.assets.folder import describe_irreplaceable
from render_service.runtime.ledgers import find_by_folder
from render_service.runtime.settings import read_settings
from render_service.runtime.settings_file import LEDGER
from render_service.runtime.telemetry import Log, begin_trace


def read_dollars(option: str, text: str) -> int:
    """Return the dollars given with `option` as integer micro-dollars."""
    micros = micros_of(text)
    if micros is None:
        raise Usage(
            f"{option} {text}: expected dollars from 0, such as 2.50",
            param=option.lstrip("-").replace("-", "_"),
            expected="dollars from 0, such as 2.50",
            found=text,
        )
    return micros


F = TypeVar("F", bound=Callable[..., Any])

SETTINGS = ("ledger", "profile", "actor", "team", "project")
"""The options that are passed to `read_settings`, on the commands that have them."""

DEFAULT_INTERVAL_S = 10.0
DEFAULT_TIMEOUT_S = 1_800.0


def parse_moment(text: str) -> str:
    """Read a time: RFC 3339 or a date; without a zone it is in this machine's."""
    try:
        return timestamp(datetime.fromisoformat(text).astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise BadValue(
            f"{text!r}: expected a time such as 2026-11-20 or 2026-11-20T14:00:00Z",
            expected="a time such as 2026-11-20 or 2026-11-20T14:00:00Z",
            found=text,
        ) from error


def read_moment(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Read an option's time with `parse_moment`."""
    return None if value is None else parse_moment(value)


def _stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _file_option(flag: str, text: str, *names: str, hidden: bool = False) -> Callable[[F], F]:
    path = click.Path(path_type=Path)
    return click.option(flag, *names, metavar="FILE", type=path, hidden=hidden, help=text)


def _json_path(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Add ``.json`` to a name without suffix, and create the folder, before anything is spent."""
    if value is None:
        return None
    path = value if value.suffix else value.with_suffix(".json")
    if path.is_dir():
        raise BadValue(f"{path} is a folder; name a file in it", expected="a file", found="a folder")
    if what := describe_irreplaceable(path):
        raise BadValue(
            f"at {path} is {what}, which is never replaced; name another", expected="a new file", found=what
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadValue(
            f"the folder {path.parent} cannot be made ({error.strerror})",
            expected="a place that can be written",
            found=error.strerror,
        ) from error
    return path


def _max_cost(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    return None if value is None else read_dollars("--max-cost", value)


def _check_text(context: click.Context) -> None:
    """Refuse text that is not valid UTF-8; a path may hold any bytes."""
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if isinstance(value, str) and not value.isascii() and _is_broken(value):
            raise BadValue(
                "it is not valid UTF-8; type it again", expected="UTF-8", found="other bytes", of=parameter
            )


def _is_broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def add_reason_option(text: str, *, old: str = "--why", **settings: Any) -> Callable[[F], F]:
    """Take --reason, which says why; `old` is its former name."""
    return click.option("--reason", cls=Renamed, old=[old], metavar="TEXT", help=text, **settings)


def add_by_actor_option(text: str) -> Callable[[F], F]:
    """Take --by-actor, which filters by the person or program that acted."""
    return click.option("--by-actor", cls=Renamed, old=["--by"], metavar="ACTOR", help=text)


def add_with_assets_option(text: str) -> Callable[[F], F]:
    """Take --with-assets, which includes the stored files."""
    return click.option("--with-assets", cls=Renamed, old=["--assets"], is_flag=True, help=text)


_actor = click.option("--actor", metavar="ID", help="Who acts.  [env: SORA_LEDGER_ACTOR; default: login]")


def _add_to_every_command(*actor: Callable[[F], F]) -> Callable[[F], F]:
    return _stack(
        click.option(
            "--ledger",
            metavar="URL",
            help="A file, sqlite:///…, postgresql://… or the folder of a ledger.  [env: SORA_LEDGER_URL; "
            "default: user data folder]",
        ),
        *actor,
        click.option(
            "--format",
            "form",
            type=click.Choice(["text", "json"]),
            help="Format of stdout.  [default: text on a terminal, json elsewhere]",
        ),
        click.option("--json", "as_json", is_flag=True, help="Short for --format json."),
        click.option(
            "--json-out",
            metavar="FILE",
            type=click.Path(path_type=Path),
            callback=_json_path,
            help="Also write the JSON to this file; .json is added to a name without suffix.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Log every step, on a terminal too."),
    )


def _wants_json(form: str | None, *, as_json: bool) -> bool | None:
    """Return whether --format and --json request JSON; None leaves it to the terminal."""
    if as_json and form == "text":
        raise Usage(
            "--json and --format text contradict each other; give one",
            param="json",
            expected="one of --json and --format text",
            found="both",
        )
    return True if as_json else None if form is None else form == "json"


def _invocation(*actor: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @_add_to_every_command(*actor)
        @functools.wraps(function)
        def command(
            *args: Any, form: str | None, as_json: bool, json_out: Path | None, verbose: bool, **rest: Any
        ) -> Any:
            context = click.get_current_context()
            _check_text(context)
            wants_json = _wants_json(form, as_json=as_json)
            trace = begin_trace()
            for_people = wants_json is False or sys.stderr.isatty()
            words = context.command_path.partition(" ")[2]
            log = Log(trace, quiet=for_people and not verbose, command=words)
            announce(log, words)
            if place := find_by_folder(rest.get("ledger") or os.environ.get(LEDGER)):
                rest["ledger"] = None
                os.environ.clear()
                os.environ.update(place.environment)
            settings = read_settings(**{name: rest.pop(name, None) for name in SETTINGS})
            settings = replace(settings, request_key_file=rest.pop("signing_key", None))
            announce_settings(log, settings)
            retired = rest.pop("even_if_retired", False)
            printing = output.current()
            printing.trace = trace
            inv = Invocation(settings, trace, log, wants_json, json_out, even_if_retired=retired)
            printing.is_json = inv.prints_json
            values = {name: resolve_last(value, settings, words) for name, value in rest.items()}
            return function(inv, *args, **values)

        return command  # type: ignore[no-any-return]  # click reads the wrapper's options

    return decorate


invocation = _invocation(_actor)
"""Give the command its `Invocation`, made from the options every command has."""

invocation_without_actor = _invocation()
"""The same for `erase`, whose --actor was a filter: who acts is SORA_LEDGER_ACTOR or the login."""


calling = _stack(
    click.option(
        "--profile",
        metavar="NAME",
        shell_complete=words.profiles,
        help="Server profile: openai, sandbox, litellm, vllm-omni, sglang, trtllm, new-api, azure, custom, "
        "or one from your file SORA_LEDGER_PROFILES.  [env: SORA_LEDGER_PROFILE]",
    ),
    click.option("--even-if-retired", is_flag=True, help="Call a server even though it was switched off."),
)
queue = click.option(
    "--queue", is_flag=True, help="Decide and record; leave the submission to `resume` or a worker."
)
dry_run = click.option(
    "--dry-run", is_flag=True, help="Show what would be sent; record nothing, call nothing."
)


def _job_id(*, required: bool) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        @click.argument("job", required=False, type=JOB, metavar="[JOB]")
        @click.option("--id", "id_", metavar="ID", type=JOB, help=HELP)
        @functools.wraps(function)
        def command(*args: Any, job: str | None, id_: str | None, **rest: Any) -> Any:
            if job and id_ and job != id_:
                raise Usage(
                    f"two ids were given: {job} and --id {id_}; give one",
                    param="job",
                    expected="one id",
                    found="two",
                )
            name = job or id_
            if required and not name:
                raise Usage(
                    f"no id was given: name a job, by its {NAMES}",
                    param="job",
                    expected=NAMES,
                    found="nothing",
                )
            return function(*args, name=name, **rest)

        return command  # type: ignore[return-value]  # click reads the wrapper's options

    return decorate


job_id = _job_id(required=True)
"""Add the argument JOB and --id; the function gets `name`."""

maybe_job_id = _job_id(required=False)
"""The same for commands that work without a job: `name` may be None."""


shape = _stack(
    click.option(
        "--model",
        metavar="NAME",
        shell_complete=words.models,
        default="auto",
        show_default=True,
        help="auto, sora-2 or sora-2-pro.",
    ),
    click.option(
        "--size",
        metavar="WxH",
        shell_complete=words.sizes,
        help="Resolution; --list-models shows the choices.  [default: 1280x720]",
    ),
    click.option(
        "--seconds", metavar="N", shell_complete=words.lengths, help="Length of the clip.  [default: 4]"
    ),
    click.option(
        "--input-reference",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="First frame: a JPEG, PNG or WebP of exactly --size; see --fit.",
    ),
)
paying = _stack(
    click.option("--team", metavar="WORD", help="The team that pays.  [env: SORA_LEDGER_TEAM]"),
    click.option("--project", metavar="WORD", help="The project that pays.  [env: SORA_LEDGER_PROJECT]"),
)
render = _stack(
    paying,
    click.option(
        "--purpose",
        metavar="WORD",
        shell_complete=words.purposes,
        default="draft",
        show_default=True,
        help=f"What the clip is for; with --model auto it decides the model: {', '.join(PURPOSES)}.",
    ),
    click.option(
        "--max-cost",
        "max_cost_usd_micros",
        metavar="USD",
        callback=_max_cost,
        help="Deny a request whose estimate is higher, such as 2.50.",
    ),
    click.option(
        "--deadline",
        "deadline_minutes",
        metavar="MINUTES",
        type=click.IntRange(0, 100_000),
        help="Prefer models whose measured renders finish within this time.",
    ),
    click.option(
        "--request-key",
        metavar="KEY",
        help="Idempotency key: the same key returns the same job, never a second render.",
    ),
    click.option("--attest", "attested", is_flag=True, help="Confirm the guardrails; recorded."),
)
promotes = click.option(
    "--promotes",
    metavar="JOB",
    type=JOB,
    help="Draft job that this final render promotes; an approved review raises its score.",
)
answer_key = _file_option("--key", "Sign with this key (`key new` creates one); the policy names its owner.")


signed_request = _file_option(
    "--key",
    "Sign the request with this key; the policy names its owner.  [env: SORA_LEDGER_KEY]",
    "signing_key",
)
"""The command finds the key in its settings."""
unused_key = _file_option(
    "--key", "Signs nothing; accepted for one more version.", "signing_key", hidden=True
)
waiting = _stack(
    click.option(
        "--poll-interval",
        metavar="SECONDS",
        type=click.FloatRange(min=0.05),
        default=DEFAULT_INTERVAL_S,
        show_default=True,
        help="Polling interval, unless the server sets one.",
    ),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0.0),
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        help="Maximum time to wait; the render continues afterwards.",
    ),
)
signing = _file_option(
    "--key", "Sign with the key in this file (`key new` creates one).  [env: SORA_LEDGER_KEY]"
)
by_checkpoint = _file_option("--checkpoint", "Prove against this existing checkpoint instead of a new one.")
verifier = click.option(
    "--verifier",
    metavar="VKEY",
    multiple=True,
    help="Public key that checks signatures, as text or in a file; repeatable.",
)

tsa_chain = _file_option(
    "--tsa-chain",
    "Certificates (PEM) trusted for a timestamp of the checkpoint (its .tsr file).",
)
by_policy = _file_option(
    "--witnesses",
    "Trust policy (C2SP tlog-policy): count the witnesses that cosigned, and require its quorum.",
)


def add_listening_options(port: int) -> Callable[[F], F]:
    """Add --host and --port; `port` is the default."""
    return _stack(
        click.option(
            "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to listen on."
        ),
        click.option(
            "--port",
            metavar="N",
            type=click.IntRange(0, 65_535),
            default=port,
            show_default=True,
            help="Port to listen on; 0 picks a free one.",
        ),
    )
