"""Find jobs by the words of their prompts, and show where the words occur. Reads only."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.filters import ALL_JOBS, JobFilter
from ledger.store.interface import FoundJob
from ledger.store.search import spans_of
from ledger.terms import Variant
from render_service.runtime.documents import ERASED
from render_service.runtime.printable import printable
from render_service.runtime.settings import Settings

_PART = 200
_BEFORE = 16
"""Characters shown in a snippet before the first match."""


def find_each(
    ledger: Ledger,
    words: str,
    where: JobFilter,
    limit: int | None = None,
    *,
    sees: Sequence[JobFilter] = ALL_JOBS,
) -> Iterator[FoundJob]:
    """Yield the jobs whose prompts have all `words`, newest first, with only some of them in memory."""
    left, beyond = limit, None
    while left is None or left > 0:
        part = ledger.store.search(
            words, where, _PART if left is None else min(_PART, left), sees=sees, beyond=beyond
        )
        if not part:
            return
        yield from part
        left = None if left is None else left - len(part)
        beyond = part[-1].position


class Snippet(NamedTuple):
    """A piece of a prompt on one line, and the places of the search words in it."""

    text: str
    spans: tuple[tuple[int, int], ...]


def snippet_of(match: FoundJob, words: str, width: int) -> Snippet:
    """Return the piece of the prompt around the first match, at most `width` characters.

    If only a field of the prompt matches, the field is shown with its name.
    """
    lines = [
        printable(
            " ".join((text if field == "prompt" else f"{field.removeprefix('fields.')}: {text}").split())
        )
        for field, text in sorted(match.texts.items(), key=lambda item: item[0] != "prompt")
    ]
    if not lines:
        return Snippet(ERASED if match.job.operation else "", ())
    line = next((line for line in lines if spans_of(line, words)), lines[0])
    spans = spans_of(line, words)
    start = max(0, spans[0][0] - _BEFORE) if spans and len(line) > width else 0
    start = max(0, min(start, len(line) - width + 1))
    begin = "…" if start else ""
    end = "…" if len(line) - start > width - len(begin) else ""
    cut = line[start : start + width - len(begin) - len(end)]
    shift = len(begin) - start
    visible = [(a + shift, b + shift) for a, b in spans if a >= start and b <= start + len(cut)]
    return Snippet(f"{begin}{cut}{end}", tuple(visible))


def poster_of(job: Job, settings: Settings) -> str | None:
    """Return the path of the thumbnail of `job`, or its URL in a bucket; None if none is stored."""
    return path_of(job, settings, Variant.THUMBNAIL)


def path_of(job: Job, settings: Settings, variant: Variant) -> str | None:
    """Return the path of a stored file of `job`, or its URL in a bucket; None if it was not stored."""
    asset = job.assets.get(variant)
    if asset is None:
        return None
    scheme, _, name = asset.storage_uri.partition(":")
    if scheme != "asset":
        return asset.storage_uri
    if settings.assets_url:
        return f"{settings.assets_url}/{name}"
    return str(settings.assets_folder.absolute() / name)
