"""``completion``: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from cli.text import output

PROGRAM = "sora-ledger"
VARIABLE = "_SORA_LEDGER_COMPLETE"


@click.command("completion", short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(*, shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    \b
    To install it, once:
      bash:  sora-ledger completion bash > ~/.sora-ledger-complete.bash
             echo '. ~/.sora-ledger-complete.bash' >> ~/.bashrc
      zsh:   sora-ledger completion zsh > ~/.sora-ledger-complete.zsh
             echo '. ~/.sora-ledger-complete.zsh' >> ~/.zshrc
      fish:  sora-ledger completion fish > ~/.config/fish/completions/sora-ledger.fish

    \b
    Example:
      sora-ledger completion bash
    """
    from cli.main import cli  # noqa: PLC0415  # the group, which imports this module

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101  # click knows the three
    completion = made(cli, {}, PROGRAM, VARIABLE)
    output.print_text(completion.source_template % completion.source_vars())
