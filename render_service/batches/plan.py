"""Turn the entries of a batch into requests that can be decided, each with its own idempotency key.

The key consists of the name of the batch, or else its output folder, and the number of the entry. After a
crash the ledger therefore knows what was sent, whichever files exist. The key contains no part of the prompt,
because a key cannot be erased. All problems of all entries are reported at once, before anything is recorded
or sent.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from decision.advice.reading import missing_details
from decision.errors import DecisionError
from decision.request.attachments import SEVERAL_IMAGES
from decision.request.request import DEFAULT_SIZE, ReferenceImage, RenderRequest, parse_request
from decision.rules.catalog import Catalog
from render_service.assets.fit import Fit, first_frame
from render_service.assets.inputs import NOTHING, Material
from render_service.batches.file import BatchInvalid, Entry, Problem, Reading
from render_service.runtime.errors import BadInput


@dataclass(frozen=True)
class Planned:
    """An entry with its request and files."""

    entry: Entry
    request: RenderRequest
    material: Material = NOTHING


def plan(
    reading: Reading,
    *,
    name: str,
    batch: str,
    defaults: Mapping[str, Any],
    catalog: Catalog,
    fit: Fit | None = None,
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
            values = {**defaults, **entry.values}
            images, material = read(entry.images, str(values.get("size") or DEFAULT_SIZE), fit)
            if len(images) > 1:
                values["options"] = {**values.get("options", {}), SEVERAL_IMAGES: True}
            request = parse_request(
                catalog=catalog,
                operation="create",
                prompt=entry.prompt,
                fields=entry.fields,
                input_reference=images[0] if images else None,
                further_images=images[1:],
                request_key=request_key(batch, entry.number),
                **values,
            )
        except (DecisionError, BadInput) as error:
            problems.append(Problem(entry.line, str(error)))
        else:
            planned.append(Planned(entry, request, material))
            problems += [Problem(entry.line, missing.question) for missing in missing_details(request)]
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
