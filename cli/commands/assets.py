"""``assets``: the stored files, compared with the record."""

import asyncio
from typing import TYPE_CHECKING, Any

import click

from cli.exit_codes import ExitCode
from cli.invocation import Invocation
from cli.options import common
from cli.options.command import Group
from cli.text.tables import columns
from ledger.log.job_names import handle_of
from render_service.assets.maintenance import check, file_document, iterate_named_files, remove_unnamed
from render_service.assets.store import AssetStore
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable
from render_service.session.session import utc_now

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.session.session import Session


MEGABYTE = 1_000_000
_SHOWN = 12  # digits of a digest, for people
_ROOM_BESIDE = 76  # columns left for the other cells beside the place of a file


@click.group("assets", cls=Group)
def assets_command() -> None:
    """List, check or clean up the stored files.

    A folder or bucket belongs to one ledger, named by the note in it. `assets gc` and `erase` remove nothing
    for another ledger or for a copy of that one.

    \b
    Example:
      sora-ledger assets list
      sora-ledger assets check --quick
    """


@assets_command.command("list", short_help="List the stored files.")
@common.invocation
def list_command(inv: Invocation) -> None:
    """List the stored files that the record refers to.

    \b
    Example:
      sora-ledger assets list
    """
    _list(inv, AssetStore.of(inv.settings))


@assets_command.command("check", short_help="Check that the stored files are present and unchanged.")
@click.option("--quick", is_flag=True, help="Compare sizes only; read no bytes.")
@common.invocation
def check_command(inv: Invocation, *, quick: bool) -> None:
    """Check that the stored files are present and unchanged; exit code 10 with findings.

    A file may be absent if the record says it was lost, deleted or erased.

    \b
    Example:
      sora-ledger assets check --quick
    """
    _check(inv, AssetStore.of(inv.settings), quick=quick)


@assets_command.command("observe", short_help="Read the C2PA manifests of files already stored.")
@common.invocation
def observe_command(inv: Invocation) -> None:
    """Read the C2PA manifests of stored files that were not read yet, and record what they say.

    New files are read when they are stored. This command reads files stored without the extra c2pa or by an
    older version.

    \b
    Example:
      sora-ledger assets observe
    """
    from render_service.provenance.observe import Backlog, observe_stored
    from render_service.provenance.words import describe_observed

    async def read(session: "Session") -> Backlog:
        return await asyncio.to_thread(observe_stored, session)

    done = inv.session(read, calls=False)
    observations = [{"job_id": job_id, "words": describe_observed(event)} for job_id, event in done.observed]
    document = {"observed": observations, "missing": done.missing}

    def text(console: "Console") -> None:
        for observation in observations:
            console.print(f"{observation['job_id']} {printable(observation['words'])}", markup=False)
        for job_id in done.missing:
            console.print(f"{job_id} its file is not here", markup=False)
        console.print(f"{format_count(len(done.observed), 'file')} read and recorded")

    inv.emit(document, text)


@assets_command.command("gc", short_help="Remove files that no event refers to.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@common.invocation
def gc_command(inv: Invocation, *, dry_run: bool) -> None:
    """Remove stored files older than a day that no event refers to.

    \b
    Example:
      sora-ledger assets gc --dry-run
    """
    _gc(inv, dry_run=dry_run)


@assets_command.command("claim", short_help="Make this ledger the owner of the stored files.")
@common.invocation
def claim_command(inv: Invocation) -> None:
    """Make this ledger the owner of the files, regardless of the note in the folder or bucket.

    Use it for a restored ledger that replaces a lost one, or if there are files that no event refers to.

    \b
    Example:
      sora-ledger assets claim
    """
    _claim(inv)


def _list(inv: Invocation, assets: "AssetStore") -> None:
    with inv.reader() as ledger:
        files = [file_document(file) for file in iterate_named_files(ledger)]
    total = sum({file["sha256"]: file["bytes"] for file in files}.values())
    document = {"place": assets.place.url, "files": files, "bytes": total}
    inv.emit(document, lambda console: print_files(console, files, total))


def _check(inv: Invocation, assets: "AssetStore", *, quick: bool) -> None:
    with inv.ledger() as ledger:
        named = list(iterate_named_files(ledger))
    looked = [file_document(file, state) for file, state in check(assets, named, quick=quick)]
    wrong = [file for file in looked if file["state"] not in ("ok", "let_go")]
    mark_lost = sum(file["state"] == "let_go" for file in looked)
    document = {
        "checked": len(looked),
        "read": not quick,
        "clean": not wrong,
        "let_go": mark_lost,
        "findings": wrong,
    }

    def text(console: "Console") -> None:
        for file in wrong:
            line = f"{file['state']} {file['job_id']} {file['what']} {file['storage_uri']}"
            console.print(line, markup=False)
        result = f"{format_count(len(looked), 'file')} checked, {mark_lost} let go as recorded"
        found = f"[red]{format_count(len(wrong), 'finding')}[/]" if wrong else "[green]all there[/]"
        console.print(f"{found}: {result}")

    inv.emit(document, text)
    if wrong:
        raise click.exceptions.Exit(ExitCode.INTEGRITY)


def _claim(inv: Invocation) -> None:
    with inv.ledger() as ledger:
        assets = AssetStore.of(inv.settings, ledger)
        assets.claim()
    url = assets.place.url
    inv.emit(
        {"place": url}, lambda console: console.print(f"its files are this ledger's: {url}", markup=False)
    )


def _gc(inv: Invocation, *, dry_run: bool) -> None:
    with inv.ledger() as ledger:
        assets = AssetStore.of(inv.settings, ledger)
        done = remove_unnamed(ledger, assets, utc_now(), dry_run=dry_run)
    document = {
        "place": assets.place.url,
        "dry_run": dry_run,
        "removed": [file.storage_uri for file in done.removed],
        "bytes": done.bytes,
        "kept": done.kept,
    }

    def text(console: "Console") -> None:
        for file in done.removed:
            console.print(file.storage_uri, markup=False)
        verb = "would be removed" if dry_run else "removed"
        files = format_count(len(done.removed), "file")
        console.print(f"{files}, {done.bytes / MEGABYTE:.1f} MB, {verb}; {done.kept} stay")

    inv.emit(document, text)


def _cells(file: dict[str, Any]) -> tuple[str, ...]:
    size = f"{file['bytes'] / MEGABYTE:.2f}"
    what = "input" if file["what"] == "given" else file["what"]
    return file["job_id"], what, size, file["sha256"][:_SHOWN], file["storage_uri"]


def print_files(console: "Console", files: list[dict[str, Any]], total: int) -> None:
    """Print the files; on a terminal too narrow for where they are, the handle of each job and a digest."""
    header: tuple[str, ...] = ("job", "file", "MB", "sha256", "place")
    rows: list[tuple[str, ...]] = [_cells(file) for file in files]
    longest = max((len(cells[-1]) for cells in rows), default=0)
    if console.is_terminal and console.width < longest + _ROOM_BESIDE:
        header, rows = header[:-1], [(handle_of(job), *rest[:-1]) for job, *rest in rows]
    columns(console, header, rows)
    console.print(f"{format_count(len(files), 'file')}, {total / MEGABYTE:.1f} MB")
