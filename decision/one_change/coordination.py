"""What words behind a joint, with nothing said to be done in them, change besides what their clause does.

"… and [a cleaner background]", "…, [replacing the car with a sled]", "put it in a desert, [at night]": each
question is about the words from `start` on, behind the joint at `index`. What repeats the clause word by word
is `decision.one_change.parallelism`'s.
"""

from itertools import takewhile

from decision.one_change import aspects, lexicon, parallelism
from decision.one_change.grammar import ADDING, Reading, content, is_editing, is_imperative, is_replacing

_PLACED = frozenset({"at", "from", "in", "on"})
_WEARING = frozenset({"wear", "wears"})
_PROPERTIES = frozenset("color colour cut fabric length pattern shade shape size style".split())
_ACTS = aspects.ASPECTS["action"] | lexicon.FINITE
_POINTING = frozenset({"following", "these", "this", "things"})


class Besides(Reading):
    """A sentence, and what is done besides in it."""

    def adds_to_change(self, index: int, start: int) -> bool:
        """Return whether words without a verb of their own change one thing more."""
        if self.asks_again(index, start) or self.contrasts_besides(start) or self.is_labelled(index, start):
            return True
        so_far = self.words[self.begin : index]
        return not self.illustrates(index) and (
            self.states_another(index, start)
            or self.dresses_and_acts(index, start)
            or self.grades_again(index, start)
            or (self.words[index] == "and" and parallelism.is_heard(so_far, self.stretch(start)))
            or self.adds_to_all(index, start)
            or parallelism.repeats(self.words, self.begin, index, start, self.head)
            or self.edits_besides(index, start)
            or self.adds_a_circumstance(index, start)
            or self.names_besides(index, start)
            or self.grades_besides(start)
        )

    def states_another(self, index: int, start: int) -> bool:
        """Return whether a second thing gets a state of its own; behind "with" it is part of the first."""
        joints = set(self.words[index:start])
        elaborates = "with" in joints and not ADDING & joints
        so_far = self.words[self.begin : index]
        stops = [place for place, word in enumerate(so_far) if word in lexicon.SOFT_STOPS]
        elaborates |= stops[-2:-1] != [] and so_far[stops[-2] : stops[-1] + 1] == [",", "with"]
        return not elaborates and parallelism.repeats_predicate(self.words, self.begin, start, self.head)

    def names_besides(self, index: int, start: int) -> bool:
        """Return whether a contrast has a thing of another aspect beside it: "…, and [a handheld camera]"."""
        so_far, item = self.words[self.begin : index], self.stretch(start)
        added = bool(ADDING & set(self.words[index:start])) and item[0] in {"a", "an"}
        opposed = not self.head and bool(set(so_far) & lexicon.CONTRASTS)
        about = aspects.named_aspect(item)
        return added and opposed and about not in {None, aspects.named_aspect(so_far)}

    def adds_a_circumstance(self, index: int, start: int) -> bool:
        """Say whether "and with" adds to what nobody was told to do: "wider lens and [with a blue cast]"."""
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

    def contrasts_besides(self, start: int) -> bool:
        """Return whether a contrast opens what is done besides: "…, and [instead of jazz use silence]"."""
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
        """Return whether two things get a grade each: "we need a bigger logo and [a cleaner background]"."""
        so_far, item = self.words[self.begin : index], self.stretch(start)
        graded = [word for word in so_far if lexicon.is_comparative(word)]
        if not graded or self.words[index] not in ADDING | {","} or {"with", "than"} & set(so_far):
            return False
        told = item[0] in lexicon.DEFINITE and any(map(lexicon.is_comparative, item[2:3]))
        return told or (so_far[-1] not in graded and self.is_graded(start))

    def illustrates(self, index: int) -> bool:
        """Return whether what is to be done is only spelled out: "age the house: [peeling paint]"."""
        so_far = self.words[self.begin : index + 1]
        told = list(takewhile(lambda word: word != ":", so_far))
        spelled_out = self.head and len(told) < len(so_far) and told[-1] not in _POINTING
        return "including" in so_far or bool(spelled_out)

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
        about = {aspects.aspect_of_thing(so_far), aspects.aspect_of_thing(self.stretch(start))}
        return placed and whole and len(about) > 1 and about != {None, "setting"}

    def is_new_again(self, index: int) -> bool:
        """Return whether another new thing follows a new one: "a different coat [in a different city]"."""
        following = self.words[index + 1 : index + 4]
        placed = self.words[index] in lexicon.PREPOSITIONS and self.is_novelty(index + 1)
        again = bool(lexicon.NOVELTIES & set(self.words[self.begin : index]))
        return placed and again and not _PROPERTIES & set(following)

    def edits_besides(self, index: int, start: int) -> bool:
        """Return whether a participle does a further thing: "…, [replacing the car with a sled]"."""
        word, following = self.word(start), self.word(start + 1)
        opened = is_editing(self.word(content(self.words, self.begin)))
        if opened or self.words[index] == "plus":
            return is_editing(word)
        return is_replacing(word) and following in lexicon.DETERMINERS
