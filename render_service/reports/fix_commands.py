"""After a denial: the command line to type, made from the recorded request and the fixes of the denial.

All fixes belong together, so one command applies all of them; a request for several changes becomes one
command for each. What the record no longer holds is named in capitals, for the person to fill in.
"""

import shlex
from collections.abc import Iterator

from decision.engine.approval import Considered
from decision.money import usd_digits
from decision.one_change.split import split_request
from decision.request.prompt import FIELDS
from decision.request.request import AUTO, DEFAULT_SECONDS, DEFAULT_SIZE
from ledger.events import Fix, Operation, RenderDenied, RenderRequested
from ledger.private import Private

Flags = dict[str, str | bool | None]
"""Flags with their values; True stands alone, None and False are left out."""

BEFORE = "ID_OF_THE_REMIX_BEFORE"
_DROPPED = {
    "input_reference": "--input-reference",
    "model": "--model",
    "size": "--size",
    "seconds": "--seconds",
    "seed": "--seed",
    "loop": "--loop",
    "character_ids": "--character-id",
    "reference_url": "--input-reference-url",
    "reference_file_id": "--input-reference-file-id",
}
_WAITS = {
    "source": "sora-ledger poll --id {source}",
    "draft": "sora-ledger review {source} --verdict approved",
    "reference_faces": "pip install 'sora-ledger[faces]'",
}
_SET = {"model": "--model", "size": "--size", "seconds": "--seconds"}


def commands_after(denied: RenderDenied, asked: RenderRequested) -> list[str]:
    """Return what to type, in this order, to be allowed; nothing where no command can do it."""
    fixes = denied.denial_trace.minimal_fix
    if any(fix.field in {"catalog", "budget_left_usd_micros"} for fix in fixes):
        return []
    if any(fix.action == "split" for fix in fixes):
        return list(_one_by_one(denied, asked, fixes))
    operation, flags = asked.operation, _asked(denied, asked)
    for fix in fixes:
        operation = _apply(fix, flags, operation)
    waits = [_WAITS[fix.field].format(source=_source(asked)) for fix in fixes if fix.field in _WAITS]
    return [*waits, _line(operation, flags)]


def command_again(ruling: Considered, asked: RenderRequested) -> str:
    """Return the command that asks for the same render once more, as a new job."""
    return _line(asked.operation, _asked(ruling, asked))


def _one_by_one(denied: RenderDenied, asked: RenderRequested, fixes: tuple[Fix, ...]) -> Iterator[str]:
    """Yield one remix for each change, each of the result of the one before."""
    texts = {name: _text(field, name) for name, field in asked.fields.items()}
    source = _source(asked)
    for text in split_request(_text(asked.prompt, "prompt"), texts):
        flags = {name: value for name, value in _asked(denied, asked).items() if name[2:] not in _FLAGS}
        for fix in fixes:
            if fix.action != "split":
                _apply(fix, flags, asked.operation)
        yield _line(asked.operation, flags | {"--id": source, "--prompt": text})
        source = BEFORE


def _apply(fix: Fix, flags: Flags, operation: Operation) -> Operation:
    """Change `flags` as `fix` says, and return the operation after it."""
    value = fix.value
    match fix.field, fix.action:
        case "operation", "set":
            flags.pop("--id", None)
            return Operation(str(value))
        case "max_cost_usd_micros", "raise":
            flags["--max-cost"] = usd_digits(int(value or 0))
        case "attested", "set":
            flags["--attest"] = True
        case "profile", "set":
            flags["--profile"] = "PROFILE"
        case "prompt", "set":
            flags["--prompt"] = "WHAT IS TO CHANGE"
        case "draft", "wait" if operation is Operation.CREATE:
            flags["--promotes"] = flags["--promotes"] or "DRAFT"
        case (("source" | "draft" | "reference_faces"), _):
            pass  # nothing to type on this line
        case field, "drop" if field in _DROPPED:
            flags[_DROPPED[field]] = None
        case field, "set" if field in _SET:
            flags[_SET[field]] = str(value)
        case _:
            flags.setdefault(f"--{fix.field.replace('_', '-')}", fix.field.upper())
    return operation


def _asked(ruling: Considered, asked: RenderRequested) -> Flags:
    """Return the flags the request was made with, as far as its record tells."""
    inputs = ruling.basis.inputs
    creates, extends = asked.operation is Operation.CREATE, asked.operation is Operation.EXTEND
    size = asked.size if creates else inputs.get("wished_size")
    seconds = inputs.get("seconds") if creates or extends else inputs.get("wished_seconds")
    limit = asked.max_cost_usd_micros
    return {
        "--id": None if creates else _source(asked),
        "--prompt": _text(asked.prompt, "prompt"),
        **{f"--{name.replace('_', '-')}": _text(asked.fields[name], name) for name in _given(asked)},
        "--model": None if asked.requested_model == AUTO else asked.requested_model,
        "--size": None if size == DEFAULT_SIZE else str(size or "") or None,
        "--seconds": None if creates and seconds == DEFAULT_SECONDS else str(seconds or "") or None,
        "--input-reference": _text(asked.input_reference.name, "file") if asked.input_reference else None,
        "--input-reference-url": _text(asked.reference_url, "url") if asked.reference_url else None,
        "--input-reference-file-id": asked.reference_file_id,
        "--character-id": " --character-id ".join(asked.character_ids) or None,
        "--seed": str(asked.options["seed"]) if "seed" in asked.options else None,
        "--loop": asked.options.get("loop") is True,
        "--purpose": None if asked.purpose == "draft" else asked.purpose,
        "--promotes": asked.source_job if creates else None,
        "--max-cost": None if limit is None else usd_digits(limit),
        "--attest": asked.attested,
        "--no-augment": inputs.get("augment") is False,
    }


_FLAGS = frozenset(name.replace("_", "-") for name in FIELDS)


def _given(asked: RenderRequested) -> list[str]:
    return [name for name in FIELDS if name in asked.fields]


def _source(asked: RenderRequested) -> str:
    return asked.source_job or asked.remix_video_id or "DRAFT"


def _text(private: Private, name: str) -> str:
    return name.upper() if private.text is None else private.text


def _line(operation: Operation, flags: Flags) -> str:
    words = ["sora-ledger", operation.value]
    for flag, value in flags.items():
        if value is True:
            words.append(flag)
        elif flag == "--character-id" and value:
            words += [flag, str(value)]  # several are one value with the flag between them
        elif value:
            words += [flag, shlex.quote(str(value))]
    return " ".join(words)
