"""``skill``: the agent skill that ships with the command line."""

from importlib.resources import files
from pathlib import Path

import click

from cli.invocation import Invocation
from cli.options import common
from cli.options.command import Group
from cli.text import output
from render_service.runtime.errors import BadInput, StorageFailed
from render_service.runtime.files import write_file

NAME = "sora-ledger"
DEFAULT_TO = Path(".agents") / "skills"


@click.group("skill", cls=Group)
def skill_command() -> None:
    """Install the skill that tells AI agents how to use sora-ledger.

    \b
    Example:
      sora-ledger skill install
      sora-ledger skill install --to ~/.claude/skills
    """


@skill_command.command("install", short_help="Copy the skill into a skills folder.")
@click.option(
    "--to",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    default=DEFAULT_TO,
    show_default=True,
    help="The skills folder that your agent reads, such as .claude/skills.",
)
@click.option("--force", is_flag=True, help="Replace pages that differ from those of this version.")
@common.invocation
def install_command(inv: Invocation, *, to: Path, force: bool) -> None:
    """Copy the skill into FOLDER/sora-ledger.

    Without --force, nothing is written if a page there was changed or is from another version.

    \b
    Example:
      sora-ledger skill install --to .claude/skills
    """
    target = to.expanduser() / NAME
    written, unchanged = install_skill(target, force=force)
    document = {"folder": str(target), "written": written, "unchanged": unchanged}
    summary = f"{target}: {len(written)} pages written, {len(unchanged)} were there already"
    inv.emit(document, lambda _: output.print_text(summary))


def install_skill(target: Path, *, force: bool) -> tuple[list[str], list[str]]:
    """Copy the pages of the skill to `target`; return the pages written and those already there unchanged.

    `BadInput` before anything is written if a page there differs, unless `force` is true.
    """
    source = skill_folder()
    pages = {page.relative_to(source).as_posix(): page.read_bytes() for page in sorted(source.rglob("*.md"))}
    there = {name: _bytes_of(target / name) for name in pages}
    differing = [name for name, found in there.items() if found not in (None, pages[name])]
    if differing and not force:
        raise BadInput(
            f"{target}: nothing was written, because these pages were changed or are from another version: "
            f"{', '.join(differing)}; add --force to replace them, or name another folder with --to",
            param="to",
            expected="unchanged pages of this version",
            found=", ".join(differing),
        )
    written = [name for name, found in there.items() if found != pages[name]]
    for name in written:
        path = target / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageFailed(
                f"{path.parent}: the folder cannot be made ({error.strerror}); name another one with --to",
                param="to",
                expected="a place that can be written",
                found=error.strerror,
            ) from error
        write_file(path, pages[name])
    return written, [name for name in pages if name not in written]


def skill_folder() -> Path:
    """Return the folder of the skill: in the installed package, or in the source repository."""
    package = Path(str(files("cli")))
    installed = package / "skills" / NAME
    return installed if installed.is_dir() else package.parent / "skills" / NAME


def _bytes_of(path: Path) -> bytes | None:
    """Return the bytes at `path`; None if nothing is there."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); name another folder with --to",
            param="to",
            expected="a file that can be read",
            found=error.strerror,
        ) from error
