"""What to change after a denial, in the words of a form: for people who do not type commands.

`decision.engine.explain.what_now` says the same as options of commands, and `fix_commands` as whole commands.
"""

from collections.abc import Callable, Mapping

from decision.money import format_usd
from decision.rules.roles import Permission
from ledger.events import Fix, RenderDenied

_Words = Callable[[Fix, RenderDenied], str]


def ways_out(denied: RenderDenied) -> list[str]:
    """Return the smallest changes that would be allowed, all of which are needed, as sentences."""
    return [_sentence(fix, denied) for fix in denied.denial_trace.minimal_fix]


def who_can(denied: RenderDenied) -> Permission:
    """Return what a person has to be permitted to do, so that they can make the first change."""
    fields = {fix.field for fix in denied.denial_trace.minimal_fix}
    if fields & {"budget_left_usd_micros", "catalog", "reference_faces"}:
        return Permission.ADMINISTER
    return Permission.REVIEW if "draft" in fields else Permission.REQUEST


def _sentence(fix: Fix, denied: RenderDenied) -> str:
    """Return one change; one of another version, which this one does not know, as it was recorded."""
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
    ("seed", "drop"): lambda _, __: "Leave out the seed, or choose a server that takes one.",
    ("loop", "drop"): lambda _, __: "Leave out looping, or choose a server that has it.",
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
