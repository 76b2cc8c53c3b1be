"""Whether words after a joint repeat their clause's change for something else: a further change.

Coordination inside one thing ("a teal and orange palette", "rain and wind", "the man on the bench and the
path") repeats nothing. An elaboration stays with the aspect of its change.
"""

from collections.abc import Sequence
from itertools import pairwise, takewhile

from decision.one_change import lexicon

_ACTS = lexicon.VERBS | lexicon.NOUN_LIKE | lexicon.ASPECTS["action"]
_STATES = lexicon.STATES | lexicon.GRADABLE
_EMPTY = lexicon.SOFT_STOPS | lexicon.FILLERS
_ADDING_JOINTS = frozenset({"plus", "+", "also"})


def repeats(words: Sequence[str], begin: int, index: int, start: int, head: str) -> bool:
    """Return whether `words` from `start` on repeat the change from `begin` on, after the joint at `index`.

    `head` is the imperative of the clause, or empty.
    """
    so_far, rest, joint = words[begin:start], words[start:], words[index]
    return (
        _repeats_pair(so_far, rest, head)
        or _gives_again(rest, head)
        or _repeats_object(so_far, rest, joint, head)
        or _repeats_contrast(so_far, rest)
        or _grades_apart(so_far, rest)
        or _names_somebody_else(so_far, rest, head)
    )


def _grades_apart(so_far: Sequence[str], rest: Sequence[str]) -> bool:
    """Return whether a grade is followed by one of another kind: "go wider and [darker]"."""
    item, last = _stretch(rest), _last_item(so_far)[-1:]
    graded = len(item) == 1 and last and all(map(lexicon.is_comparative, [*item, *last]))
    graded = graded or (item[0] in {"less", "more"} and item[0] in so_far)
    about = {lexicon.aspect_of_thing(last), lexicon.aspect_of_thing(item)}
    return bool(graded) and None not in about and len(about) > 1 and about != {"lighting", "palette"}


def _names_somebody_else(so_far: Sequence[str], rest: Sequence[str], head: str) -> bool:
    """Return whether the verb applies to two: "have her stand and [him sit]"."""
    item = _stretch(rest)
    if {"there", "there's"} & set(so_far[:2]):
        return item[0] in {"a", "an"} and bool(lexicon.PREPOSITIONS & set(item))
    acts = _ACTS & set(item[2:3])
    begun = len(_last_item(so_far)) > len(("have", "her"))
    if begun and head in lexicon.CAUSATIVES and item[0] in lexicon.DEFINITE and acts:
        return not item[2].endswith("ing")
    is_statement = item[0] in lexicon.SUBJECTS and bool(lexicon.PREPOSITIONS & set(item[1:2]))
    return is_statement or (head != "" and item[0] in {"him", "them"} and len(item) > 1)


def _gives_again(rest: Sequence[str], head: str) -> bool:
    """Return whether another person is given something: "give the man a beard and [the boy a kite]"."""
    item = _stretch(rest)
    articles = [place for place, word in enumerate(item) if place and word in {"a", "an", "the"}]
    names = head == "give" and item[0] in lexicon.ARTICLES
    return names and articles != [] and not set(item[: articles[0]]) & lexicon.PREPOSITIONS


def repeats_predicate(words: Sequence[str], begin: int, start: int, head: str) -> bool:
    """Return whether a second thing gets its own state: "the light brighter, [the background simpler]"."""
    so_far, item = words[begin:start], _stretch(words[start:])
    before = [word for word in _last_item(so_far) if word != head]
    states = bool(lexicon.STATING & set(so_far)) and len(before) > len(("the", "sky"))
    stated = (
        states
        or (not head and _is_placed(so_far))
        or bool(lexicon.FINITE & set(so_far))
        or _has_state(before)
    )
    if item[0] in lexicon.DEFINITE:
        is_statement = (
            stated and (_has_state(item) or bool({"less", "more"} & set(item[2:-1])))
        ) or _leaves_out_to_be(so_far, item)
        return is_statement or (not head and _leaves_out_verb(so_far, item))
    return not head and _has_bare_state(before) and _has_bare_state(item)


def _is_placed(so_far: Sequence[str]) -> bool:
    """Return whether a thing is only put somewhere: "the castle in ruins"."""
    return so_far[0] in lexicon.DEFINITE and bool(set(so_far[2:3]) & lexicon.PREPOSITIONS - {"of"})


def _leaves_out_to_be(so_far: Sequence[str], item: Sequence[str]) -> bool:
    """Return whether "to be" applies to both: "the place should be a desert, [the mood lonely]"."""
    is_so = bool({"are", "be", "is"} & set(so_far)) and not lexicon.PREPOSITIONS & set(so_far)
    return is_so and len(item) > len(("the", "mood")) and not _is_quality(item[1])


def _leaves_out_verb(so_far: Sequence[str], item: Sequence[str]) -> bool:
    """Return whether a verb applies to both: "the vase goes on the floor, [the cat on the sill]"."""
    places = lexicon.PREPOSITIONS - {"of", "like"}
    is_finite = any(word in lexicon.FINITE and following in places for word, following in pairwise(so_far))
    named = so_far[0] in lexicon.DEFINITE
    return named and is_finite and len(item) > len(("the", "cat", "on")) and item[2] in places


def denies(words: Sequence[str]) -> bool:
    """Return whether a text without verbs contrasts two things: "a cello, not a violin"."""
    return any(word == "," and following == "not" for word, following in pairwise(words))


def _has_bare_state(item: Sequence[str]) -> bool:
    """Return the same for a note without articles: "coat red", "hands out of frame"."""
    names = not item[:1] or item[0] in lexicon.CLOSED or item[0] == "be" or item[0].endswith("ly")
    two = len(item) > 1 and not names and not _is_quality(item[0])
    return two and (_is_quality(item[-1]) or item[1] in lexicon.STATES)


def _is_quality(word: str) -> bool:
    graded = lexicon.is_comparative(word) or word in _STATES
    return graded or lexicon.is_colour(word) or word.endswith("ed")


def _has_state(item: Sequence[str]) -> bool:
    """Return whether a noun phrase and its new state follow: "the sky redder", "the lamps lit"."""
    is_statement = any(word.endswith("ed") for word in item[2:])
    last = item[-1] if item else ""
    return len(item) > len(("the", "sky")) and (is_statement or _is_quality(last) or last in _WHERE)


_WHERE = lexicon.PARTICLES - {"to"} | {"around"}


def _pairs_colours(so_far: Sequence[str], rest: Sequence[str]) -> bool:
    """Return whether each of two things gets a colour: "red coat, [blue hat]"."""
    before, item = _last_item(so_far), _stretch(rest)
    return all(
        len(thing) > 1 and lexicon.is_colour(thing[0]) and not lexicon.is_colour(thing[-1])
        for thing in (before, item)
    )


def reaches_elsewhere(words: Sequence[str], start: int) -> bool:
    """Return whether "with" adds something no look or subject is made of: "… with [a slower camera]"."""
    thing = _stretch(words[start:])
    graded = any(lexicon.is_comparative(word) for word in thing[:2])
    return graded and lexicon.aspect_of_thing(thing) in lexicon.BESIDES_THE_PICTURE


def is_heard(so_far: Sequence[str], item: Sequence[str]) -> bool:
    """Return whether "with" adds a sound to a look: "… to a crane up, with [an orchestral score]"."""
    is_visible = lexicon.aspect_of_thing(so_far) in {"camera", "lighting", "palette", "style"}
    return is_visible and lexicon.aspect_of_thing(item) == "audio"


def is_item_apart(so_far: Sequence[str], joint: str, rest: Sequence[str]) -> bool:
    """Return whether `rest` begins another item of a list without verbs: "anime style, [rainy weather]"."""
    if joint not in lexicon.JOINERS | {","}:
        return False
    item = _stretch(rest)
    if _pairs_colours(so_far, rest):
        return True
    if item[0] in lexicon.SUBJECTS and set(so_far) & lexicon.SUBJECTS - {item[0]}:
        return True
    if item[0].endswith("s") and so_far[0] in lexicon.DETERMINERS:
        return False  # "the camera pushes in, [pauses, …]": the same subject's next action
    last = _last_item(so_far)
    plain = not lexicon.PREPOSITIONS & set(item)
    if plain and len(lexicon.THINGS & {*last[-1:], *item[1:][-1:]}) > 1:
        return True
    before, after = lexicon.aspect_of_thing(last), lexicon.aspect_of_thing(item)
    related = {before, after} <= lexicon.PLACE_AND_LIGHT
    return before is not None and after is not None and before != after and not related


def _repeats_pair(so_far: Sequence[str], rest: Sequence[str], head: str) -> bool:
    """Return whether a second pair follows: "… the car to a truck and [the sky to purple]"."""
    openers = lexicon.ARTICLES if head in lexicon.PLACING else lexicon.DEFINITE
    links = lexicon.GAPS.get(head, frozenset())
    stretch = list(takewhile(lambda word: word not in lexicon.JOINERS, rest))
    if rest[0] == "from" and {"from", "to"} <= set(so_far) and "to" in stretch:
        return True
    if rest[0] not in openers:
        thing = not rest[0].endswith("ing") and rest[0] not in {"deep", "far", "high", "low"}
        linked = thing and bool(links & set(so_far)) and bool(links & set(rest[1:2]))
        return linked or (head in lexicon.COMPLEMENTED and _have_both_states(so_far, stretch, head))
    if links & set(so_far) and links & set(stretch[2:]):
        return True
    bare = not lexicon.PREPOSITIONS & set(so_far)
    first = [word for word in _last_item(so_far) if word not in lexicon.FILLERS and word != head]
    whole = len(first) + (first[:1] != [] and first[0] in _NAMED_ALONE)
    return head in lexicon.COMPLEMENTED and bare and min(whole, len(stretch)) > len(("the", "car"))


def _have_both_states(so_far: Sequence[str], item: Sequence[str], head: str) -> bool:
    before = [word for word in _last_item(so_far) if word not in lexicon.FILLERS and word != head]
    before = before[1:] if before[:1] and before[0] in lexicon.ARTICLES else before
    return item[0] not in lexicon.BOUNDING and _has_bare_state(before) and _has_bare_state(item)


_NAMED_ALONE = frozenset({"him", "it", "them"})


def _repeats_object(so_far: Sequence[str], rest: Sequence[str], joint: str, head: str) -> bool:
    """Return whether the same is done to a second thing: "add a scarf and [a hat]", "…, plus [a hat]".

    The object of "change", "use" or "switch to" is a second thing if its aspect differs; after "to" too.
    """
    bare = not set(so_far) & (lexicon.PREPOSITIONS | lexicon.RELATIVES)
    if rest[0] not in lexicon.ARTICLES:
        listed = joint in lexicon.JOINERS | {","}
        return head in lexicon.EACH_APART and bare and listed and _is_another_aspect(so_far, rest)
    item = _stretch(rest)
    if joint in _ADDING_JOINTS or (head in lexicon.ADDITIVES and (bare or _adds_apart(so_far, item))):
        return True
    if _changes_places(so_far, item, head):
        return False
    linked = lexicon.GAPS.get(head, frozenset()) & set(item)
    if head in lexicon.EACH_APART and bare and not linked and not _is_linked_later(rest, head):
        return True
    if item[1:2] and item[1] in MEASURES and item[2:3] == ["of"]:
        return False
    directed = head in lexicon.EDITS - lexicon.CAUSATIVES and joint in lexicon.JOINERS | {","}
    plain = not set(so_far) & (lexicon.PREPOSITIONS - {"to"} | lexicon.RELATIVES) and not _describes(item)
    before, after = lexicon.aspect_of_thing(_last_item(so_far)), lexicon.aspect_of_thing(item)
    return directed and plain and None not in (before, after) and before != after


def _adds_apart(so_far: Sequence[str], item: Sequence[str]) -> bool:
    """Return whether a thing is added next to a placed one: "a lamp on the table, and [a chair]"."""
    taken = {"between", "from", "with"} | lexicon.RELATIVES
    paused = list(so_far[-2:]) == [",", "and"] or bool(lexicon.PREPOSITIONS & set(item))
    return paused and item[0] in {"a", "an"} and not taken & set(so_far)


def _changes_places(so_far: Sequence[str], item: Sequence[str], head: str) -> bool:
    """Return whether two things swap places: "swap the mug and [the bottle]"."""
    two = head in {"exchange", "swap"} and not lexicon.GAPS[head] & set(so_far) and so_far[-1] == "and"
    return (
        two
        and "," not in so_far
        and lexicon.aspect_of_thing(_last_item(so_far)) == lexicon.aspect_of_thing(item)
    )


def _is_another_aspect(so_far: Sequence[str], rest: Sequence[str]) -> bool:
    """Return whether aspects are listed by name: "adjust the lighting, [camera angle and soundtrack]"."""
    before, item = _last_item(so_far), _stretch(rest)
    names = lexicon.aspect_of_thing(before), lexicon.aspect_of_thing(item)
    whole = not set(rest) & (lexicon.PREPOSITIONS | lexicon.RELATIVES)
    return whole and None not in names and names[0] != names[1] and len(item) < _SHORT_NAME


_SHORT_NAME = 4
MEASURES = frozenset("bit dash hint note splash touch trace".split())
"""The measured thing is partly in what was named before: "cool tones, a hint of green"."""


def _is_linked_later(rest: Sequence[str], head: str) -> bool:
    """Return whether one link follows for both: "change the car and the van [to bikes]"."""
    return bool(lexicon.GAPS.get(head, frozenset()) & set(rest))


def _describes(item: Sequence[str]) -> bool:
    return any(word.endswith("ing") for word in item[1:])


def _repeats_contrast(so_far: Sequence[str], rest: Sequence[str]) -> bool:
    """Return whether a second contrast follows: "night instead of day and [a truck instead of the car]"."""
    if rest[0] == "not" and {"not", "but"} <= set(so_far):
        return True
    again = bool(set(_stretch(rest)) & lexicon.CONTRASTS)
    acts = rest[0] in lexicon.SUBJECTS and bool(lexicon.FINITE & set(so_far))
    return again and (acts or bool(set(so_far) & lexicon.CONTRASTS))


def _stretch(words: Sequence[str]) -> list[str]:
    return list(takewhile(lambda word: word not in lexicon.SOFT_STOPS, words))


def _last_item(so_far: Sequence[str]) -> list[str]:
    """Return the words after the last joint of `so_far` that is followed by words."""
    words = list(so_far)
    while words and words[-1] in _EMPTY:
        words.pop()
    return list(reversed(_stretch(list(reversed(words)))))
