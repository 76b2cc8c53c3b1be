"""One invocation of a command: its trace, its settings, its log, and its output.

stdout is data: for reading on a terminal, one JSON document anywhere else. stderr is everything else.
"""

import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.text import output
from ledger.errors import LedgerUnusable
from ledger.garbage import collect_rarely
from ledger.log.ledger import Ledger
from ledger.log.opening import open_ledger, open_now, open_store
from ledger.record import Authority
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace

if TYPE_CHECKING:
    from rich.console import Console

    from ledger.job import Job
    from ledger.log.replica import ReadFrom
    from render_service.rules.policies import Rules
    from render_service.runtime.documents import Json
    from render_service.session.session import Session

T = TypeVar("T")
ERROR = "Error: "


@dataclass(frozen=True)
class Invocation:
    """The first argument of every command. `as_json` None lets the terminal decide."""

    settings: Settings
    trace: Trace
    log: Log
    as_json: bool | None = None
    json_out: Path | None = None
    even_if_retired: bool = False
    read_from: "list[ReadFrom]" = field(default_factory=list)
    """The source that `reader` read from, once it did."""

    def session(
        self,
        use: "Callable[[Session], Coroutine[Any, Any, T]]",
        *,
        begins: bool = False,
        calls: bool = True,
        authority: Authority = Authority.HUMAN,
    ) -> T:
        """Run one use case in a session on the ledger, opened for writing; created only if it `begins` one.

        A use case that begins a ledger and `calls` a server does not begin it for an unusable server.
        """
        import asyncio  # reading needs none of it

        from render_service.api.sessions import in_session
        from render_service.session.connections import find_usable_profile

        if begins and calls:
            find_usable_profile(self.settings, None, even_if_retired=self.even_if_retired)
        elif not begins:
            open_ledger(self.settings.ledger_url).close()  # reports a missing ledger
        in_use = in_session(
            self.settings,
            self.trace,
            self.log,
            use,
            even_if_retired=self.even_if_retired,
            authority=authority,
        )
        return asyncio.run(in_use)

    def drain_spool(self) -> None:
        """Record spooled answers; for commands that write the ledger without a session."""

        async def nothing(_: "Session") -> None:
            return

        if self.settings.may_have_spool:
            self.session(nothing, begins=True, calls=False)

    @cached_property
    def rules(self) -> "Rules":
        """The policy and catalog that decide: the ledger's, or the packaged ones if there is no ledger.

        Problems with a ledger are reported when it is used; `LedgerUnusable` if its policy cannot be read.
        """
        from render_service.rules.opening import ledger_if_any  # reading needs none of it
        from render_service.rules.policies import read_active_rules, read_packaged_rules

        with ledger_if_any(self.settings) as ledger:
            return read_active_rules(ledger) if ledger else read_packaged_rules()

    def ledger(self) -> Ledger:
        """Open the ledger for reading; print a note if spooled answers wait to be recorded."""
        ledger = open_ledger(self.settings.ledger_url)
        if self.settings.may_have_spool:
            self._say_what_waits(ledger)
        return ledger

    @contextmanager
    def reader(self, *, searchable: bool = False) -> Iterator[Ledger]:
        """Open the ledger for a command that only reads: its replica if SORA_LEDGER_READ_URL names one.

        The source is printed on stderr, and is in the command's document as ``read_from``.
        """
        if self.settings.read_url is None:
            with self.searchable_ledger() if searchable else self.ledger() as ledger:
                yield ledger
            return
        from ledger.log.replica import Replica  # few installations have one

        with ExitStack() as opened:
            primary: Ledger | None = None
            with suppress(LedgerUnusable):  # a replica can be read while the primary is unreachable
                primary = opened.enter_context(open_now(self.settings.ledger_url))
            replica = Replica(self.settings.read_url, primary, open_now)
            opened.callback(replica.close)
            ledger, read_from = replica.choose_for(self.settings.actor)
            self.read_from.append(read_from)
            say(f"read {read_from.sentence}")
            yield ledger

    def searchable_ledger(self) -> Ledger:
        """Open the ledger for reading as `ledger` does, after upgrading one of an older version if needed.

        Ledgers of older versions have no word index; opening one for writing creates it.
        """
        ledger = self.ledger()
        if ledger.store.is_searchable():
            return ledger
        ledger.close()
        open_store(self.settings.ledger_url, read_only=False).close()
        return self.ledger()

    def _say_what_waits(self, ledger: Ledger) -> None:
        folders = self.settings.spool_folders(ledger.ledger_id)
        if not any(any(folder.glob("*.json")) for folder in folders):
            return
        from render_service.submission.spool import waiting  # few ledgers have an answer that waits

        if paths := [answer.path for answer in waiting(self.settings, ledger)]:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            say(
                f"note: an answer that is not recorded yet waits in {paths[0]}{more}; the next command that "
                "records something takes it from there, and `sora-ledger doctor` says what keeps it"
            )

    def job_document(self, job: "Job") -> "Json":
        """Return `job` as JSON, with the fields that only its events have."""
        from render_service.runtime.documents import job_document  # only few commands

        with self.ledger() as ledger:
            return job_document(job, ledger)

    @cached_property
    def console(self) -> "Console":
        """The console for text."""
        return output.console()

    @property
    def prints_json(self) -> bool:
        """Whether stdout gets JSON."""
        return not sys.stdout.isatty() if self.as_json is None else self.as_json

    @property
    def shows_text(self) -> bool:
        """Whether stdout is text on a terminal."""
        return not self.prints_json and sys.stdout.isatty()

    def emit(self, document: Any, text: "Callable[[Console], None]") -> None:
        """Print one result, as JSON from `document` or with `text`, and write it to --json-out."""
        if self.read_from and isinstance(document, dict):
            document = document | {"read_from": self.read_from[-1].document()}
        if self.json_out:
            write_json(self.json_out, document)
        with output.stdout_trouble(ends=False):
            if self.prints_json:
                output.print_document(document)
            else:
                text(self.console)

    def emit_each(
        self,
        name: str,
        things: Iterable[T],
        document: Callable[[T], Any],
        text: "Callable[[Console, Iterable[T]], None]",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Print a list called `name` as `emit` does, each of `things` as it comes, after `facts` about it."""
        if self.read_from:
            facts = {**(facts or {}), "read_from": self.read_from[-1].document()}
        with output.stdout_trouble(), collect_rarely(), ExitStack() as opened:
            lists = (
                [opened.enter_context(output.write_list(self.json_out, name, facts))] if self.json_out else []
            )
            if self.prints_json:
                lists.append(opened.enter_context(output.print_list(name, facts)))
            passing = _pass_through(things, document, lists)
            if self.prints_json:
                for _ in passing:
                    pass
            else:
                text(self.console, passing)


def announce(log: Log, command: str) -> None:
    """Print or log the trace id, before anything can fail."""
    if log.quiet:
        output.print_error(click.style(f"trace {log.trace.trace_id}", fg="bright_black"))
    else:
        log.log_start(command)


def announce_settings(log: Log, settings: Settings) -> None:
    """Report the names of the settings that ``.env`` set, never their values, or why it was ignored."""
    file = settings.file
    if file is None:
        return
    for line in file.list_without_effect():
        if log.quiet:
            say(f"settings file {file.path.absolute()}: {line}")
        else:
            log.warning("settings.without_effect", file=str(file.path.absolute()), because=line)
    if not (file.ignored or settings.from_file):
        return
    path, names = str(file.path.absolute()), ", ".join(settings.from_file)
    if file.ignored:
        if log.quiet:
            say(f"settings file {path}: ignored, because {file.ignored}")
        else:
            log.warning("settings.ignored", file=path, because=file.ignored)
    elif log.quiet:
        say(f"settings from {path}: {names}")
    else:
        log.info("settings.read", file=path, names=list(settings.from_file))


def say(message: str) -> None:
    """Print a note on stderr; a message that begins with ``Error: `` is an error."""
    if message.startswith(ERROR):
        output.complain(message.removeprefix(ERROR))
    else:
        output.note(message)


def write_json(path: Path, document: Any) -> None:
    """Write `document` to `path`, whole or not at all."""
    output.write_json(path, document)


def _pass_through(
    things: Iterable[T], document: Callable[[T], Any], lists: Sequence[Callable[[Any], None]]
) -> Iterator[T]:
    """Yield `things`, adding each to `lists` first."""
    for thing in things:
        if lists:
            described = document(thing)
            for add in lists:
                add(described)
        yield thing
