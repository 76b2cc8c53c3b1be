"""Which aspect of a video some words are about."""

from collections.abc import Iterable, Mapping, Sequence

from decision.one_change import lexicon


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What a description of the picture cannot be about; place, weather and light describe each other.
BESIDES_THE_PICTURE = frozenset({"camera", "audio", "text", "timing"})
PLACE_AND_LIGHT = frozenset({"setting", "lighting"})

ASPECTS: Mapping[str, frozenset[str]] = {
    "camera": _words(
        """
        24mm 35mm 50mm 85mm aerial anamorphic angle bokeh camera close-up closeup composition crane crop
        depth-of-field dof dolly drone focal focus frame framing handheld lens locked-off orbit overhead pan
        perspective pov shot static steadicam tilt top-down tracking tripod two-shot view viewpoint vignette
        wide wider zoom
        """
    ),
    "lighting": _words(
        """
        afternoon backlight backlit bright brighten brighter candlelight dark darken darker dawn day
        daylight dim dusk evening exposure glow glowing golden golden-hour hour key lamp light lighting
        lights midnight mood moonlight morning neon night noon relight rim shadow shadows silhouette sun
        sunlight sunlit sunrise sunset
        """
    ),
    "palette": _words(
        """
        beige black blue brown color colors colour colours cooler copper cream crimson desaturate desaturated
        gold golden gray green grey hue indigo monochrome navy orange palette pastel pink purple recolor
        recolour red rust sand saturate saturated saturation sepia silver teal tint tones turquoise
        warmer white yellow
        """
    ),
    "style": _words(
        """
        16mm 8mm aesthetic animated anime cartoon cel-shaded cinematic claymation comic cut-paper
        documentary film grain grainy look noir oil painting photorealistic pixel realistic retro sketch stop
        stop-motion style vhs vintage watercolor watercolour
        """
    ),
    "setting": _words(
        """
        autumn background beach castle city clouds curtains desert field floor fog forest harbor harbour
        indoors kitchen lake location market mist mountain mountains ocean office outdoors park place
        rain raining rainy river road room scene sea season setting sky skyline snow snowy spring storm
        street studio summer trees village wall weather wind window winter
        """
    ),
    "audio": _words(
        """
        ambience ambient audio dialog dialogue drums hum line louder melody music mute narration noise piano
        quieter score sfx silence song sound sounds soundtrack strings thunder voice voiceover volume whisper
        """
    ),
    "text": _words(
        """
        caption captions font label lettering logo reads sign subtitle subtitles text title titles words
        """
    ),
    "timing": _words(
        """
        backwards beat beats duration fast faster frame-rate freeze half-speed longer loop pace pause
        pauses reverse second seconds shorter slow slow-motion slower speed tempo time-lapse timelapse
        timing
        """
    ),
    "action": _words(
        """
        action climb climbs dance dances dancing drink drinks drive drives driving flies fly flying
        gesture hold holds jump jumping jumps laugh laughs look looks move moves pour pours read reading
        run running runs sit sits sitting sleep sleeps smile smiles smiling spin spins stand standing
        stands swim swims throw throws turn turns type types typing walk walking walks wave waves waving
        """
    ),
}
"""The words that name an aspect; the first one in a clause tells what it is about."""

DEFAULT_ASPECT = "subject"

FIELD_ASPECTS: Mapping[str, str] = {
    "scene": "setting",
    "subject": "subject",
    "action": "action",
    "camera": "camera",
    "lighting": "lighting",
    "palette": "palette",
    "style": "style",
    "timing": "timing",
    "audio": "audio",
    "text": "text",
    "dialogue": "audio",
}
"""The aspect each field of a structured prompt is about; the others change nothing."""

_ASPECT_OF = {word: aspect for aspect, words in reversed(tuple(ASPECTS.items())) for word in words}


def named_aspect(words: Sequence[str]) -> str | None:
    """Return the aspect of the first word that names one, None where none does.

    The verb that directs ("move it …", "turn the …") is not an action of a person in the video.
    """
    directs = set(words[:1]) & (lexicon.VERBS | lexicon.NOUN_LIKE) & ASPECTS["action"]
    rest = list(words[len(directs) :])
    if "look" in rest and set(rest[rest.index("look") + 1 :][:1]) & _LOOKING:
        rest[rest.index("look")] = "looks"  # "have her look up": no style
    return _first(rest)


_LOOKING = lexicon.PREPOSITIONS - {"like", "of"}


def aspect_of_thing(words: Sequence[str]) -> str | None:
    """Return the aspect a noun phrase is about: its last word's, so "a grey sky" is setting."""
    return _first(reversed(words))


def is_colour(word: str) -> bool:
    """Return whether `word` is about the palette."""
    return _ASPECT_OF.get(word) == "palette"


def _first(words: Iterable[str]) -> str | None:
    return next(filter(None, map(_of, words)), None)


def _of(word: str) -> str | None:
    """Return the aspect of a word, or of the first half of a compound: "voice-over"."""
    return _ASPECT_OF.get(word) or _ASPECT_OF.get(word.partition("-")[0])
