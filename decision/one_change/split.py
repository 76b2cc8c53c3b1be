"""Split a remix that asks for several changes into remixes that ask for one each.

A change that shares its verb with the one before gets it back ("make the car red and the sky purple": "make
the sky purple"); what stays is repeated in each. Nothing else is added to the original text.
"""

from collections.abc import Iterator, Mapping, Sequence

from decision.one_change import invariants, lexicon
from decision.one_change.clauses import Clause
from decision.one_change.grammar import Role, is_editing, is_imperative
from decision.one_change.verdict import check_remix, check_single_change, read_clauses
from ledger.events import Change


def split(prompt: str) -> tuple[str, ...]:
    """Return one prompt per change, in order; a prompt without several changes is returned unchanged."""
    verdict = check_single_change(prompt)
    if verdict.verdict != "multiple":
        return (prompt,)
    reading, clauses = read_clauses(prompt)
    if reading != verdict:  # not in words the grammar knows
        return tuple(_capitalize(prompt[change.start : change.end]) for change in verdict.changes)
    sentences = [_capitalize(_trim_clause(prompt, clause)) for clause in clauses if _says_what_stays(clause)]
    places = {change.start for change in verdict.changes}
    parts = _changes(prompt, clauses, places)
    return tuple(". ".join([*sentences, _capitalize(part)]) for part in parts)


def declared(part: str) -> str | None:
    """Return the aspect to declare for a part; None if its own words show that it is one change."""
    verdict = check_single_change(part)
    if verdict.verdict != "ambiguous":
        return None
    return verdict.changes[0].aspect if verdict.changes else lexicon.DEFAULT_ASPECT


def split_request(prompt: str, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return the same for a prompt with fields, including each field that is a separate change."""
    _, changes = check_remix(prompt, fields)
    apart = {change.aspect for change in changes if change.start == change.end}
    parts = split(prompt) if len(changes) > len(apart) else ()
    lines = (
        f"Change only the {name} to {text}"
        for name, text in fields.items()
        if lexicon.FIELD_ASPECTS.get(name) in apart
    )
    return (*parts, *lines)


def split_by(prompt: str, fields: Mapping[str, str], changes: Sequence[Change]) -> tuple[str, ...]:
    """Return the same from the recorded places of the changes, if the rules here cannot split it."""
    parts = split_request(prompt, fields)
    if len(parts) > 1 or len(changes) < _SEVERAL:
        return parts
    return tuple(_capitalize(prompt[change.start : change.end]) for change in changes if change.end) or parts


_SEVERAL = 2


def _changes(prompt: str, clauses: Sequence[Clause], places: set[int]) -> Iterator[str]:
    verb = ""
    for clause in clauses:
        text = _trim_clause(prompt, clause)
        words = clause.words
        if clause.role is Role.INVARIANT:
            verb = ""  # "keep" does not apply to what changes
        elif is_imperative(words, opening=True):
            verb = words[0]
        if clause.span[0] in places:
            yield _with_verb(text, verb, clause)


def _with_verb(text: str, verb: str, clause: Clause) -> str:
    """Return the words of a change with a verb: its own, or the previous change's."""
    words = clause.words
    if clause.lead is not None or not words:
        return text
    if is_editing(words[0]):
        return f"{_plain(words[0])}{text[len(words[0]) :]}"
    states = bool(lexicon.FINITE & set(words)) or set(words) & (lexicon.NOVELTIES | lexicon.CONTRASTS)
    shares = verb and words[0] in lexicon.ARTICLES | {"him", "them"} and not states
    return f"{verb} {text}" if shares else text


def _plain(participle: str) -> str:
    stem = participle.removesuffix("ing")
    return next(form for form in (stem, f"{stem}e", stem[:-1]) if form in lexicon.EDITS)


def _trim_clause(prompt: str, clause: Clause) -> str:
    """Return the text of `clause` without the joints and fillers around it."""
    tokens = list(clause.tokens)
    while len(tokens) > 1 and tokens[0].word in lexicon.SOFT_STOPS | lexicon.OPENING_FILLERS:
        tokens.pop(0)
    while len(tokens) > 1 and tokens[-1].word in lexicon.SOFT_STOPS:
        tokens.pop()
    return prompt[tokens[0].start : tokens[-1].end]


def _says_what_stays(clause: Clause) -> bool:
    words = [token.word for token in clause.tokens]
    remark = invariants.is_remark(words) or invariants.announces_several([*words, ":", "…"])
    return clause.role is Role.INVARIANT and not remark


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
