"""Build the command lines that fix a denial, from the recorded request and the fixes of the denial.

All fixes are applied together in one command; a request for several changes becomes one command for each
change. Values that are no longer in the record appear in capitals, for the person to fill in.

`ways_out` says the same in the words of a form, for people who do not type commands.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping

from decision.money import format_usd, usd_digits
from decision.one_change.split import declared, split_by
from decision.request.attachments import SERVER_OPTIONS, flag_of
from decision.request.prompt import FIELDS
from decision.request.request import AUTO, DEFAULT_SECONDS, DEFAULT_SIZE
from decision.rules.roles import Permission
from ledger.events import Considered, Fix, RenderDenied, RenderRequested
from ledger.private import Private
from ledger.terms import Operation

Flags = dict[str, str | bool | None]
"""Options with their values; True is printed without a value, None and False are omitted."""

BEFORE = "ID_OF_THE_REMIX_BEFORE"
_DROPPED = {
    "input_reference": "--input-reference",
    "model": "--model",
    "size": "--size",
    "seconds": "--seconds",
    **{name: flag_of(name) for name in SERVER_OPTIONS},
    "input_references": "--all-images",
    "character_ids": "--character-id",
    "reference_url": "--input-reference-url",
    "reference_file_id": "--input-reference-file-id",
}
_WAITS = {
    "source": "sora-ledger poll --id {source}",
    "draft": "sora-ledger review {source} --verdict approved",
    "reference_faces": "pip install 'sora-ledger[faces]'",
}
_SET = {
    "model": "--model",
    "size": "--size",
    "seconds": "--seconds",
    "declared_change": "--declare-change",
}


def commands_after(denied: RenderDenied, requested: RenderRequested, *, with_keys: bool = False) -> list[str]:
    """Return the commands, in order, that would be allowed; none if no command can fix the denial.

    `with_keys` gives each a request key derived from the denied one, so that it can be repeated.
    """
    commands = _commands_after(denied, requested)
    if not with_keys or requested.request_key is None:
        return commands
    keys = (shlex.quote(f"{requested.request_key}.{number}") for number in range(1, len(commands) + 1))
    pays = tuple(f"sora-ledger {operation}" for operation in Operation)
    return [
        f"{command} --request-key {next(keys)}" if command.startswith(pays) else command
        for command in commands
    ]


def _commands_after(denied: RenderDenied, requested: RenderRequested) -> list[str]:
    fixes = denied.denial_trace.minimal_fix
    if any(fix.field in {"catalog", "budget_left_usd_micros"} for fix in fixes):
        return []
    if any(fix.action == "split" for fix in fixes):
        return list(_one_by_one(denied, requested, fixes))
    operation, flags = requested.operation, _recorded_options(denied, requested)
    for fix in fixes:
        operation = _apply(fix, flags, operation)
    waits = [_WAITS[fix.field].format(source=_source(requested)) for fix in fixes if fix.field in _WAITS]
    return [*waits, _line(operation, flags)]


def command_again(ruling: Considered, requested: RenderRequested) -> str:
    """Return the command that requests the same render once more, as a new job."""
    return _line(requested.operation, _recorded_options(ruling, requested))


def _one_by_one(denied: RenderDenied, requested: RenderRequested, fixes: tuple[Fix, ...]) -> Iterator[str]:
    """Yield one remix for each change, each starting from the result of the previous one."""
    texts = {name: _text(field, name) for name, field in requested.fields.items()}
    source = _source(requested)
    changes = denied.denial_trace.changes if requested.prompt.text is not None else ()
    for text in split_by(_text(requested.prompt, "prompt"), texts, changes):
        flags = {
            name: value
            for name, value in _recorded_options(denied, requested).items()
            if name[2:] not in _FLAGS
        }
        for fix in fixes:
            if fix.action != "split":
                _apply(fix, flags, requested.operation)
        flags |= {"--id": source, "--prompt": text, "--declare-change": declared(text)}
        yield _line(requested.operation, flags)
        source = BEFORE


def _apply(fix: Fix, flags: Flags, operation: Operation) -> Operation:
    """Apply `fix` to `flags`, and return the resulting operation."""
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
        case ("prompt", "set") | (("terms" | "moderation"), "drop"):
            flags["--prompt"] = "WHAT IS TO CHANGE" if fix.field == "prompt" else "THE PROMPT WITHOUT IT"
        case "draft", "wait" if operation is Operation.CREATE:
            flags["--promotes"] = flags["--promotes"] or "DRAFT"
        case (("source" | "draft" | "reference_faces" | "moderation"), _):
            pass  # this fix needs no option
        case field, "drop" if field in _DROPPED:
            flags[_DROPPED[field]] = None
        case field, "set" if field in _SET:
            flags[_SET[field]] = str(value)
        case _:
            flags.setdefault(f"--{fix.field.replace('_', '-')}", fix.field.upper())
    return operation


def _recorded_options(ruling: Considered, requested: RenderRequested) -> Flags:
    """Return the options of the request, as far as they are recorded.

    A field without an entry in `_typed` has an option of the same name.
    """
    typed = _typed(ruling, requested)
    flags: Flags = {flag: value for of_field in typed.values() for flag, value in of_field.items()}
    others = (name for name in RenderRequested.__struct_fields__ if name not in typed)
    return flags | {f"--{name.replace('_', '-')}": _value(name, requested) for name in others}


def _typed(ruling: Considered, requested: RenderRequested) -> dict[str, Flags]:
    """Return, by field, the options that are not just the value of the field, in command-line order."""
    inputs = ruling.basis.inputs
    creates, extends = requested.operation is Operation.CREATE, requested.operation is Operation.EXTEND
    size = requested.size if creates else inputs.get("wished_size")
    seconds = inputs.get("seconds") if creates or extends else inputs.get("wished_seconds")
    limit, image, url = requested.max_cost_usd_micros, requested.input_reference, requested.reference_url
    return {
        "access_key_id": {},
        "operation": {"--id": None if creates else _source(requested)},
        "prompt": {"--prompt": _text(requested.prompt, "prompt")},
        "fields": {
            f"--{name.replace('_', '-')}": _text(requested.fields[name], name)
            for name in _field_names(requested)
        },
        "requested_model": {
            "--model": None if requested.requested_model == AUTO else requested.requested_model
        },
        "size": {"--size": None if size == DEFAULT_SIZE else str(size or "") or None},
        "seconds": {
            "--seconds": None if creates and seconds == DEFAULT_SECONDS else str(seconds or "") or None
        },
        "input_reference": {"--input-reference": _text(image.name, "file") if image else None},
        "reference_url": {"--input-reference-url": _text(url, "url") if url else None},
        "reference_file_id": {"--input-reference-file-id": requested.reference_file_id},
        "character_ids": {"--character-id": " --character-id ".join(requested.character_ids) or None},
        "options": {
            flag_of(name): value if isinstance(value := requested.options[name], bool) else str(value)
            for name in SERVER_OPTIONS
            if name in requested.options
        },
        "purpose": {"--purpose": None if requested.purpose == "draft" else requested.purpose},
        "source_job": {"--promotes": requested.source_job if creates else None},
        "max_cost_usd_micros": {"--max-cost": None if limit is None else usd_digits(limit)},
        "attested": {"--attest": requested.attested, "--declare-change": _declared(inputs)},
        "augmented_prompt": {"--no-augment": inputs.get("augment") is False},
        **{name: {} for name in _NOT_TYPED},
    }


def _declared(inputs: Mapping[str, object]) -> str | None:
    declared = inputs.get("declared_change")
    return str(declared) if declared else None


_NOT_TYPED = ("request_key", "further_images", "remix_video_id", "source_file", "profile")


def _value(name: str, requested: RenderRequested) -> str | bool | None:
    value = getattr(requested, name)
    if isinstance(value, Private):
        return _text(value, name)
    return value if value is None or isinstance(value, bool) else str(value)


_FLAGS = frozenset(name.replace("_", "-") for name in FIELDS)


def _field_names(requested: RenderRequested) -> list[str]:
    return [name for name in FIELDS if name in requested.fields]


def _source(requested: RenderRequested) -> str:
    return requested.source_job or requested.remix_video_id or "DRAFT"


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


_Words = Callable[[Fix, RenderDenied], str]


def ways_out(denied: RenderDenied) -> list[str]:
    """Return, as sentences, the smallest changes that would be allowed, all of which are needed."""
    return [_sentence(fix, denied) for fix in denied.denial_trace.minimal_fix]


def who_can(denied: RenderDenied) -> Permission:
    """Return the permission a person needs to make the first change."""
    fields = {fix.field for fix in denied.denial_trace.minimal_fix}
    if fields & {"budget_left_usd_micros", "catalog", "reference_faces"}:
        return Permission.ADMINISTER
    return Permission.REVIEW if "draft" in fields else Permission.REQUEST


def _sentence(fix: Fix, denied: RenderDenied) -> str:
    """Return one change; an unknown one, from another version, as recorded."""
    words = _WORDS.get((fix.field, fix.action))
    if words is not None:
        return words(fix, denied)
    value = "" if fix.value is None else f": {fix.value}"
    return f"{fix.action.capitalize()} {fix.field.replace('_', ' ')}{value}."


def _usd(fix: Fix) -> str:
    return format_usd(fix.value if isinstance(fix.value, int) else 0)


def _left_out(what: str) -> _Words:
    def words(_: Fix, denied: RenderDenied) -> str:
        rest = " has that of its source" if denied.basis.inputs.get("operation") == "remix" else " keeps it"
        return f"Leave the {what} open: the result{rest}. Or request a new video with the {what} you want."

    return words


def _plain(words: str) -> _Words:
    return lambda _, __: words


_WORDS: Mapping[tuple[str, str], _Words] = {
    ("model", "set"): lambda fix, _: f"Choose the model {fix.value}.",
    ("size", "set"): lambda fix, _: f"Choose the size {fix.value}.",
    ("seconds", "set"): lambda fix, _: f"Choose {fix.value} seconds.",
    ("max_cost_usd_micros", "raise"): lambda fix, _: f"Raise the cost limit to {_usd(fix)}.",
    ("budget_left_usd_micros", "raise"): lambda fix, _: (
        f"Have the budget raised until {_usd(fix)} are left, or wait for the next period."
    ),
    ("source", "wait"): lambda _, __: "Wait until the source video is completed.",
    ("operation", "set"): lambda _, __: "Request a new video instead, with a prompt of its own.",
    ("model", "drop"): _left_out("model"),
    ("size", "drop"): _left_out("size"),
    ("seconds", "drop"): _left_out("length"),
    ("prompt", "split"): lambda fix, _: (
        f"Make {fix.value} remixes with one change each, each of the result of the one before."
    ),
    ("prompt", "set"): lambda _, __: "Say in the prompt which one thing is to change.",
    ("input_reference", "drop"): lambda _, __: (
        "Crop the face out of the image, or leave the image out and describe the person in the prompt."
    ),
    ("reference_faces", "set"): lambda _, __: (
        "Images cannot be checked for faces on this machine: its operator installs the extra `faces`."
    ),
    ("declared_change", "set"): lambda _, __: (
        "Word it as one change; or, if it is one, choose under Limits and rules what it changes."
    ),
    ("terms", "drop"): lambda fix, _: (
        f"Leave out the words that the rule {fix.value} names; the page Policy shows its terms."
    ),
    ("moderation", "drop"): lambda fix, _: (
        f"Change what the rule {fix.value} is about; do not rephrase it to slip past the check."
    ),
    ("moderation", "wait"): lambda _, __: (
        "Try again when the server can be asked, or choose one that has moderations."
    ),
    ("attested", "set"): lambda _, __: "Read the guardrails of the policy and confirm them.",
    ("draft", "wait"): lambda _, __: "Have a draft reviewed and approved, and base the final render on it.",
    ("profile", "set"): lambda _, __: "Choose a server that offers it.",
    **{(name, "drop"): _plain(option.advice) for name, option in SERVER_OPTIONS.items()},
    ("input_references", "drop"): lambda _, __: (
        "Send the first image only, or choose a server that takes several."
    ),
    ("character_ids", "drop"): lambda _, __: "Leave out the characters, or choose a server that has them.",
    ("reference_url", "drop"): lambda _, __: "Send the image as a file, and not as an address.",
    ("reference_file_id", "drop"): lambda _, __: "Send the image as a file, and not as a file of the server.",
    ("catalog", "set"): lambda _, __: (
        "The model has no price: an administrator adds it to the catalog. Or request a new video."
    ),
}
