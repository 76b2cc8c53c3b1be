"""A remix prompt cut into clauses: where each begins, and whether it changes, keeps or elaborates.

A clause begins at the start of a sentence, or after a joint (a comma, "and", "while", …) followed by one of
these: words that say what stays (`decision.one_change.invariants`); an imperative; a statement with its own
subject and verb; a new or different thing; something that repeats the previous clause's change
(`decision.one_change.parallelism`), such as a second pair after the same verb ("the car to a truck and the
sky to purple"). An imperative of directing needs no joint ("make it night make the car red"). Everything else
elaborates the clause it is in.

`Additions` decides whether words after a joint, without a verb of their own, change something beyond their
clause: "… and [a cleaner background]", "…, [replacing the car with a sled]", "put it in a desert, [at
night]". Each question is about the words from `start` on, after the joint at `index`.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from decision.one_change import invariants, lexicon, parallelism
from decision.one_change.grammar import (
    ADDING,
    CIRCUMSTANCES,
    Reading,
    Role,
    content,
    is_directing,
    is_editing,
    is_imperative,
    is_replacing,
)
from decision.one_change.tokenizer import Lead, Sentence, Token, sentences

_PLACED = frozenset({"at", "from", "in", "on"})
_WEARING = frozenset({"wear", "wears"})
_PROPERTIES = frozenset("color colour cut fabric length pattern shade shape size style".split())
_ACTS = lexicon.ASPECTS["action"] | lexicon.FINITE
_POINTING = frozenset({"following", "these", "this", "things"})


class Additions(Reading):
    """A sentence, and the changes that it adds to its first one."""

    def adds_to_change(self, index: int, start: int) -> bool:
        """Return whether words without a verb of their own change one thing more."""
        if self.asks_again(index, start) or self.contrasts_again(start) or self.is_labelled(index, start):
            return True
        so_far = self.words[self.begin : index]
        return not self.illustrates(index) and (
            self.states_another(index, start)
            or self.dresses_and_acts(index, start)
            or self.grades_again(index, start)
            or (self.words[index] == "and" and parallelism.is_heard(so_far, self.stretch(start)))
            or self.adds_to_all(index, start)
            or parallelism.repeats(self.words, self.begin, index, start, self.head)
            or self.edits_again(index, start)
            or self.adds_a_circumstance(index, start)
            or self.names_another(index, start)
            or self.grades_besides(start)
        )

    def states_another(self, index: int, start: int) -> bool:
        """Return whether a second thing gets its own state; after "with" it is part of the first."""
        joints = set(self.words[index:start])
        elaborates = "with" in joints and not ADDING & joints
        so_far = self.words[self.begin : index]
        stops = [place for place, word in enumerate(so_far) if word in lexicon.SOFT_STOPS]
        elaborates |= stops[-2:-1] != [] and so_far[stops[-2] : stops[-1] + 1] == [",", "with"]
        return not elaborates and parallelism.repeats_predicate(self.words, self.begin, start, self.head)

    def names_another(self, index: int, start: int) -> bool:
        """Return whether a contrast has a thing of another aspect beside it: "…, and [a handheld camera]"."""
        so_far, item = self.words[self.begin : index], self.stretch(start)
        added = bool(ADDING & set(self.words[index:start])) and item[0] in {"a", "an"}
        opposed = not self.head and bool(set(so_far) & lexicon.CONTRASTS)
        about = lexicon.find_aspect(item)
        return added and opposed and about not in {None, lexicon.find_aspect(so_far)}

    def adds_a_circumstance(self, index: int, start: int) -> bool:
        """Return whether "and with" adds to an agentless change: "wider lens and [with a blue cast]"."""
        joints = self.words[index:start]
        added, opening = bool(ADDING & set(joints)), self.word(content(self.words, self.begin))
        if added and lexicon.is_comparative(opening) and self.word(start) in _PLACED:
            return True
        return (
            added
            and joints[-1:] == ["with"]
            and not self.head
            and "with" not in self.words[self.begin : index]
        )

    def contrasts_again(self, start: int) -> bool:
        """Return whether a contrast opens another change: "…, and [instead of jazz use silence]"."""
        stretch = self.stretch(start)
        if stretch[0].endswith("ed") or stretch[0] in lexicon.MADE:  # "…, [shot from a roof instead]"
            return bool(set(stretch) & lexicon.CONTRASTS)
        if stretch[0].endswith("ing") and not self.head:  # "older, and [sitting instead of standing]"
            return self.word(start - 1) == "and" and bool(set(stretch) & lexicon.CONTRASTS)
        acts = bool(set(stretch[2:]) & (lexicon.EDITS | lexicon.FINITE))
        return stretch[0] in lexicon.CONTRASTS and acts

    def grades_besides(self, start: int) -> bool:
        """Return whether a note continues with a grade or a "no": "no music, and [a wider lens]"."""
        so_far = self.words[self.begin : start]
        takes_away = "no" in so_far
        added = so_far[-1:] == ["and"] and self.word(start) in {"a", "an"}
        if takes_away and (self.takes_away(start) or added):
            return True
        opened = takes_away or self.is_novelty(content(self.words, self.begin))
        return opened and not self.head and ":" not in so_far and self.is_graded(start)

    def grades_again(self, index: int, start: int) -> bool:
        """Return whether each of two things is graded: "we need a bigger logo and [a cleaner background]"."""
        so_far, item = self.words[self.begin : index], self.stretch(start)
        graded = [word for word in so_far if lexicon.is_comparative(word)]
        if not graded or self.words[index] not in ADDING | {","} or {"with", "than"} & set(so_far):
            return False
        is_comparison = item[0] in lexicon.DEFINITE and any(map(lexicon.is_comparative, item[2:3]))
        return is_comparison or (so_far[-1] not in graded and self.is_graded(start))

    def illustrates(self, index: int) -> bool:
        """Return whether a change is only spelled out: "age the house: [peeling paint]"."""
        so_far = self.words[self.begin : index + 1]
        introduction = list(takewhile(lambda word: word != ":", so_far))
        is_introduced = 0 < len(introduction) < len(so_far) and introduction[-1] not in _POINTING
        return "including" in so_far or (bool(self.head) and is_introduced)

    def dresses_and_acts(self, index: int, start: int) -> bool:
        """Return whether a person wears one thing and does another: "have her wear a hat and [sit]"."""
        if not ADDING & set(self.words[index:start]):
            return False
        so_far, word = self.words[self.begin : index], self.word(start)
        acts = word in _ACTS or is_imperative(self.words[start:])
        return word in _WEARING or (acts and bool(_WEARING & set(so_far)))

    def adds_to_all(self, index: int, start: int) -> bool:
        """Return whether the whole video gets another circumstance: "put it in a desert, [at night]"."""
        so_far, placed = self.words[self.begin : index], self.word(start) in _PLACED
        whole = bool(self.head) and "it" in so_far[:3] and bool({",", "and"} & set(self.words[index:start]))
        about = {lexicon.aspect_of_thing(so_far), lexicon.aspect_of_thing(self.stretch(start))}
        return placed and whole and len(about) > 1 and about != {None, "setting"}

    def is_new_again(self, index: int) -> bool:
        """Return whether another new thing follows a new one: "a different coat [in a different city]"."""
        following = self.words[index + 1 : index + 4]
        placed = self.words[index] in lexicon.PREPOSITIONS and self.is_novelty(index + 1)
        again = bool(lexicon.NOVELTIES & set(self.words[self.begin : index]))
        return placed and again and not _PROPERTIES & set(following)

    def edits_again(self, index: int, start: int) -> bool:
        """Return whether a participle changes another thing: "…, [replacing the car with a sled]"."""
        word, following = self.word(start), self.word(start + 1)
        opened = is_editing(self.word(content(self.words, self.begin)))
        if opened or self.words[index] == "plus":
            return is_editing(word)
        return is_replacing(word) and following in lexicon.DETERMINERS


class Clause(NamedTuple):
    """Neighbouring tokens with one role; `lead` is None unless it begins its sentence."""

    role: Role
    tokens: Sequence[Token]
    lead: Lead | None

    @property
    def words(self) -> list[str]:
        """The words after the joints and fillers that the clause begins with."""
        words = [token.word for token in self.tokens]
        return words[content(words, 0) :]

    @property
    def span(self) -> tuple[int, int]:
        """Its place in the text, from its first to its last token that is not a joint."""
        tokens = [token for token in self.tokens if token.word not in lexicon.SOFT_STOPS] or self.tokens
        return tokens[0].start, tokens[-1].end


def clauses(text: str) -> Iterator[Clause]:
    """Yield the clauses of `text` in order."""
    for sentence in sentences(text):
        body = sentence._replace(tokens=sentence.tokens[invariants.heading(sentence.words) :])
        if body.tokens:
            yield from _Cutter(body).clauses()


class _Cutter(Additions):
    """One sentence being cut, left to right; `begin`, `role` and `head` are those of the open clause."""

    def __init__(self, sentence: Sentence) -> None:
        super().__init__(sentence.words)
        self.lead, self.tokens = sentence
        self.excepted = False
        self.announced = invariants.announces_several(self.words)
        start = content(self.words, 0)
        self.role = self._opening_role(start)
        self._take_head(start)

    def clauses(self) -> Iterator[Clause]:
        for index in range(1, len(self.words)):
            start = content(self.words, index)
            role = self._cut(index, start) if start < len(self.words) else None
            if role is None:
                continue
            if content(self.words, self.begin) < index:
                self.role = self._promote(index, start, role)
                yield self._clause(index)
            self.head = "" if self.role is Role.INVARIANT else self.head  # what stays is not mentioned again
            self.begin, self.role = index, role
            self._take_head(start)
        yield self._clause(len(self.words))

    def _promote(self, index: int, start: int, following: Role) -> Role:
        """Return the role of the open clause: text next to a change changes something too."""
        phrase = self.words[content(self.words, self.begin) : index]
        beside = following is Role.CHANGE and bool((ADDING | {"while"}) & set(self.words[index:start]))
        only_names = self.role is Role.FRAGMENT and phrase[0] in lexicon.DEFINITE
        if only_names and self.words[index:start] in (["but"], [",", "but"]):
            return Role.INVARIANT  # "the kitchen, but messier"
        whole = len(phrase) > len(("a", "sky")) and phrase[0] not in CIRCUMSTANCES | lexicon.SUBORDINATING
        return Role.CHANGE if self.role is Role.FRAGMENT and beside and whole else self.role

    def _clause(self, end: int) -> Clause:
        lead = None if self.begin else self.lead
        return Clause(self.role, self.tokens[self.begin : end], lead)

    def _take_head(self, start: int) -> None:
        if start < len(self.words) and self.is_imperative(start, opening=True):
            self.head = self.words[start]

    def _opening_role(self, start: int) -> Role:
        if self.announced or invariants.is_remark(self.words):
            return Role.INVARIANT
        role = self._role_of(start, opening=True)
        if role is None and start < len(self.words):
            contrasts = bool(set(self.stretch(start)[1:]) & lexicon.CONTRASTS) or parallelism.denies(
                self.words
            )
            contrasts |= is_editing(self.words[start])
            if contrasts or self.takes_away(start) or self.lead is Lead.ITEM or self.names_and_tells(start):
                return Role.CHANGE
        return role or Role.FRAGMENT

    def _cut(self, index: int, start: int) -> Role | None:
        """Return the role of the clause that begins at the joint `index`, its first word at `start`."""
        joint = self.words[index]
        if self.announced:
            return self._role_in_announced_list(index, start)
        if self.role is Role.INVARIANT and self.is_tail(index, start):
            self.excepted = joint in lexicon.EXCEPTIONS
            return self._role_of(start) or Role.CHANGE
        if joint not in lexicon.SOFT_STOPS:
            return Role.CHANGE if self.runs_on(index) or self.is_new_again(index) else None
        return self._role_behind(joint, index, start)

    def _role_behind(self, joint: str, index: int, start: int) -> Role | None:
        if joint == ":" and (self.excepted or self.is_label(content(self.words, self.begin), index)):
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
        praises = self.role is Role.INVARIANT and invariants.is_remark(self.words[start:])
        if role is Role.INVARIANT or praises:
            return Role.INVARIANT
        if self.is_subordinate(index, start):
            self.role = role or self.role
            self._take_head(start)
            return None
        if role is not None and not self.completes_contrast(index):
            return role
        return self._role_without_verb(index, start)

    def _role_without_verb(self, index: int, start: int) -> Role | None:
        """Return the role of words after a joint that have no verb."""
        if self.role is Role.INVARIANT:
            changes = self.is_labelled(index, start) or self.takes_away(start)
        elif self.role is Role.CHANGE:
            changes = self.adds_to_change(index, start)
        else:
            changes = (
                self.asks_again(index, start)
                or self.contrasts(start)
                or self.takes_away(start)
                or self.opposes_again(index, start)
            )
        if changes:
            return Role.CHANGE
        return Role.FRAGMENT if self.is_fragment_of_its_own(index, start) else None

    def _role_of(self, start: int, *, opening: bool = False) -> Role | None:
        if start >= len(self.words):
            return None
        if self.is_invariant(start):
            return Role.INVARIANT
        changes = (
            self.is_imperative(start, opening=opening) or self.is_statement(start) or self.is_novelty(start)
        )
        return Role.CHANGE if changes else None

    def _role_behind_with(self, index: int, start: int) -> Role | None:
        if self.is_invariant(start):
            return Role.INVARIANT
        takes_with = "with" in lexicon.GAPS.get(self.head, ())
        contrasts = self.words[index - 1] == "," and bool(set(self.stretch(start)) & lexicon.CONTRASTS)
        changes = self.is_novelty(start) or contrasts or parallelism.reaches_elsewhere(self.words, start)
        changes = changes or parallelism.is_heard(self.words[self.begin : index], self.stretch(start))
        return Role.CHANGE if changes and not takes_with else None

    def _role_behind_while(self, start: int) -> Role | None:
        if self.is_invariant(start):
            return Role.INVARIANT
        stretch = self.stretch(start)
        changes = set(stretch) & (lexicon.CONTRASTS | lexicon.BECOMING)
        changes |= {"now"} & set(stretch) if self.is_statement(start) else set()
        word, following = self.word(start), self.word(start + 1)
        directs = is_directing(word) and following in lexicon.DETERMINERS | lexicon.PREPOSITIONS
        directs = directs or (word.endswith("ing") and stretch[1:3] == ["the", "camera"])
        return Role.CHANGE if changes or directs or is_editing(word) else None
