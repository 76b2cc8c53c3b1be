"""Our extensions of click: renamed options, and groups whose errors list their commands."""

from collections.abc import Sequence
from typing import Any

import click

from cli.text.usage import unknown_command


class Renamed(click.Option):
    """An option whose old names still work for one version; help and messages do not show them."""

    def __init__(self, *args: Any, old: Sequence[str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.old = tuple(old)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser accept the old names too."""
        names = self.opts
        self.opts = [*names, *self.old]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = names


class Group(click.Group):
    """A group of subcommands; options may still precede the subcommand, as in older versions."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args` with the subcommand moved to the front."""
        if not args and not ctx.resilient_parsing:
            raise unknown_command(f"name one of its commands: {self._names()}", ctx, "nothing", self._names())
        return super().parse_args(ctx, self._command_first(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; an error lists the existing ones."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            message = f"No such command {args[0]!r} of {ctx.command_path}; choose from: {self._names()}"
            raise unknown_command(message, ctx, args[0], self._names())
        return super().resolve_command(ctx, args)

    def _names(self) -> str:
        return ", ".join(self.commands)

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the subcommands in the order of the module, not alphabetically."""
        return list(self.commands)

    def _command_first(self, args: list[str]) -> list[str]:
        options = [
            option
            for command in self.commands.values()
            for option in command.params
            if isinstance(option, click.Option) and not option.is_flag
        ]
        with_value = {name for option in options for name in (*option.opts, *getattr(option, "old", ()))}
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] != "--":
            at += 2 if args[at] in with_value else 1
        return [*args[at : at + 1], *args[:at], *args[at + 1 :]]


SECTIONS = {
    "Batch": "--input --out-dir --poll --resume --batch --concurrency --max-attempts --fail-fast",
    "Video": "--id --video --remix --edit --extend",
    "Prompt": "--prompt --prompt-file --change --declare-change --split --subject --action --scene --camera "
    "--lighting --palette --style --timing --audio --dialogue --text --constraints --negative "
    "--use-case --augment",
    "Shot": "--model --size --seconds --nearest --purpose * --duration --width --height --list-models",
    "Image": "--images --all-images --fit --input-reference --input-reference-url --input-reference-file-id "
    "--character-id",
    "Money": "--max-cost --team --project",
    "Waiting": "--queue --poll-interval --timeout --deadline",
    "Output": "--out --download --variant --force --dry-run --format --json --json-out --verbose",
    "Advanced": "--profile --request-key --attest --promotes --override --reason --override-until --key "
    "--even-if-retired --backend --ledger --actor --help",
}
"""The options of a request by section, the common ones first; ``*`` is for options of some servers."""


class OfServers(click.Option):
    """An option that only some servers support."""


class RequestCommand(click.Command):
    """A command that requests a render; its help shows the many options in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section; unlisted ones come last."""
        records, of_servers = {}, []
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record:
                records[max(option.opts, key=len)] = record
                of_servers += [max(option.opts, key=len)] if isinstance(option, OfServers) else []
        for heading, names in SECTIONS.items():
            listed = names.replace("*", " ".join(of_servers)).split()
            rows = [records.pop(name) for name in listed if name in records]
            if heading == "Advanced":
                rows += records.values()
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
