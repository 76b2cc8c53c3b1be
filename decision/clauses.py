"""A remix prompt cut into clauses: where a new one can begin, and whether it changes, keeps or elaborates.

A clause begins at the start of a sentence, or behind a joint (a comma, "and", "while", …) where one of
these stands: words that say what stays (`decision.staying`); an imperative; a statement with its own subject
and verb; a new or different thing; something that repeats what the clause before did (`decision.repeating`),
such as a second pair after the same verb ("the car to a truck and the sky to purple"). An imperative of
directing needs no joint ("make it night make the car red"). Everything else elaborates the clause it is in.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple

from decision import lexicon, repeating, staying
from decision.tokens import Lead, Sentence, Token, sentences
from decision.verbs import is_editing, is_imperative


class Role(StrEnum):
    """What a clause does."""

    CHANGE = "change"
    INVARIANT = "invariant"
    FRAGMENT = "fragment"


class Clause(NamedTuple):
    """Neighbouring tokens with one role; `lead` is None for one that does not begin its sentence."""

    role: Role
    tokens: Sequence[Token]
    lead: Lead | None

    @property
    def words(self) -> list[str]:
        """The words without the joints and fillers the clause begins with."""
        words = [token.word for token in self.tokens]
        return words[_content(words, 0) :]

    @property
    def span(self) -> tuple[int, int]:
        """Where it stands in the text, from its first to its last token that is no joint."""
        tokens = [token for token in self.tokens if token.word not in lexicon.SOFT_STOPS] or self.tokens
        return tokens[0].start, tokens[-1].end


def clauses(text: str) -> Iterator[Clause]:
    """Yield the clauses of `text` in their order."""
    for sentence in sentences(text):
        yield from _Cutter(sentence).clauses()


def _content(words: Sequence[str], index: int) -> int:
    """Return the first position from `index` on that is neither a joint nor a filler."""
    while index < len(words) and words[index] in _EMPTY_OPENERS:
        index += 1
    return index


_EMPTY_OPENERS = lexicon.SOFT_STOPS | lexicon.FILLERS


class _Cutter:
    """One sentence being cut, left to right; `begin`, `role` and `head` are those of the open clause."""

    def __init__(self, sentence: Sentence) -> None:
        self.lead, self.tokens = sentence
        self.words = [token.word for token in self.tokens]
        self.begin = 0
        self.head = ""
        self.excepted = False
        self.announced = staying.announces_several(self.words)
        start = _content(self.words, 0)
        self.role = self._opening_role(start)
        self._take_head(start)

    def clauses(self) -> Iterator[Clause]:
        for index in range(1, len(self.words)):
            start = _content(self.words, index)
            role = self._cut(index, start) if start < len(self.words) else None
            if role is None:
                continue
            if _content(self.words, self.begin) < index:
                yield self._clause(index)
            self.begin, self.role = index, role
            self._take_head(start)
        yield self._clause(len(self.words))

    def _clause(self, end: int) -> Clause:
        lead = None if self.begin else self.lead
        return Clause(self.role, self.tokens[self.begin : end], lead)

    def _take_head(self, start: int) -> None:
        if start < len(self.words) and self._is_imperative(start, opening=True):
            self.head = self.words[start]

    def _opening_role(self, start: int) -> Role:
        if self.announced or staying.is_remark(self.words):
            return Role.INVARIANT
        role = self._role_of(start, opening=True)
        if role is None and start < len(self.words):
            contrasts = bool(set(self._stretch(start)[1:]) & lexicon.CONTRASTS)
            if contrasts or self._takes_away(start) or self.lead is Lead.ITEM:
                return Role.CHANGE
        return role or Role.FRAGMENT

    def _cut(self, index: int, start: int) -> Role | None:
        """Return the role of the clause that begins at the joint `index`, its first word at `start`."""
        joint = self.words[index]
        if self.announced:
            return self._role_in_announced_list(index, start)
        if self.role is Role.INVARIANT and self._is_tail(index, start):
            self.excepted = joint in lexicon.EXCEPTIONS
            return self._role_of(start) or Role.CHANGE
        if joint not in lexicon.SOFT_STOPS:
            return Role.CHANGE if self._runs_on(index) else None
        return self._role_behind(joint, index, start)

    def _role_behind(self, joint: str, index: int, start: int) -> Role | None:
        if joint == ":" and self.excepted:
            return None
        if joint == "with":
            return self._role_behind_with(index, start)
        if joint == "while":
            return self._role_behind_while(start)
        return self._role_behind_joint(index, start)

    def _role_in_announced_list(self, index: int, start: int) -> Role | None:
        """Return the role of an item of "two changes: bluer water, no boats"."""
        role = self._role_of(start) or Role.CHANGE
        begun = ":" in self.words[: index + 1]
        return role if begun and self.words[index] in {":", ",", "and", "&", "+"} else None

    def _role_behind_joint(self, index: int, start: int) -> Role | None:
        role = self._role_of(start)
        if role is not None:
            return role
        if self.role is Role.CHANGE and repeating.repeats(self.words, self.begin, index, start, self.head):
            return Role.CHANGE
        if self.words[index] == "plus" and is_editing(self._word(start)):
            return Role.CHANGE
        if self._takes_away(start) and (
            self.role is not Role.CHANGE or "no" in self.words[self.begin : start]
        ):
            return Role.CHANGE
        return Role.FRAGMENT if self._is_fragment_of_its_own(index, start) else None

    def _role_of(self, start: int, *, opening: bool = False) -> Role | None:
        if start >= len(self.words):
            return None
        if self._is_invariant(start):
            return Role.INVARIANT
        changes = (
            self._is_imperative(start, opening=opening)
            or self._is_statement(start)
            or self._is_novelty(start)
        )
        return Role.CHANGE if changes else None

    def _is_invariant(self, start: int) -> bool:
        words = self.words[start:]
        imperative = is_imperative(words, opening=True)
        return staying.says_it_stays(words, imperative=imperative)

    def _role_behind_with(self, index: int, start: int) -> Role | None:
        if self._is_invariant(start):
            return Role.INVARIANT
        takes_with = "with" in lexicon.GAPS.get(self.head, ())
        contrasts = self.words[index - 1] == "," and bool(set(self._stretch(start)) & lexicon.CONTRASTS)
        changes = self._is_novelty(start) or contrasts or repeating.reaches_elsewhere(self.words, start)
        return Role.CHANGE if changes and not takes_with else None

    def _role_behind_while(self, start: int) -> Role | None:
        if self._is_invariant(start):
            return Role.INVARIANT
        changes = set(self._stretch(start)) & (lexicon.CONTRASTS | lexicon.BECOMING)
        return Role.CHANGE if changes or is_editing(self._word(start)) else None

    def _runs_on(self, index: int) -> bool:
        """Tell whether an imperative follows without a joint: "make it night [make] the car red"."""
        if not self.head or self.head in lexicon.CAUSATIVES or self.words[index] not in lexicon.RUN_ON:
            return False
        taken = (
            self.words[index - 1] in lexicon.CLOSED or set(self.words[self.begin : index]) & lexicon.RELATIVES
        )
        return not taken and self._word(index + 1) in lexicon.DETERMINERS

    def _stretch(self, start: int) -> list[str]:
        """Return the words from `start` to the next joint."""
        return list(takewhile(lambda word: word not in lexicon.SOFT_STOPS, self.words[start:]))

    def _word(self, index: int) -> str:
        return self.words[index] if index < len(self.words) else ""

    def _is_imperative(self, start: int, *, opening: bool = False) -> bool:
        if self.head in lexicon.CAUSATIVES and not opening and self._word(start) not in lexicon.EDITS:
            return False
        return is_imperative(self.words[start:], opening=opening)

    def _is_statement(self, start: int) -> bool:
        if set(self.words[self.begin : start]) & lexicon.RELATIVES:
            return False
        stretch = list(takewhile(lambda word: word not in lexicon.RELATIVES, self._stretch(start)))
        finite = [index for index, word in enumerate(stretch) if word in lexicon.FINITE and index > 0]
        asked = start > 0 and self.words[start - 1] in lexicon.MODALS
        named = bool(stretch) and stretch[0] in lexicon.DETERMINERS
        return (asked and named) or (bool(finite) and (named or finite[0] == 1))

    def _is_novelty(self, start: int) -> bool:
        word, following = self._word(start), self._word(start + 1)
        return word in lexicon.NOVELTIES or (word in lexicon.ARTICLES and following in lexicon.NOVELTIES)

    def _takes_away(self, start: int) -> bool:
        return self._word(start) == "no" and len(self._stretch(start)) > 1

    def _is_tail(self, index: int, start: int) -> bool:
        """Tell whether what stays ends here: "same shot [at night]", "keep everything [but the sky]"."""
        word, following = self.words[index], self._word(start)
        if word in lexicon.EXCEPTIONS:
            return True
        same = bool(lexicon.SAME & set(self.words[self.begin : index]))
        inside = {self._word(index + 1), self._word(index + 2)} & (
            lexicon.SAME | lexicon.AS_BEFORE - {"in", "it"}
        )
        return same and word in lexicon.TAILS and not inside and following not in lexicon.SAME

    def _is_fragment_of_its_own(self, index: int, start: int) -> bool:
        """Tell whether a noun phrase stands apart: "same shot, [golden hour light]"."""
        rest = self.words[start:]
        if self.role is Role.INVARIANT:
            listed = {"and", "&"} & set(rest) or rest[0] in lexicon.ARTICLES or rest[0].endswith("ing")
            return self.words[index] == "," and not listed and len(rest) > 1
        thing = rest[1:] if rest[0] in lexicon.ARTICLES else rest
        graded = len(thing) > 1 and lexicon.is_comparative(thing[0]) and thing[1] not in lexicon.SOFT_STOPS
        listed_apart = repeating.is_item_apart(self.words[self.begin : index], self.words[index], rest)
        return self.role is Role.FRAGMENT and (graded or listed_apart)
