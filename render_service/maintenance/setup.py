"""Set up a ledger, and check everything that a render needs, without cost.

The role that creates a ledger on PostgreSQL owns its tables and has all rights. Daily operation does not need
them: it can use a role that may only insert into `events` and read it; the grants limit the other tables
similarly.

Each check of the setup is independent and never raises for a problem: it reports the problem and the next
step. A check that depends on a failed one is skipped. Findings never contain a key, and the checks leave no
files.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from ledger.canonical import leaf_hash
from ledger.errors import LedgerError, LedgerUnusable
from ledger.events import LedgerCreated
from ledger.log.opening import open_ledger, open_now, open_or_create, open_store
from ledger.log.replica import Replica
from ledger.log.urls import check_url, file_of, label_of
from ledger.store.filters import RecordFilter
from render_service.assets.names import name_of, uri_of
from render_service.assets.store import AssetStore
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput, ServiceError
from render_service.runtime.exporting import (
    INSTALL,
    SIGNALS,
    ExportUnusable,
    Signals,
    endpoint_of,
    interval_ms,
    signals,
)
from render_service.runtime.settings import READ_URL, SANDBOX, Settings
from render_service.runtime.telemetry import Trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from render_service.session.session import utc_now
from render_service.submission.preview import address
from render_service.submission.spool import waiting
from sora_adapter.errors import AdapterError
from sora_adapter.profiles import Profile, profile
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings

MOST_SKEW_S = 60
LEAST_FREE_BYTES = 1 << 30
GIGABYTE = 1 << 30


class CheckResult(StrEnum):
    """The result of a check."""

    OK = "ok"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """The finding of one check; `fix` is the next step if something is wrong."""

    check: str
    found: CheckResult
    says: str
    fix: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return asdict(self) | {"found": self.found.value}


async def checkup(
    settings: Settings, trace: Trace, *, contacts: bool = True, even_if_retired: bool = False
) -> AsyncIterator[Finding]:
    """Yield the finding of each check; without `asks`, no server is contacted and no sandbox started."""
    named = _check_profile(settings)
    yield named
    usable = (
        None
        if named.found is CheckResult.WRONG
        else profile(settings.chosen_profile(), settings.profiles_file)
    )
    key = _check_key(settings, usable, even_if_retired=even_if_retired)
    yield key
    url = address(settings, usable.name) if usable else ""
    if not contacts or usable is None or key.found is CheckResult.WRONG:
        why = f"{url or 'the server'} was not contacted" + ("" if contacts else " (dry run)")
        yield Finding("server", CheckResult.SKIPPED, why)
        yield Finding("clock", CheckResult.SKIPPED, "needs the time of the server, which was not contacted")
    else:
        server, their_time = await _check_server(settings, trace, usable, url)
        yield server
        yield _check_clock(their_time, utc_now())
    ledger = _check_ledger(settings)
    yield ledger
    if settings.read_url is not None:
        yield _check_replica(settings, settings.read_url) if contacts else _skip("replica", "the replica")
    if ledger.found is CheckResult.OK and settings.may_have_ledger and settings.may_have_spool:
        yield _check_spool(settings)
    yield _check_storage(settings.assets_folder.absolute())
    if settings.assets_url:
        yield _check_bucket(settings.assets_url) if contacts else _skip("bucket", settings.assets_url)
    if collector := _check_collector(contacts=contacts):
        yield collector
    yield _check_sandbox() if contacts else Finding("sandbox", CheckResult.SKIPPED, "not started (dry run)")


def _check_profile(settings: Settings) -> Finding:
    name = settings.chosen_profile()
    try:
        chosen = profile(name, settings.profiles_file)
    except AdapterError as error:
        return Finding("profile", CheckResult.WRONG, str(error), "name one of these with --profile")
    how = (
        "chosen" if settings.profile_name else "from OPENAI_BASE_URL" if settings.base_url else "the default"
    )
    return Finding("profile", CheckResult.OK, f"{name}, {how}: {chosen.description}")


def _check_key(settings: Settings, chosen: Profile | None, *, even_if_retired: bool) -> Finding:
    if chosen is None:
        return Finding("key", CheckResult.SKIPPED, "depends on the profile")
    try:
        find_usable_profile(settings, chosen.name, even_if_retired=even_if_retired)
    except ServiceError as error:
        first, *rest = str(error).splitlines()
        return Finding("key", CheckResult.WRONG, first, "\n".join(rest).strip() or "use another --profile")
    if settings.api_key and chosen.name != SANDBOX:
        return Finding("key", CheckResult.OK, f"{chosen.key_variable} is set")
    return Finding("key", CheckResult.OK, f"profile {chosen.name} needs no key")


async def _check_server(
    settings: Settings, trace: Trace, chosen: Profile, url: str
) -> tuple[Finding, datetime | None]:
    try:
        with tempfile.TemporaryDirectory() as folder:  # temporary state of the embedded sandbox
            apart = replace(settings, data_folder=Path(folder))
            async with connection(apart, trace, chosen) as client:
                their_time = await client.ping()
    except AdapterError as error:
        says, _, fix = str(error).partition("; ")
        return Finding(
            "server", CheckResult.WRONG, says, fix or "check OPENAI_BASE_URL and OPENAI_API_KEY"
        ), None
    how = "lists its videos" if chosen.can_list else "answers"
    return Finding("server", CheckResult.OK, f"{url} {how}"), their_time


def _check_clock(theirs: datetime | None, ours: datetime) -> Finding:
    if theirs is None:
        return Finding("clock", CheckResult.SKIPPED, "the server did not send its time")
    skew_s = round((ours - theirs).total_seconds())
    if abs(skew_s) <= MOST_SKEW_S:
        return Finding("clock", CheckResult.OK, f"within {MOST_SKEW_S} s of the server's")
    where = "ahead of" if skew_s > 0 else "behind"
    fix = "set the clock of this machine (timedatectl set-ntp true): webhooks and expiry depend on it"
    return Finding("clock", CheckResult.WRONG, f"{abs(skew_s)} s {where} the server's", fix)


def _check_ledger(settings: Settings) -> Finding:
    try:
        check_url(settings.ledger_url)
    except LedgerError as error:
        return Finding(
            "ledger", CheckResult.WRONG, str(error), "name another with --ledger or SORA_LEDGER_URL"
        )
    path = settings.ledger_path.absolute() if settings.ledger_path else None
    if path is not None and not path.exists():
        return _check_writable("ledger", path, "no ledger yet; the first `create` creates it")
    where = str(path) if path else _check_database(settings.ledger_url)
    if isinstance(where, Finding):
        return where
    try:
        with open_ledger(settings.ledger_url) as ledger:
            size = ledger.head().size
            last = ledger.store.rows(size - 1, 2, RecordFilter())
            jobs = sum(ledger.store.tally().jobs.values())
    except LedgerError as error:
        return Finding(
            "ledger", CheckResult.WRONG, str(error), "name another with --ledger, or restore a backup"
        )
    if [leaf_hash(row.record) for row in last] != [row.leaf for row in last] or len(last) != min(size, 1):
        return Finding(
            "ledger", CheckResult.WRONG, "its last record does not match its head", "run `sora-ledger verify`"
        )
    says = f"{where}: {format_count(size, 'record')}, {format_count(jobs, 'job')}; `verify` checks everything"
    return _check_writable("ledger", path, says) if path else Finding("ledger", CheckResult.OK, says)


def _check_replica(settings: Settings, url: str) -> Finding:
    """Check that SORA_LEDGER_READ_URL is a replica of the ledger, and how far it is behind."""
    fix = f"name a replica of the ledger in {READ_URL}, or unset it; until then the ledger itself is read"
    try:
        with open_now(settings.ledger_url) as primary, closing(Replica(url, primary, open_now)) as replica:
            _, read_from = replica.choose_for(settings.actor)
    except LedgerUnusable as error:
        return Finding("replica", CheckResult.WRONG, str(error), fix)
    if not read_from.is_replica and read_from.records_behind is None:
        return Finding("replica", CheckResult.WRONG, str(read_from.because), fix)
    return Finding("replica", CheckResult.OK, f"{label_of(url)}: reading is {read_from.sentence}")


def _check_spool(settings: Settings) -> Finding:
    """Report answers that wait in the spool, and problems of those that cannot be recorded."""
    try:
        with open_ledger(settings.ledger_url) as ledger:
            answers = list(waiting(settings, ledger))
    except LedgerError as error:
        return Finding("spool", CheckResult.SKIPPED, str(error))
    broken = [answer for answer in answers if answer.spooled is None]
    if broken:
        says = "\n".join(f"{answer.path}: {answer.problem}" for answer in broken)
        return Finding(
            "spool", CheckResult.WRONG, says, "keep the file: it may name a video that was paid for"
        )
    if answers:
        says = f"{format_count(len(answers), 'answer')} not recorded yet, in {answers[0].path.parent}"
        fix = (
            f"`sora-ledger poll --id {answers[0].spooled.job_id}`"
            if answers[0].spooled
            else "run any command"
        )
        return Finding("spool", CheckResult.WRONG, says, fix)
    return Finding("spool", CheckResult.OK, "every answer is recorded")


def _check_database(url: str) -> str | Finding:
    """Return a description of the database connection, or a finding if recording would fail."""
    from ledger.store.postgres.grants import standing  # only the store in use is loaded

    try:
        rights = standing(url)
    except LedgerError as error:
        says, _, fix = str(error).rpartition(": ")
        return Finding("ledger", CheckResult.WRONG, says, fix)
    where = f"{label_of(url)} (PostgreSQL {rights.server.split()[0]}, as {rights.user})"
    if rights.missing:
        fix = "have the owner run `sora-ledger init --apply --role` for this user"
        return Finding("ledger", CheckResult.WRONG, f"{where}: lacks {', '.join(rights.missing)}", fix)
    if not rights.has_ledger:
        return Finding("ledger", CheckResult.OK, f"{where}: no ledger yet; the first `create` creates it")
    return (
        f"{where}, which owns it; `init --role` sets up a role with fewer rights"
        if rights.may_rewrite
        else where
    )


def _check_storage(folder: Path) -> Finding:
    writable = _check_writable("storage", folder, str(folder))
    if writable.found is CheckResult.WRONG:
        return writable
    free = shutil.disk_usage(_existing(folder)).free
    says = f"{folder}: {free / GIGABYTE:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        return Finding(
            "storage", CheckResult.WRONG, says, "make room, or name another folder: SORA_LEDGER_ASSETS"
        )
    return Finding("storage", CheckResult.OK, says)


def _check_bucket(url: str) -> Finding:
    """Check that the bucket can be read; whether it can be written is known only after the first file."""
    try:
        AssetStore(Path(), url).has(uri_of(name_of("0" * 64, None)))
    except ServiceError as error:
        return Finding(
            "bucket", CheckResult.WRONG, str(error), "check SORA_LEDGER_ASSETS and its credentials"
        )
    return Finding("bucket", CheckResult.OK, f"{url} answers")


_RENDERS_GO_ON = "renders do not depend on it"


def _check_collector(*, contacts: bool) -> Finding | None:
    """Check that the OpenTelemetry collector accepts data; None if nothing is exported."""
    try:
        wanted = signals()
        interval_ms()
    except ExportUnusable as unusable:
        fix = f"correct the variable, or set OTEL_SDK_DISABLED=true; {_RENDERS_GO_ON}"
        return Finding("otlp", CheckResult.WRONG, f"nothing is exported: {unusable}", fix)
    names = [name for name, is_wanted in zip(SIGNALS, wanted, strict=True) if is_wanted]
    if not names:
        return None
    where = " and ".join(dict.fromkeys(map(endpoint_of, names)))
    return _ask_collector(wanted, where) if contacts else _skip("otlp", where)


def _ask_collector(wanted: Signals, where: str) -> Finding:
    try:
        from render_service.runtime.otlp import collector_trouble  # noqa: PLC0415  # the SDK is an extra

        trouble = collector_trouble(traces=wanted.traces, metrics=wanted.metrics)
    except ImportError as missing:
        return Finding("otlp", CheckResult.WRONG, f"{missing.name} is not installed", INSTALL)
    except (ValueError, OSError) as error:
        trouble = f"an OTEL_ setting cannot be used: {error}"
    if trouble is not None:
        fix = f"start the collector, or correct the OTEL_ settings; {_RENDERS_GO_ON}"
        return Finding("otlp", CheckResult.WRONG, f"{where}: {trouble}", fix)
    return Finding("otlp", CheckResult.OK, f"{where} answers")


def _skip(check: str, url: str) -> Finding:
    return Finding(check, CheckResult.SKIPPED, f"{url} was not contacted (dry run)")


def _check_writable(check: str, path: Path, says: str) -> Finding:
    """Check that `path`, or the folder in which it would be created, can be written."""
    place = _existing(path)
    folder = place if place.is_dir() else place.parent
    if place != path and not place.is_dir():
        return Finding(check, CheckResult.WRONG, f"{place} is not a folder", f"name a path other than {path}")
    if not (os.access(place, os.W_OK) and os.access(folder, os.W_OK | os.X_OK)):
        return Finding(
            check, CheckResult.WRONG, f"{place} cannot be written", "make file and folder writable"
        )
    return Finding(check, CheckResult.OK, says)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _check_sandbox() -> Finding:
    try:
        with tempfile.TemporaryDirectory() as folder, SandboxServer(SandboxSettings(data_dir=Path(folder))):
            return Finding(
                "sandbox", CheckResult.OK, "starts; --profile sandbox needs neither key nor network"
            )
    except OSError as error:
        fix = "allow this program to listen on 127.0.0.1 and to write to the temporary folder"
        return Finding("sandbox", CheckResult.WRONG, f"does not start ({error.strerror or error})", fix)


@dataclass(frozen=True)
class InitResult:
    """An existing or new ledger, and the grants for a role, as SQL, if a role was named."""

    ledger: str
    ledger_id: str
    origin: str
    size: int
    begun: bool
    grants: str | None
    applied: bool

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return asdict(self)


def begin(settings: Settings, trace: Trace, *, role: str | None = None, applies: bool = False) -> InitResult:
    """Create the ledger if it does not exist; with `applies`, also run the grants for `role`."""
    url = settings.ledger_url
    if role is not None:
        _check_role(role, url)
    with closing(open_store(url, read_only=False)) as store:
        begun = store.head().size == 0
    with open_or_create(url, settings.provenance(trace), utc_now()) as ledger:
        created = next(ledger.read(limit=1)).event
        size = ledger.head().size
    if not isinstance(created, LedgerCreated):
        raise LedgerUnusable(f"ledger {label_of(url)}: its first record is damaged: run `sora-ledger verify`")
    return InitResult(
        ledger=label_of(url),
        ledger_id=created.ledger_id,
        origin=created.origin,
        size=size,
        begun=begun,
        grants=_grants(url, role, applies=applies),
        applied=role is not None and applies,
    )


def _check_role(role: str, url: str) -> None:
    if not role.strip():
        raise BadInput(
            "--role: expected the name of a role, found nothing",
            param="role",
            expected="the name of a role",
            found="nothing",
        )
    if file_of(url) is not None:
        raise BadInput(
            f"--role {role}: {label_of(url)} is a file, and SQLite has no roles: leave --role out and use "
            "file permissions, or name a ledger with --ledger postgresql://…",
            param="role",
            expected="a ledger in PostgreSQL",
            found="a file",
        )


def _grants(url: str, role: str | None, *, applies: bool) -> str | None:
    if role is None:
        return None
    from ledger.store.postgres.grants import grants_at  # only the store in use is loaded

    return grants_at(url, role, run=applies)
