"""A remix prompt cut into clauses: where a new one can begin, and whether it changes, keeps or elaborates.

A clause begins at the start of a sentence, or behind a joint (a comma, "and", "while", …) where one of
these stands: words that say what stays; an imperative; a statement with its own subject and verb; a new or
different thing; a second pair after the same verb ("the car to a truck and the sky to purple"); a second
object of adding or removing. Everything else behind a joint elaborates the clause it is in.
"""

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import pairwise, takewhile
from typing import NamedTuple

from decision import lexicon


class Role(StrEnum):
    """What a clause does."""

    CHANGE = "change"
    INVARIANT = "invariant"
    FRAGMENT = "fragment"


class Token(NamedTuple):
    """A word or a stop in lower case; a quotation is one word. Positions are code points of the text."""

    word: str
    start: int
    end: int


class Clause(NamedTuple):
    """Neighbouring tokens with one role."""

    role: Role
    tokens: Sequence[Token]
    opens_sentence: bool

    @property
    def words(self) -> list[str]:
        """The words without the joints and fillers the clause begins with."""
        words = [token.word for token in self.tokens]
        return words[_content(words, 0) :]


_TOKEN = re.compile(
    r"[\"“][^\"”\n]*[\"”]"
    r"|(?<=\s)-+(?=\s)|[.;!?,:\u2014\u2013()&+\n]"
    r"|[^\W_]+(?:(?:['\u2019\-/]|\.(?=\d))[^\W_]+)*"
)
_LONGEST_SENTENCE = 300
"""In tokens; a longer one is cut there, which keeps the time linear in the length of the text."""


def clauses(text: str) -> Iterator[Clause]:
    """Yield the clauses of `text` in their order."""
    for sentence in _sentences(text):
        yield from _Cutter(sentence).clauses()


def _sentences(text: str) -> Iterator[list[Token]]:
    sentence: list[Token] = []
    for match in _TOKEN.finditer(text):
        token = Token(match[0].lower().replace("\u2019", "'"), *match.span())
        stops = token.word in lexicon.HARD_STOPS or token.word.startswith("-")
        if sentence and (stops or len(sentence) == _LONGEST_SENTENCE):
            yield sentence
            sentence = []
        if not stops:
            sentence.append(token)
    if sentence:
        yield sentence


def _content(words: Sequence[str], index: int) -> int:
    """Return the first position from `index` on that is neither a joint nor a filler."""
    while index < len(words) and words[index] in lexicon.SOFT_STOPS | lexicon.FILLERS:
        index += 1
    return index


class _Cutter:
    """One sentence being cut, left to right; `begin`, `role` and `head` are those of the open clause."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.words = [token.word for token in tokens]
        self.begin = 0
        self.head = ""
        start = _content(self.words, 0)
        self.role = self._role_of(start, opening=True) or Role.FRAGMENT
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
        return Clause(self.role, self.tokens[self.begin : end], self.begin == 0)

    def _take_head(self, start: int) -> None:
        if start < len(self.words) and self._is_imperative(start, opening=True):
            self.head = self.words[start]

    def _cut(self, index: int, start: int) -> Role | None:
        """Return the role of the clause that begins at the joint `index`, its first word at `start`."""
        joint = self.words[index]
        if self.role is Role.INVARIANT and self._is_tail(index, start):
            return self._role_of(start) or Role.CHANGE
        if joint == "with":
            return self._role_behind_with(index, start)
        if joint == "while":
            return self._role_behind_while(start)
        return self._role_behind_joint(index, start) if joint in lexicon.SOFT_STOPS else None

    def _role_behind_joint(self, index: int, start: int) -> Role | None:
        role = self._role_of(start)
        if role is None and (
            self._repeats_pair(start) or self._repeats_object(index, start) or self._repeats_contrast(start)
        ):
            return Role.CHANGE
        if role is None and self._is_fragment_of_its_own(index, start):
            return Role.FRAGMENT
        return role

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

    def _role_behind_with(self, index: int, start: int) -> Role | None:
        if self._is_invariant(start):
            return Role.INVARIANT
        takes_with = "with" in lexicon.GAPS.get(self.head, ())
        contrasts = self.words[index - 1] == "," and bool(set(self._stretch(start)) & lexicon.CONTRASTS)
        return Role.CHANGE if (self._is_novelty(start) or contrasts) and not takes_with else None

    def _role_behind_while(self, start: int) -> Role | None:
        if self._is_invariant(start):
            return Role.INVARIANT
        changes = set(self._stretch(start)) & (lexicon.CONTRASTS | lexicon.BECOMING)
        return Role.CHANGE if changes or self._is_editing(start) else None

    def _is_editing(self, start: int) -> bool:
        """Tell whether the word is a participle of directing: "while [changing] the wallpaper"."""
        word = self._word(start)
        stem = word.removesuffix("ing")
        return stem != word and bool({stem, f"{stem}e", stem[:-1]} & lexicon.EDITS)

    def _stretch(self, start: int) -> list[str]:
        """Return the words from `start` to the next joint."""
        return list(takewhile(lambda word: word not in lexicon.SOFT_STOPS, self.words[start:]))

    def _word(self, index: int) -> str:
        return self.words[index] if index < len(self.words) else ""

    def _is_invariant(self, start: int) -> bool:
        word, following = self._word(start), self._word(start + 1)
        stretch = self._stretch(start)
        if word in lexicon.KEEPING:
            return not set(stretch) & (lexicon.CONTRASTS | lexicon.COMPARATIVES)
        if word in ("leave", "leaving"):
            return "out" not in stretch
        if word in lexicon.WITHHOLDING:
            return bool(set(stretch[1:3]) & (lexicon.WITHHELD | lexicon.REST))
        if word in lexicon.EDITING and following == "nothing":
            return True
        return self._says_it_stays(start)

    def _says_it_stays(self, start: int) -> bool:
        words = list(takewhile(lambda word: word not in {",", "but", "while", "except"}, self.words[start:]))
        if words[0] in lexicon.REST or words[:2] == ["the", "rest"] or words[:2] == ["all", "else"]:
            return True
        if lexicon.SAME & set(words[:3]):
            return True
        as_before = any(
            word == "as" and following in lexicon.AS_BEFORE for word, following in pairwise(words)
        )
        return as_before or (
            not self._is_imperative(start, opening=True) and bool(lexicon.STAYING & set(words))
        )

    def _is_imperative(self, start: int, *, opening: bool = False) -> bool:
        word, following = self._word(start), self._word(start + 1)
        if self.head in lexicon.CAUSATIVES and not opening and word not in lexicon.EDITS:
            return False
        takes_object = following in lexicon.DETERMINERS
        if word in lexicon.NOUN_LIKE:
            near = opening and following in lexicon.PREPOSITIONS
            return takes_object or following in lexicon.PARTICLES or near
        return word in lexicon.VERBS or (takes_object and self._could_be_verb(word))

    def _could_be_verb(self, word: str) -> bool:
        closed = (
            lexicon.DETERMINERS
            | lexicon.PREPOSITIONS
            | lexicon.RELATIVES
            | lexicon.COMPARATIVES
            | lexicon.CONTRASTS
            | lexicon.FINITE
            | lexicon.REST
            | lexicon.WITHHOLDING
        )
        return word.isalpha() and word not in closed and not word.endswith(("s", "ing", "ly", "ed"))

    def _is_statement(self, start: int) -> bool:
        if set(self.words[self.begin : start]) & lexicon.RELATIVES:
            return False
        stretch = list(takewhile(lambda word: word not in lexicon.RELATIVES, self._stretch(start)))
        finite = [index for index, word in enumerate(stretch) if word in lexicon.FINITE and index > 0]
        return bool(finite) and (stretch[0] in lexicon.DETERMINERS or finite[0] == 1)

    def _is_novelty(self, start: int) -> bool:
        word, following = self._word(start), self._word(start + 1)
        return word in lexicon.NOVELTIES or (word in lexicon.ARTICLES and following in lexicon.NOVELTIES)

    def _repeats_pair(self, start: int) -> bool:
        """Tell whether a second pair follows: "… the car to a truck and [the sky to purple]"."""
        openers = lexicon.ARTICLES if self.head in lexicon.PLACING else lexicon.DEFINITE
        if self._word(start) not in openers or self.role is not Role.CHANGE:
            return False
        so_far = self.words[self.begin : start]
        stretch = list(takewhile(lambda word: word not in lexicon.JOINERS, self.words[start:]))
        links = lexicon.GAPS.get(self.head, frozenset())
        if links & set(so_far) and links & set(stretch[2:]):
            return True
        bare = not lexicon.PREPOSITIONS & set(so_far)
        first = [word for word in so_far if word not in lexicon.SOFT_STOPS | lexicon.FILLERS | {self.head}]
        return (
            self.head in lexicon.COMPLEMENTED and bare and min(len(first), len(stretch)) > len(("the", "car"))
        )

    def _repeats_object(self, index: int, start: int) -> bool:
        """Tell whether a second thing is added or removed: "add a scarf and [a hat]", "…, plus [a hat]"."""
        so_far = set(self.words[self.begin : start])
        bare = not so_far & (lexicon.PREPOSITIONS | lexicon.RELATIVES)
        adds = self.words[index] == "plus" or (self.head in lexicon.ADDITIVES and bare)
        return adds and self._word(start) in lexicon.ARTICLES

    def _repeats_contrast(self, start: int) -> bool:
        """Tell whether a second contrast follows: "night instead of day and [a truck instead of the car]"."""
        so_far = set(self.words[self.begin : start])
        return bool(so_far & lexicon.CONTRASTS) and bool(set(self._stretch(start)) & lexicon.CONTRASTS)

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
            listed = {"and", "&"} & set(rest) or rest[0] in lexicon.ARTICLES
            return self.words[index] == "," and not listed and len(rest) > 1
        thing = rest[1:] if rest[0] in lexicon.ARTICLES else rest
        graded = len(thing) > 1 and thing[0] in lexicon.COMPARATIVES and thing[1] not in lexicon.SOFT_STOPS
        return self.role is Role.FRAGMENT and graded
