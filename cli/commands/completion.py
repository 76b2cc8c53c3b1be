"""``completion``: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from cli.main import cli
from cli.text import output

PROGRAM = "sora-ledger"
VARIABLE = "_SORA_LEDGER_COMPLETE"


@click.command("completion", short_help="Print a shell completion script.")
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
    assert made is not None  # click knows the three
    completion = made(cli, {}, PROGRAM, VARIABLE)
    output.print_text(completion.source_template % completion.source_vars())
