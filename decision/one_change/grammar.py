"""Questions about a place in a sentence, seen from the clause that is open there.

Each question is about the words from `start` on, the first content word after the joint at `index`.
`decision.one_change.clauses` cuts a sentence by the answers.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import takewhile

from decision.one_change import invariants, lexicon, parallelism

_ADVERBS = frozenset({"away", "back", "down", "off", "out", "up"})
"""Particles, not prepositions before a determiner: "lock off the camera", but "a roll to the left"."""


def is_imperative(words: Sequence[str], *, opening: bool = False) -> bool:
    """Return whether `words` begin with an imperative; at the `opening` of a sentence more may be one."""
    word, following, third = (*words[:3], "", "", "")[:3]
    takes_object = following in lexicon.DETERMINERS
    if word in lexicon.NOUN_LIKE:
        near = opening and (following in lexicon.PREPOSITIONS or word in lexicon.MEASURED)
        return takes_object or following in lexicon.PARTICLES or near
    if word in lexicon.VERBS:
        return True
    through_particle = following in _ADVERBS and third in lexicon.DETERMINERS
    return (takes_object or through_particle) and _could_be_verb(word)


def is_editing(word: str) -> bool:
    """Return whether `word` is a participle of directing: "while [changing] the wallpaper"."""
    return bool(_stems(word) & lexicon.EDITS)


def is_directing(word: str) -> bool:
    """Return whether `word` is a participle of a change to the video: "while [dimming] the lights"."""
    return bool(_stems(word) & lexicon.DIRECTING)


def is_replacing(word: str) -> bool:
    """Return whether `word` is a participle that replaces a thing, or removes it."""
    return bool(_stems(word) & lexicon.REPLACING)


def _stems(word: str) -> frozenset[str]:
    """Return the verbs of which `word` may be the participle; none if it is not one."""
    stem = word.removesuffix("ing")
    return frozenset({stem, f"{stem}e", stem[:-1]}) if stem != word else frozenset()


def _could_be_verb(word: str) -> bool:
    inflected = word.endswith(("s", "ing", "ly", "ed")) and not word.endswith("ss")
    return word.isalpha() and word not in lexicon.CLOSED and not inflected


ADDING = frozenset({"and", "&", "plus", "+"})
CIRCUMSTANCES = lexicon.PREPOSITIONS - {"of", "like", "than"}
_LONGEST_LABEL = 4
_FILMED = frozenset("camera drone it lens shot view".split())
_OPEN_CONTRASTS = (["instead"], ["rather"])
_EMPTY_OPENERS = lexicon.SOFT_STOPS | lexicon.FILLERS
_FINITE = lexicon.FINITE | lexicon.AUXILIARIES
_NO_OBJECT = lexicon.CLOSED | lexicon.SOFT_STOPS
_ACTS = lexicon.ASPECTS["action"] | lexicon.VERBS | lexicon.PARTICLES - {"to"}


class Role(StrEnum):
    """The effect of a clause."""

    CHANGE = "change"
    INVARIANT = "invariant"
    FRAGMENT = "fragment"


def content(words: Sequence[str], index: int) -> int:
    """Return the first position from `index` on that is neither a joint nor a filler."""
    while index < len(words) and words[index] in _EMPTY_OPENERS:
        index += 1
    return index


def _is_finite(words: Sequence[str], index: int) -> bool:
    """Return whether a verb with a subject is there; after "now", any word that ends like one."""
    behind_now = words[index - 1] == "now" and words[index].endswith("s")
    return words[index] in _FINITE or behind_now


class Reading:
    """One sentence; `begin`, `role` and `head` (its imperative, or empty) are those of the open clause."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.begin = 0
        self.role = Role.FRAGMENT
        self.head = ""

    def completes_contrast(self, index: int) -> bool:
        """Return whether a contrast is completed only here: "rather than a park, [use a …]"."""
        opening = self.words[content(self.words, self.begin) : index]
        verbless = not self.head and not lexicon.FINITE & set(opening)
        return verbless and opening[:1] in _OPEN_CONTRASTS and self.words[index] == ","

    def contrasts(self, start: int) -> bool:
        """Return whether a thing replaces another: "…, and [a boat instead of it]"."""
        stretch = self.stretch(start)
        return stretch[0] in lexicon.ARTICLES and bool(set(stretch) & lexicon.CONTRASTS)

    def opposes_again(self, index: int, start: int) -> bool:
        """Return whether a second contrast begins like the first: "not a fox but a hare, and [not a …]"."""
        word, opening = self.word(start), self.word(content(self.words, self.begin))
        alike = word == opening and word in lexicon.CONTRASTS | {"not"}
        return alike and bool(ADDING & set(self.words[index:start]))

    def asks_again(self, index: int, start: int) -> bool:
        """Return whether a wish is expressed a second time: "…, and [I'd get rid of the boat]"."""
        between = set(self.words[index:start])
        without = self.word(start) == "without" and bool(ADDING & between)
        return without or bool(lexicon.DIRECTORS & between)

    def is_subordinate(self, index: int, start: int) -> bool:
        """Return whether two clauses are one: "when she turns, [her coat flares]", "…, [which turns red]"."""
        opening = self.word(content(self.words, self.begin))
        led = opening in lexicon.SUBORDINATING and "," not in self.words[self.begin : index]
        return (led and self.words[index] == ",") or self.word(start) in lexicon.RELATIVES

    def is_labelled(self, index: int, start: int) -> bool:
        """Return whether an aspect and a colon follow: "palette: rust, [camera: handheld]"."""
        end = start + len(self.stretch(start))
        return self.words[index] == "," and self.word(end) == ":" and self.is_label(start, end)

    def is_label(self, start: int, end: int) -> bool:
        """Return whether the words between only name a thing: "jacket: …", "time of day: …"."""
        label = self.words[start:end]
        verbal = self.is_imperative(start, opening=True) or self.is_invariant(start)
        return (
            0 < len(label) < _LONGEST_LABEL
            and not verbal
            and not set(label) & lexicon.CLOSED - lexicon.ARTICLES - {"him", "of", "them"}
        )

    def is_invariant(self, start: int) -> bool:
        """Return whether words follow that say what stays."""
        words = self.words[start:]
        imperative = is_imperative(words, opening=True)
        return invariants.says_it_stays(words, imperative=imperative)

    def runs_on(self, index: int) -> bool:
        """Return whether an imperative follows without a joint: "make it night [make] the car red"."""
        if not self.head or self.head in lexicon.CAUSATIVES or self.words[index] not in lexicon.RUN_ON:
            return False
        before = self.words[index - 1]
        taken = before in _NO_OBJECT
        taken |= bool(set(self.words[self.begin : index]) & lexicon.RELATIVES)
        return not taken and self.word(index + 1) in lexicon.DETERMINERS

    def stretch(self, start: int) -> list[str]:
        """Return the words from `start` to the next joint."""
        return list(takewhile(lambda word: word not in lexicon.SOFT_STOPS, self.words[start:]))

    def word(self, index: int) -> str:
        """Return one word, empty beyond the end."""
        return self.words[index] if index < len(self.words) else ""

    def is_imperative(self, start: int, *, opening: bool = False) -> bool:
        """Return whether an imperative follows that does not direct a person in the video."""
        word, following = self.word(start), self.word(start + 1)
        directs = word in lexicon.EDITS or (word in lexicon.DIRECTING and following in lexicon.DETERMINERS)
        directs = directs or (word in lexicon.WITHDRAWING and self.is_besides_the_picture(start + 1))
        directs = directs or (word in lexicon.FILMING and not _FILMED & set(self.words[self.begin : start]))
        again = word == self.head or (word in lexicon.BOUNDING and following in {"on", "with"})
        if not opening and self.head and again:
            return True
        if not opening and not directs and self.has_somebody_act(start):
            return False
        return is_imperative(self.words[start:], opening=opening)

    def is_besides_the_picture(self, start: int) -> bool:
        """Return whether a thing follows that nobody in the video can hold: the camera, a sound, a text."""
        thing = [word for word in self.stretch(start) if word not in lexicon.PREPOSITIONS]
        return lexicon.find_aspect(thing) in lexicon.BESIDES_THE_PICTURE

    def has_somebody_act(self, start: int) -> bool:
        """Return whether verbs direct a person: "have her turn and [smile]"."""
        if self.head in lexicon.CAUSATIVES:
            return True
        object_ = self.words[self.begin : start]
        if not self.head and object_[0] in lexicon.ARTICLES:
            return bool(set(object_[1:]) & lexicon.MODALS)
        if self.head == "get":
            return "to" in object_
        return self.head == "make" and "sure" not in object_ and bool(set(object_[2:]) & _ACTS)

    def is_statement(self, start: int) -> bool:
        """Return whether a subject and its verb follow."""
        if set(self.words[self.begin : start]) & lexicon.RELATIVES:
            return False
        stretch = list(takewhile(lambda word: word not in lexicon.RELATIVES, self.stretch(start)))
        finite = [index for index, _ in enumerate(stretch) if index > 0 and _is_finite(stretch, index)]
        after_modal = start > 0 and self.words[start - 1] in lexicon.MODALS
        if stretch and stretch[0] in lexicon.CONTRACTED:
            return True
        named = bool(stretch) and stretch[0] in lexicon.DETERMINERS
        return (after_modal and named) or (bool(finite) and (named or finite[0] == 1))

    def is_novelty(self, start: int) -> bool:
        """Return whether a new or different thing follows."""
        word, following = self.word(start), self.word(start + 1)
        if following.endswith("ly"):  # "a completely new one"
            following = self.word(start + 2)
        if word in {"another", "other"}:
            return following not in _NO_OBJECT | {"", "side"}
        return word in lexicon.NOVELTIES or (word in lexicon.ARTICLES and following in lexicon.NOVELTIES)

    def names_and_tells(self, start: int) -> bool:
        """Return whether a thing is named and then described: "jacket: tweed"."""
        end = start + len(self.stretch(start))
        return self.word(end) == ":" and end + 1 < len(self.words) and self.is_label(start, end)

    def takes_away(self, start: int) -> bool:
        """Return whether a thing is removed: "no boats"."""
        return self.word(start) == "no" and len(self.stretch(start)) > 1

    def sets_another_scene(self, index: int, start: int) -> bool:
        """Return whether one circumstance is added to another: "with a beard and [in a different room]"."""
        behind = [word for word in self.words[index : start + 1] if word not in ADDING | {","}][:1]
        opens = self.word(self.begin) in CIRCUMSTANCES and behind and behind[0] in CIRCUMSTANCES
        if not opens or not ADDING & set(self.words[index:start]):
            return False
        so_far, stretch = self.words[self.begin : index], self.stretch(start)
        if behind == ["from"] and "from" in so_far and "to" in so_far and "to" in stretch:
            return True
        about = {lexicon.aspect_of_thing(so_far), lexicon.aspect_of_thing(stretch)}
        return len(about) > 1 and not about <= lexicon.PLACE_AND_LIGHT

    def is_graded(self, start: int) -> bool:
        """Return whether a comparative and its thing follow: "a wider lens"."""
        article = self.word(start) in lexicon.ARTICLES
        return lexicon.grades(self.words[start + article :])

    def grades_and_adds(self, index: int, start: int) -> bool:
        """Return whether a thing is added to a graded one: "wetter streets and [a lone cyclist]"."""
        added = bool(ADDING & set(self.words[index:start])) and self.word(start) in {"a", "an"}
        opened = self.is_graded(content(self.words, self.begin)) and "with" not in self.words[:start]
        return added and opened and self.word(start + 1) not in parallelism.MEASURES

    def is_shared_grade(self, index: int, start: int) -> bool:
        """Return whether two grades are of one thing: "darker, [moodier lighting]"."""
        so_far = [word for word in self.words[self.begin : index] if word not in lexicon.DEGREES]
        return len(so_far) == 1 and lexicon.is_comparative(so_far[0]) and self.is_graded(start)

    def is_tail(self, index: int, start: int) -> bool:
        """Return whether what stays ends here: "same shot [at night]", "keep everything [but the sky]"."""
        word, following = self.words[index], self.word(start)
        if word in lexicon.EXCEPTIONS:
            return True
        same = bool(lexicon.SAME & set(self.words[self.begin : index]))
        inside = {self.word(index + 1), self.word(index + 2)} & (
            lexicon.SAME | lexicon.AS_BEFORE - {"in", "it"}
        )
        return same and word in lexicon.TAILS and not inside and following not in lexicon.SAME

    def is_fragment_of_its_own(self, index: int, start: int) -> bool:
        """Return whether a noun phrase stands apart: "same shot, [golden hour light]"."""
        rest, joints = self.words[start:], self.words[index:start]
        if self.role is Role.INVARIANT:
            listed = {"and", "&"} & set(rest) or rest[0] in lexicon.ARTICLES or rest[0].endswith("ing")
            is_described = len(rest) > 1 or lexicon.is_comparative(rest[0]) or rest[0].endswith("ed")
            return self.words[index] == "," and not listed and is_described
        if ("with" in joints and not ADDING & set(joints)) or self.is_shared_grade(index, start):
            return False  # elaborates what it follows
        if self.sets_another_scene(index, start):
            return True
        return self.role is Role.FRAGMENT and self._is_item(index, start)

    def _is_item(self, index: int, start: int) -> bool:
        """Return whether another item of a list of notes follows."""
        return (
            self.is_graded(start)
            or self.grades_and_adds(index, start)
            or self.is_labelled(index, start)
            or parallelism.repeats_predicate(self.words, self.begin, start, self.head)
            or parallelism.is_item_apart(
                self.words[self.begin : index], self.words[index], self.words[start:]
            )
        )
