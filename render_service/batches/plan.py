"""Turn the entries of a batch into requests that can be decided, each with its own idempotency key.

The key consists of the name of the batch, or else its output folder, and the number of the entry. So after a
crash the ledger knows what was sent, whichever files exist. The key contains no part of the prompt, because a
key cannot be erased. All problems of all entries are reported at once, before anything is recorded or sent.

An entry that changes a video is a remix of it. If remixes are split, several changes become several requests:
the first is the entry's, and the others follow it as in any queued split.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from decision.advice.reading import missing_details
from decision.errors import DecisionError
from decision.one_change.lexicon import FIELD_ASPECTS
from decision.one_change.split import declared, split_request
from decision.request.attachments import SEVERAL_IMAGES
from decision.request.request import DEFAULT_SIZE, ReferenceImage, RenderRequest, Source, parse_request
from decision.rules.catalog import Catalog
from ledger.errors import AmbiguousJob, JobNotFound
from ledger.events import SplitPlanned
from render_service.assets.fit import Fit, first_frame
from render_service.assets.inputs import NOTHING, Material
from render_service.batches.file import REMIX_OF, BatchInvalid, Entry, Problem, Reading
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.splits import plan_split, step_key

SourceOf = Callable[[str], tuple[Source, str]]
"""Returns a video by its name, and the profile of its server; raises any obstacle to a remix of it."""

SHAPE = ("model", "size", "seconds")
"""The values that a remix takes from its source, whatever the defaults of the batch are."""


@dataclass(frozen=True)
class Planned:
    """An entry with its request and files, and the remixes that follow it if it is split."""

    entry: Entry
    request: RenderRequest
    material: Material = NOTHING
    following: tuple[RenderRequest, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether the request is the entry as written, and not a remix of its split."""
        return self.request.prompt == self.entry.prompt

    @property
    def split(self) -> SplitPlanned | None:
        """Recorded with the request of a split entry, for the worker that continues it."""
        if not self.following:
            return None
        rest = [(request.prompt, request.declared_change) for request in self.following]
        return plan_split(str(self.request.request_key), 1, rest)


def _unknown(name: str) -> tuple[Source, str]:
    raise JobNotFound(
        f"{name} cannot be changed without a ledger that knows it",
        param=REMIX_OF,
        expected="a job of this ledger",
        found=name,
    )


@dataclass(frozen=True)
class Remixes:
    """How remixes are planned: `source_of` finds their videos, and with `split` several changes are split."""

    source_of: SourceOf = _unknown
    split: bool = False


def plan(
    reading: Reading,
    *,
    name: str,
    batch: str,
    defaults: Mapping[str, Any],
    catalog: Catalog,
    fit: Fit | None = None,
    remixes: Remixes = Remixes(),
) -> list[Planned]:
    """Return the requests for the entries of the batch with the id `batch`; `defaults` fill missing values.

    `BatchInvalid` lists all problems.

    A missing detail is a problem on a terminal too: it belongs in the file, which --resume reads again.
    Images are fitted to the size of their entry with `fit`, and refused if they differ from it without `fit`.
    """
    read = cache(partial(_read_references, catalog.sizes))
    planned: list[Planned] = []
    problems = list(reading.problems)
    for entry in reading.entries:
        try:
            key = request_key(batch, entry.number)
            if entry.remix_of is not None:
                item = _remix(entry, key, defaults, catalog, remixes)
            else:
                item = _create(entry, key, {**defaults, **entry.values}, catalog, partial(read, fit=fit))
        except (DecisionError, AmbiguousJob, JobNotFound, BadInput, NotReady) as error:
            problems.append(Problem(entry.line, str(error)))
        else:
            planned.append(item)
            problems += [Problem(entry.line, missing.question) for missing in missing_details(item.request)]
    if problems:
        raise BatchInvalid(name, problems)
    if not planned:
        raise BadInput(
            f"{name}: it contains no entries; each line is a JSON object with a prompt, or a prompt",
            param="input",
            expected="at least one entry",
            found="none",
        )
    return planned


def _create(
    entry: Entry,
    key: str,
    values: dict[str, Any],
    catalog: Catalog,
    read: "Callable[[Sequence[Path], str], tuple[tuple[ReferenceImage, ...], Material]]",
) -> Planned:
    images, material = read(entry.images, str(values.get("size") or DEFAULT_SIZE))
    if len(images) > 1:
        values["options"] = {**values.get("options", {}), SEVERAL_IMAGES: True}
    request = parse_request(
        catalog=catalog,
        operation="create",
        prompt=entry.prompt,
        fields=entry.fields,
        input_reference=images[0] if images else None,
        further_images=images[1:],
        request_key=key,
        **values,
    )
    return Planned(entry, request, material)


def _remix(
    entry: Entry, key: str, defaults: Mapping[str, Any], catalog: Catalog, remixes: Remixes
) -> Planned:
    """Return the remix of an entry, or the first of several, with the others to follow."""
    source, profile = remixes.source_of(str(entry.remix_of))
    values = {name: value for name, value in defaults.items() if name not in SHAPE}
    values |= {**entry.values, "profile": profile}

    def request(number: int, prompt: str, fields: Mapping[str, str], change: str | None) -> RenderRequest:
        own = {"prompt": prompt, "fields": dict(fields), "declared_change": change}
        own["request_key"] = key if number == 1 else step_key(key, number)
        return parse_request(catalog=catalog, operation="remix", source=source, **{**values, **own})

    declaration = entry.values.get("declared_change")
    parts = split_request(entry.prompt, entry.fields) if remixes.split and declaration is None else ()
    if len(parts) <= 1:
        return Planned(entry, request(1, entry.prompt, entry.fields, declaration))
    shared = {name: text for name, text in entry.fields.items() if name not in FIELD_ASPECTS}
    first, *rest = (request(n, part, shared, declared(part)) for n, part in enumerate(parts, 1))
    return Planned(entry, first, following=tuple(rest))


def request_key(batch: str, number: int) -> str:
    """Return the idempotency key of one entry."""
    return f"batch:{batch}:{number:03d}"


def _read_references(
    sizes: Collection[str], paths: Sequence[Path], size: str, fit: Fit | None
) -> tuple[tuple[ReferenceImage, ...], Material]:
    """Return an entry's images and their contents; an invalid size is left for `parse_request` to refuse.

    Only the first is fitted to the size: the others show a subject, not a frame.
    """
    if not paths:
        return (), NOTHING
    first = first_frame(paths[0], size, fit if size in sizes else None)
    further = [first_frame(path) for path in paths[1:]]
    material = Material(
        reference=first.content,
        original=first.original,
        further=tuple(frame.content for frame in further),
        further_originals=tuple(frame.original for frame in further),
    )
    return tuple(frame.image for frame in (first, *further)), material
