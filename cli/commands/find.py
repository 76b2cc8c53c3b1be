"""``find``: jobs by the words of their prompts."""

from typing import TYPE_CHECKING, Any

import click

from cli.invocation import Invocation
from cli.options import common
from cli.options.job_filters import filter_of, job_filters
from cli.text.jobs import show_found
from cli.text.usage import BadValue
from ledger.store.search import prefixes_of
from render_service.reports.find import find_each, poster_of, snippet_of
from render_service.runtime.documents import job_document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from ledger.store.interface import FoundJob

MOST = 1_000_000
IN_JSON = 200
"""Characters of a snippet in JSON."""


@click.command("find")
@click.argument("words", nargs=-1, required=True)
@job_filters
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, MOST),
    default=20,
    show_default=True,
    help="Maximum number.",
)
@common.invocation
def find_command(inv: Invocation, *, words: tuple[str, ...], limit: int, **where: Any) -> None:
    """Find jobs whose prompts have all WORDS, newest first.

    Each of WORDS must begin a word of the prompt; case and accents make no difference. Text in scripts
    without spaces, such as Chinese and Japanese, is found anywhere. There is no syntax: quotes and operators
    are ignored. Erased prompts are not found.

    \b
    Example:
      sora-ledger find paper boat
      sora-ledger find 夜景 --state stored --since 2026-11-01
    """
    query = " ".join(words)
    if not prefixes_of(query):
        raise BadValue(
            f"no letter or digit in {query!r}: name a word of the prompt",
            param_hint="WORDS",
            expected="a word with a letter or digit",
            found=query,
        )
    with inv.reader(searchable=True) as ledger:

        def document(match: "FoundJob") -> dict[str, Any]:
            return job_document(match.job, ledger) | {
                "snippet": snippet_of(match, query, IN_JSON).text,
                "poster": poster_of(match.job, inv.settings),
            }

        def text(console: "Console", passing: "Iterable[FoundJob]") -> None:
            show_found(console, passing, query, lambda job: poster_of(job, inv.settings))

        inv.emit_each("jobs", find_each(ledger, query, filter_of(**where), limit), document, text)
