"""The single-change rule: one change, several, none, or it cannot be told."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.one_change.lexicon import ASPECTS, DEFAULT_ASPECT
from decision.one_change.verdict import chance_of_several, check_remix, check_single_change, read_clauses
from decision.request.prompt import CHANGE_ASPECTS

LABELLED = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "remix-prompts.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


@pytest.mark.parametrize("case", LABELLED, ids=[case["prompt"][:40] for case in LABELLED])
def test_the_labelled_prompts_are_classified_right(case: dict[str, str]) -> None:
    assert check_single_change(case["prompt"]).verdict == case["changes"]


@pytest.mark.parametrize(
    "prompt",
    [
        "Same shot, golden hour light.",
        "Same clip but in winter.",
        "Make it night with heavy rain and wet reflections.",
        "Keep the framing and the subject; only the jacket becomes red.",
        "Have her pick up the cup and drink the tea.",
        "Everything stays the same except the sky, which turns orange.",
        "Embroider the jacket with gold thread.",
        "Do not change anything but the soundtrack: use a soft piano.",
        "Swap the red scarf for a blue one while keeping the lighting and camera.",
        "Turn the street into a canal, leaving the buildings and light untouched.",
        "Remove the man from the bench and the background.",
        "Without changing the camera, make the lake frozen.",
        "Replace her dress with a long, flowing, emerald gown and nothing else.",
        'Change the sign to "Add salt, remove bread and turn left".',
        "Primary request: make it dusk\nConstraints: keep the subject, add no text",
        "The second beat is too long; trim it to a second.",
        "The pavement is wet now, with the shop signs mirrored in it.",
        "Shift everything to cool tones, a hint of green in the shadows.",
        "Darker, moodier lighting.",
        "Change her clothes: a navy suit, a white shirt and brown brogues.",
        "Remove all on-screen text, including the logo and the URL.",
        "Keep everything the same apart from the time of day: make it dusk.",
        "Exchange the typewriter for a laptop; lighting, framing and timing stay put.",
        "Do not touch the camera or the pacing, but turn the car into a tractor.",
        "The music doesn't fit. Use something slower on piano.",
        "One change only - the door opens inward.",
        "Let the lights come on as it gets dark.",
        "The kitchen, but messier: dirty dishes, spilled flour, an overturned bowl.",
        "Increase contrast.",
        "Hold wardrobe, set and camera. New music: a slow fado guitar.",
        "Re-light with a single bulb hanging overhead, hard shadows, nothing else lit.",
        "We don't need the narrator; take her out.",
        "Change day into night, with the moon on the water and the windows lit.",
        "Make it look as though it was shot on a phone.",
    ],
)
def test_one_change_with_what_elaborates_it_and_what_stays_is_single(prompt: str) -> None:
    assert check_single_change(prompt).verdict == "single"


@pytest.mark.parametrize(
    "prompt",
    [
        "Make the car red and the sky purple.",
        "Change the car to a truck and the road to a river.",
        "Replace the mug with a glass and the lid with foil.",
        "Add a scarf and a hat.",
        "Make it night. Add a dog. Remove the car.",
        "Night instead of day and a truck instead of the coupe.",
        "Warmer light and a slower camera.",
        "New palette of greens, new camera angle.",
        "Remove the logo and embroider the jacket with stars.",
        "Keep the subject, but change the lighting to neon and add rain.",
        "Same framing; dim the lights, open the window, and put a cat on the sill.",
        "The vase goes on the floor, the cat on the windowsill.",
        "Give the old man a beard and the boy a kite.",
        "Not a fox but a hare, and not a meadow but a pond.",
        "Same clip but wider lens and with a blue cast.",
        "Autumn leaves instead of snow, and a handheld camera.",
        "Warmer, slower, quieter.",
        "Have her wear a hat and sit by the window.",
        "Same actress in a different dress in a different city.",
        "Put it in the desert, at night.",
        "Background = forest, time = dawn",
        "Apart from changing the car to a van, remove the driver.",
        "Make him bald and the hallway longer.",
        "There should be a cat on the roof and a dog at the gate.",
        "Add a dolphin jumping out of the water, and a sailing boat on the horizon.",
        "Dress her in white, him in black.",
        "Change the camera move to a crane up, with an orchestral score.",
        "Make the headlights blurry & logo bigger.",
        "i) snow ii) slower",
        "We need a bigger logo and a cleaner background.",
        "Other hair, other shoes.",
        "Have her sing in Italian, and drop the piano by an octave.",
        "Have everyone look up and the music stop.",
        "Bring the ladder closer and the bucket nearer to the wall.",
        "The castle in ruins, the moat dry.",
        "Switch from dusk to noon and from boats to kayaks.",
        "Keep the walk, but on a frozen lake and with a red scarf.",
    ],
)
def test_several_changes_are_multiple(prompt: str) -> None:
    assert check_single_change(prompt).verdict == "multiple"


@pytest.mark.parametrize(
    "prompt",
    [
        "Keep everything the same.",
        "Same shot and framing.",
        "Don't change anything.",
        "No changes.",
        "…",
        "Leave it as it is, it's perfect.",
        "Nothing to change here, just run it once more.",
        "The framing, wardrobe and colours must stay the same.",
    ],
)
def test_only_what_stays_is_none(prompt: str) -> None:
    assert check_single_change(prompt).verdict == "none"


def test_changes_are_located_in_the_text() -> None:
    prompt = "Same shot; change the palette to teal and have the car drive faster."
    words = [prompt[change.start : change.end] for change in check_single_change(prompt).changes]
    assert words == ["change the palette to teal", "have the car drive faster"]


@pytest.mark.parametrize(
    ("prompt", "aspect"),
    [
        ("Shift the color palette to teal.", "palette"),
        ("Switch to a handheld camera.", "camera"),
        ("Switch to golden hour light.", "lighting"),
        ("Replace the mug with a teapot.", "subject"),
        ("Move it to a snowy field.", "setting"),
        ("Switch the style to anime.", "style"),
        ("Swap the soundtrack for jazz.", "audio"),
        ("Have her type rather than read.", "action"),
        ("Have him look up.", "action"),
        ("Use a 35mm film look.", "camera"),
    ],
)
def test_the_aspect_of_a_change_is_named(prompt: str, aspect: str) -> None:
    assert [change.aspect for change in check_single_change(prompt).changes] == [aspect]


def test_a_field_about_another_aspect_is_a_further_change() -> None:
    assert check_remix("Make it night", {"camera": "slow dolly in"}).verdict == "multiple"


def test_a_field_about_the_same_aspect_elaborates_the_change() -> None:
    assert check_remix("Shift the palette to teal", {"palette": "teal, sand, rust"}).verdict == "single"


def test_constraints_are_no_change() -> None:
    assert (
        check_remix("Make it night", {"constraints": "keep the camera", "negative": "no rain"}).verdict
        == "single"
    )


def test_a_change_may_stand_in_a_field_alone() -> None:
    assert check_remix("Same shot and framing", {"palette": "teal, sand, rust"}).verdict == "single"


@given(st.text())
def test_any_text_gets_a_verdict_with_spans_inside_it(prompt: str) -> None:
    changes = check_single_change(prompt).changes
    assert all(0 <= change.start < change.end <= len(prompt) for change in changes)


WORDS = sorted(
    {word for case in LABELLED for word in case["prompt"].split()} | set(", : ; . - no and like with".split())
)


@given(st.lists(st.sampled_from(WORDS), max_size=16))
def test_any_order_of_words_of_requests_gets_a_verdict(words: list[str]) -> None:
    prompt = " ".join(words)
    assert all(
        0 <= change.start < change.end <= len(prompt) for change in check_single_change(prompt).changes
    )


@pytest.mark.parametrize("prompt", [": add and no", ": make no : slower", "no dutch : plaza no pega, red"])
def test_a_colon_with_nothing_before_it_introduces_nothing(prompt: str) -> None:
    assert check_single_change(prompt).verdict in {"single", "multiple", "ambiguous"}


@given(st.lists(st.sampled_from("and , with make the same a car red but keep . while new instead".split())))
def test_the_verdict_agrees_with_the_number_of_changes(words: list[str]) -> None:
    verdict, changes = check_single_change(" ".join(words))
    expected = {"none": {0}, "single": {1}}.get(verdict)
    assert verdict == "ambiguous" or (len(changes) in expected if expected else len(changes) > 1)


def least_seconds(prompts: Sequence[str], *, enough: float) -> float:
    """Return the processor time `prompts` take; on a machine that is busy they are tried again."""
    least = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for prompt in prompts:
            check_single_change(prompt)
        least = min(least, time.process_time() - begun)
        if least < enough:
            break
    return least


@pytest.mark.parametrize("prompt", ["and " * 8_000, "a, " * 10_000, "make the car red and " * 1_500])
def test_the_longest_prompts_are_checked_in_a_moment(prompt: str) -> None:
    assert least_seconds([prompt], enough=3) < 3


DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    "prompt",
    [
        "Rendi il cielo più scuro",
        "Verander de jas in groen",
        "Zmień kolor samochodu na czerwony",
        "Udskift ræven med en hare",
        "Înlocuiește vulpea cu un iepure",
        "Ubah warna mobil menjadi merah",
    ],
)
def test_a_short_request_in_a_language_the_rule_does_not_read_is_ambiguous(prompt: str) -> None:
    assert check_single_change(prompt).verdict == "ambiguous"


def cases(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module", params=[2, pytest.param(1, marks=pytest.mark.soak)], ids=["half", "all"])
def of_languages(request: pytest.FixtureRequest) -> list[tuple[dict[str, str], str, float | None]]:
    """Return cases of seven languages with their verdicts and chances of several changes, read once.

    Reading a prompt takes the encoder 20 ms; which half is read has nothing to do with what the prompts say.
    """
    return [
        (case, check_single_change(case["prompt"]).verdict, chance_of_several(case["prompt"]))
        for case in cases("remix-prompts-languages.jsonl")
        if crc32(case["prompt"].encode()) % request.param == 0
    ]


class Count(NamedTuple):
    """What was told of a set, in percent: right, several changes let through as one."""

    right: int
    let_through: int


def count(verdicts: Sequence[tuple[str, str]]) -> Count:
    """Count verdicts, each beside its label."""
    several = [verdict for changes, verdict in verdicts if changes == "multiple"]
    right = sum(changes == verdict for changes, verdict in verdicts)
    return Count(right * 100 // len(verdicts), -(-several.count("single") * 100 // len(several)))


@pytest.mark.parametrize(
    ("name", "right", "let_through"),
    [
        ("remix-prompts.jsonl", 95, 0),
        ("remix-prompts-dev.jsonl", 95, 2),
        ("remix-prompts-held-out.jsonl", 83, 2),
        ("remix-prompts-unseen.jsonl", 86, 2),
        ("remix-prompts-later.jsonl", 90, 2),
        ("remix-prompts-last.jsonl", 89, 2),
    ],
)
def test_of_ordinary_english_this_much_is_classified_right(name: str, right: int, let_through: int) -> None:
    verdicts = [(case["changes"], check_single_change(case["prompt"]).verdict) for case in cases(name)]
    found = count(verdicts)
    assert (found.right >= right, found.let_through <= let_through) == (True, True), found


def test_the_aspects_a_requester_may_declare_are_those_that_are_found() -> None:
    assert set(CHANGE_ASPECTS) == {*ASPECTS, DEFAULT_ASPECT}


@pytest.mark.parametrize(
    ("languages", "kind", "right", "let_through"),
    [
        (("en",), "hard", 75, 15),
        (("en",), "plain", 85, 12),
        (("de", "es", "fr", "ja", "pt", "zh"), "hard", 70, 12),
        (("de", "es", "fr", "ja", "pt", "zh"), "plain", 85, 6),
    ],
)
def test_of_seven_languages_this_much_is_classified_right_for_a_writer_it_was_not_trained_on(
    of_languages: list[tuple[dict[str, str], str, float | None]],
    languages: tuple[str, ...],
    kind: str,
    right: int,
    let_through: int,
) -> None:
    found = count(
        [
            (case["changes"], verdict)
            for case, verdict, _ in of_languages
            if case["language"] in languages and case["kind"] == kind
        ]
    )
    assert (found.right >= right, found.let_through <= let_through) == (True, True), found


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("Bitte ersetze den Hund durch eine Katze und lass es schneien.", ["Hund", "schneien"]),
        ("把外套改成红色\uff0c再加一只猫。", ["红色", "猫"]),
    ],
)
def test_several_changes_in_another_language_are_located(prompt: str, words: list[str]) -> None:
    found = check_single_change(prompt)
    places = [prompt[change.start : change.end] for change in found.changes]
    assert (found.verdict, len(places)) == ("multiple", len(words))
    assert all(word in place for word, place in zip(words, places, strict=True)), places


def test_an_ordinary_prompt_is_classified_in_a_few_milliseconds() -> None:
    prompts = [case["prompt"] for case in cases("remix-prompts-dev.jsonl")[:500]]
    enough = len(prompts) / 250
    assert least_seconds(prompts, enough=enough) < enough


@pytest.mark.parametrize(
    "prompt",
    [
        "Fai nevicare sulla città, per favore.",
        "배경을 밤으로 바꿔 주세요",
        "Сделай ночь.",
        "Make it better.",
        "Either make the car red or make the sky purple.",
        "asdf qwer zxcv",
    ],
)
def test_what_is_no_english_says_nothing_or_leaves_a_choice_is_ambiguous(prompt: str) -> None:
    assert check_single_change(prompt).verdict == "ambiguous"


def test_what_is_unclear_stays_so_beside_a_field() -> None:
    assert check_remix("Fai che nevichi sulla piazza, per favore", {}).verdict == "ambiguous"


def test_the_items_of_a_list_are_changes_of_their_own() -> None:
    prompt = "1) a harbour\n2) same light\n3) a lighthouse keeper"
    words = [prompt[change.start : change.end] for change in check_single_change(prompt).changes]
    assert words == ["a harbour", "a lighthouse keeper"]


def test_what_stands_in_quotation_marks_is_one_word() -> None:
    assert check_single_change('The sign reads "Stop; make it red; add rain".').verdict == "single"


@pytest.mark.parametrize(
    ("rule", "prompt", "verdict"),
    [
        (
            "'with' after a setting sets the scene",
            "On Mars, with a robot instead of the astronaut.",
            "multiple",
        ),
        ("a fragment before an instruction adds nothing", "Too dark, brighten it.", "single"),
        ("'it should be' says what becomes of a name", "Change the weather. It should be foggy.", "single"),
        ("an adverb may come before the verb", "Change the weather. It really should be foggy.", "single"),
        ("'make it' refers to a name", "Change the drink. Make it a cocoa with marshmallows.", "single"),
        ("'let it' is an event of its own", "Let him laugh; let it rain.", "multiple"),
        ("'the new' refers to a name", "Replace him. The new actor should be in his fifties.", "single"),
        ("what another thing should do is no reference", "Swap the hat. The dog should bark.", "multiple"),
        ("an adjective and its noun are no event", "Make it dusk. Gentle ripples.", "single"),
        ("a complaint takes up its remedy", "The jacket looks wrong; make it denim.", "single"),
        ("a remedy names what it mends", "The jacket looks wrong. Add a scarf.", "multiple"),
        ("only a complaint takes up what follows", "Loop it and desaturate it.", "multiple"),
        ("what is not needed is a complaint", "We don't need the narrator; take her out.", "single"),
        ("what does not fit is a complaint", "The music doesn't fit. Use something slower.", "single"),
        ("what does not happen is no complaint", "The dog doesn't bark; make it howl.", "multiple"),
        (
            "a complaint has a subject",
            "Because the logo is too small, enlarge it, and also turn it white.",
            "multiple",
        ),
        ("a fault needs a verb", "My only note: the hands look odd, please fix them.", "single"),
        ("'it' is no name", "Make it hotter. Make it louder. Make it end on her.", "multiple"),
        ("a clause with a verb is no name", "He should limp and it should be foggy.", "multiple"),
        ("three words may be a name", "Swap the hat. It should be a cap.", "single"),
        (
            "four words are no name",
            "Don't show the face, show the hands instead, and make it night.",
            "multiple",
        ),
        ("'to' says what becomes of it", "Change the smoke to pink and make it rise slower.", "multiple"),
        ("what is withheld adds nothing", "Make it dusk. Without music.", "single"),
        ("an aspect counts once", "Snow on the roofs; no snow on the road; a sledge by the door.", "single"),
        ("a sentence about an article is an event", "Make it night. The grass bends.", "multiple"),
        (
            "an adjective may stand before its verb",
            "The camera drifts upwards. The old boat capsizes.",
            "multiple",
        ),
        (
            "'it snows' is an event",
            "The train arrives from the right; passengers wear masks; it snows.",
            "multiple",
        ),
        ("nothing said is ambiguous", "Try again.", "ambiguous"),
        ("two subjects with articles are two", "The elephant sprays water; the crowd cheers.", "multiple"),
        ("one article is not two", "The red hat. Blue scarf.", "ambiguous"),
        ("a list of things is several", "Red coat, blue hat.", "multiple"),
        ("aspects that differ are several", "Wider shot. Softer light.", "multiple"),
        ("two fragments of one aspect are not told apart", "Red hat. Blue scarf.", "ambiguous"),
    ],
)
def test_each_rule_of_the_grammar_decides_a_prompt_of_its_own(rule: str, prompt: str, verdict: str) -> None:
    assert read_clauses(prompt)[0].verdict == verdict, rule


def test_a_remedy_takes_the_place_of_the_complaint_before_it_alone() -> None:
    prompt = "Make it night. The jacket looks wrong; make it denim."
    words = [prompt[change.start : change.end] for change in check_single_change(prompt).changes]
    assert words == ["Make it night", "make it denim"]


def test_the_chance_of_several_changes_is_true_of_a_writer_that_set_no_constant(
    of_languages: list[tuple[dict[str, str], str, float | None]],
) -> None:
    labelled = [
        (chance, case["changes"] == "multiple") for case, _, chance in of_languages if chance is not None
    ]
    gaps = []
    for low in range(0, 100, 10):
        own = [pair for pair in labelled if low <= min(pair[0] * 100, 99.9) < low + 10]
        gaps.append(abs(sum(chance for chance, _ in own) - sum(several for _, several in own)))
    assert sum(gaps) / len(labelled) < 0.06, gaps
