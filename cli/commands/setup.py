"""``init``, ``doctor`` and ``completion``: set up a ledger, a server and a shell."""

from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from cli.exit_codes import ExitCode
from cli.invocation import Invocation, say
from cli.main import cli
from cli.options import common
from cli.text import output
from cli.text.printable import escape
from cli.text.tables import fold
from cli.text.usage import Usage
from render_service.api.sessions import finished
from render_service.maintenance.deployment import checkup_of_deployment
from render_service.maintenance.setup import CheckResult, begin, checkup
from render_service.runtime.documents import format_count
from render_service.runtime.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from render_service.maintenance.setup import Finding, InitResult


@click.command("init")
@click.option(
    "--role", metavar="NAME", help="PostgreSQL: the role that will use the ledger and owns nothing."
)
@click.option(
    "--apply/--print",
    "applies",
    default=False,
    help="Run the grants for --role, or print them as SQL.  [default: print]",
)
@common.invocation
def init_command(inv: Invocation, *, role: str | None, applies: bool) -> None:
    """Create the ledger that --ledger or SORA_LEDGER_URL names; an existing one is not changed.

    A role with the grants can append to the log and read it, but change, delete or truncate nothing. Run this
    as the owner of the database, and everything else as that role.

    \b
    Example:
      sora-ledger init --ledger ledger.db
      sora-ledger init --ledger postgresql://owner@db/renders --role app --apply
    """
    if applies and role is None:
        raise Usage(
            "--apply runs the grants of a role: add --role NAME",
            param="role",
            expected="the name of a role",
            found="nothing",
        )
    beginning = begin(inv.settings, inv.trace, role=role, applies=applies)
    inv.drain_spool()
    inv.emit(beginning.document(), lambda console: _show_beginning(console, beginning))
    if role is not None and not applies:
        say("run these as the owner of the tables, or repeat with --apply")


def _show_beginning(console: "Console", beginning: "InitResult") -> None:
    how = "begun" if beginning.begun else f"there already, {format_count(beginning.size, 'record')}"
    line = f"{beginning.ledger}: {how}, origin {beginning.origin}"
    if beginning.grants and not beginning.applied:
        output.print_text(f"-- {line}\n{beginning.grants}", newline=False)  # unformatted, for psql
        return
    console.print(line, markup=False)
    if beginning.applied:
        console.print("the role has its grants: it can append to the log, and change nothing there")


INDENT = " " * 17
_STYLES = {"ok": "green", "wrong": "bold red", "skipped": "bright_black"}


@click.command("doctor")
@click.option("--deployment", is_flag=True, help="Also check the deployment: rights, limits, secrets.")
@common.dry_run
@common.calling
@common.invocation
def doctor_command(inv: Invocation, *, dry_run: bool, deployment: bool) -> None:
    """Check profile, key, server, clock, ledger, storage and sandbox; say what to fix.

    With --deployment, also the rights of the database role and of this user, where paid answers and videos
    are kept, TLS, webhook and console secrets, the signing key and the limits of the process.

    Costs nothing and records nothing. Exit code 0 if nothing is wrong, else 1.

    \b
    Example:
      sora-ledger doctor
      sora-ledger doctor --profile sandbox --json
      sora-ledger doctor --deployment
    """

    async def collect() -> "list[Finding]":
        looking = checkup(inv.settings, inv.trace, contacts=not dry_run, even_if_retired=inv.even_if_retired)
        return [finding async for finding in looking]

    findings = finished(collect())
    if deployment:
        findings += checkup_of_deployment(inv.settings)
    healthy = all(finding.found is not CheckResult.WRONG for finding in findings)
    document = {
        "healthy": healthy,
        "dry_run": dry_run,
        "findings": [finding.document() for finding in findings],
    }
    inv.emit(document, lambda console: print_checkup(console, findings))
    if not healthy:
        raise click.exceptions.Exit(ExitCode.FAILED)


def print_checkup(console: "Console", findings: "list[Finding]") -> None:
    """Print the result of each check, and the fix below it."""
    for finding in findings:
        style = _STYLES[finding.found.value]
        says, *further = fold(console, printable(finding.says), beside=len(INDENT))
        console.print(f"[{style}]{finding.found:<8}[/]{finding.check:<9}{escape(says)}")
        for line in further:
            console.print(f"{INDENT}{line}", markup=False)
        if finding.fix:
            first, *more = printable(finding.fix).splitlines()
            console.print(f"{INDENT}[bold]→[/] {escape(first.strip())}")
            for line in more:
                console.print(f"{INDENT}  {line.removeprefix('  ')}", markup=False)


PROGRAM = "sora-ledger"
VARIABLE = "_SORA_LEDGER_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(*, shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    \b
    Install it once:
      bash:  sora-ledger completion bash > ~/.sora-ledger.bash
             echo '. ~/.sora-ledger.bash' >> ~/.bashrc
      zsh:   sora-ledger completion zsh > ~/.sora-ledger.zsh
             echo '. ~/.sora-ledger.zsh' >> ~/.zshrc
      fish:  sora-ledger completion fish > \\
               ~/.config/fish/completions/sora-ledger.fish

    \b
    Example:
      sora-ledger completion bash
    """
    made = get_completion_class(shell)
    assert made is not None  # click supports these three
    completion = made(cli, {}, PROGRAM, VARIABLE)
    script = completion.source_template % completion.source_vars()
    if shell == "bash":
        script = script.replace(_SPLIT_WORDS, _WHOLE_WORDS)
    output.print_text(script)


_SPLIT_WORDS = 'response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD '
"""How click's script passes the words of the line, which bash splits at ``@`` and ``=``."""

_WHOLE_WORDS = r"""local word words=() rest=$COMP_LINE i
    for ((i = 0; i <= COMP_CWORD; i++)); do  # bash splits words at @ and =
        word=${COMP_WORDS[i]}
        if ((i)) && [[ -n $rest && $rest != [[:space:]]* ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        rest=${rest#"$word"}
    done

    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]}-1)) """
