"""The guardrails of a policy: lists of terms, and the effect of a server's moderation of the prompt.

A rule has a code, which decisions record, and says what it does: ``warn`` marks the decision, ``hold`` has a
person approve it first, ``deny`` refuses it. A rule that holds is also an approval rule of the policy, under
the same code, so that its approvers are checked like any others (`holding_rules`).
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from decision.rules.document import Document, Entry
from decision.rules.purpose import FINAL_PURPOSES
from decision.rules.terms import fold_term

FLAGGED = "MODERATION_FLAGGED"
"""The code for a server's flag that no category rule covers."""
MISSING = "MODERATION_MISSING"
"""The code for a prompt that no server moderated."""

LONGEST_TERM = 200


class Action(StrEnum):
    """The action of a rule on a matching request."""

    WARN = "warn"
    HOLD = "hold"
    DENY = "deny"


def _check_term(term: str) -> str:
    if len(term) > LONGEST_TERM:
        raise ValueError(f"a term has at most {LONGEST_TERM} characters, found {len(term)}")
    if not re.search(r"\w", fold_term(term)):
        raise ValueError(f"expected a word or a phrase with a letter or digit, found {term!r}")
    return term


Code = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
Term = Annotated[str, AfterValidator(_check_term)]
Category = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_/-]{0,63}$")]
"""A category of a moderation, in the server's words, such as ``violence/graphic``."""


class TermRule(Entry):
    """The action on a prompt that contains one of `terms`: exact words or phrases, in any script."""

    code: Code
    then: Action
    terms: Annotated[tuple[Term, ...], Field(min_length=1)]


class CategoryRule(Entry):
    """The action on a prompt with this result of a server's moderation.

    It matches prompts with a score of at least `min_ppm` (parts per million) in one of `categories`; without
    `min_ppm`, the prompts that the server flags in one of them.
    """

    code: Code
    then: Action
    categories: Annotated[tuple[Category, ...], Field(min_length=1)]
    min_ppm: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] | None = None

    def matches(self, flagged: tuple[str, ...], ppm: Mapping[str, int]) -> bool:
        """Return whether it matches a prompt with this moderation."""
        if self.min_ppm is None:
            return bool(set(self.categories) & set(flagged))
        return any(ppm.get(name, -1) >= self.min_ppm for name in self.categories)


class Moderation(Entry):
    """Ask the server of the render to moderate the prompt before it is rendered.

    `model` is the server's moderation model, None for its default. `flagged` is the action on flags in
    categories without a rule; `unreachable` the action on a prompt that could not be moderated, by default
    ``hold`` for final purposes and ``warn`` for the others.
    """

    model: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")] | None = None
    flagged: Action = Action.HOLD
    unreachable: Action | None = None
    rules: tuple[CategoryRule, ...] = ()


class Guardrails(Document):
    """Lists of terms, and the effects of moderation; `moderation` None asks no server."""

    terms: tuple[TermRule, ...] = ()
    moderation: Moderation | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes that decisions may record."""
        own = [rule.code for rule in self.terms]
        if self.moderation is not None:
            own += [*(rule.code for rule in self.moderation.rules), FLAGGED, MISSING]
        return tuple(own)

    def action(self, code: str, purpose: str) -> Action | None:
        """Return the action of the rule `code` on a request for `purpose`; None without such a rule."""
        moderation = self.moderation
        actions = {rule.code: rule.then for rule in self.terms}
        if moderation is not None:
            missing = Action.HOLD if purpose in FINAL_PURPOSES else Action.WARN
            actions |= {rule.code: rule.then for rule in moderation.rules}
            actions |= {FLAGGED: moderation.flagged, MISSING: moderation.unreachable or missing}
        return actions.get(code)

    def holding_rules(self) -> Iterator[dict[str, Any]]:
        """Yield the approval rules for the rules that hold."""
        own = [(rule.code, rule.then) for rule in self.terms]
        own += [(rule.code, rule.then) for rule in self._category_rules]
        if self.moderation is not None:
            own += [(FLAGGED, self.moderation.flagged)]
        yield from ({"code": code, "guardrails": [code]} for code, then in own if then is Action.HOLD)
        if self.moderation is not None and self.moderation.unreachable in {None, Action.HOLD}:
            by_default = self.moderation.unreachable is None
            purposes = {"purposes": list(FINAL_PURPOSES)} if by_default else {}
            yield {"code": MISSING, "guardrails": [MISSING], **purposes}

    @property
    def _category_rules(self) -> tuple[CategoryRule, ...]:
        return self.moderation.rules if self.moderation is not None else ()

    @model_validator(mode="after")
    def _names_rules_once(self) -> Self:
        own = self.codes
        twice = next((code for code in own if own.count(code) > 1), None)
        if twice:
            raise ValueError(f"two rules have the code {twice}; give each its own")
        return self
