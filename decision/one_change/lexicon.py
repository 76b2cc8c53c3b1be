"""The words of the single-change rule: their role in a sentence, and the aspect they are about.

Closed classes (determiners, conjunctions, markers) are meant to be complete; open ones (verbs, aspects) hold
the usual vocabulary of directing a shot. A missing word costs precision in the aspect named; a missing verb
only where no object with a determiner follows it (`decision.one_change.clauses`).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HARD_STOPS = frozenset({".", ";", "!", "?", "\n"})
SOFT_STOPS = _words(", : ( ) & + and then while plus but also except whereas though although with besides")

# Between two things of one kind.
JOINERS = _words("& + , also and but plus then")
# Open a change, after what stays.
EXCEPTIONS = _words("besides but except only")
# Fillers before the verb or subject of a clause, without meaning for our purpose.
FILLERS = _words(
    """
    additionally afterwards again also and can could either finally first i i'd just kindly lastly let's
    like maybe might next now only perhaps please second should simply then third too we we'd would you
    """
)
# Fillers that only tie a change to the previous one.
OPENING_FILLERS = _words("additionally afterwards also finally first lastly next second then third too")
ARTICLES = _words("a an her his its my our some that the their these this those your")
DEFINITE = _words("her his it its my our that the their these this those your")
DETERMINERS = ARTICLES | _words(
    "all another any both each every everyone everything he him it me no she them they us"
)
PREPOSITIONS = _words(
    """
    above across after against along alongside among around as at before behind below beneath beside between
    beyond by down during for from half in inside into like near of off on onto out outside over past than
    through throughout to toward towards twice under underneath until up via with within without
    """
)
# Open a change after "same shot".
TAILS = _words("as at during from in under with without")
# Open a purely descriptive clause.
SUBORDINATING = _words("after as because before for if once since to when whenever where while")
RELATIVES = _words("because if since so that until when where which who whose")
SAME = _words("identical same")
# Verbs that say what stays.
KEEPING = _words("keep keeping maintain maintaining preserve preserving retain retaining")
# Words that say that a thing stays.
STAYING = _words("identical intact remain remaining remains same stay staying stays unchanged untouched")
AS_BEFORE = _words("before in is it now original they was")
# After "as it" or "as they", show that something is unchanged.
AS_IT = _words("are is stands was were")
# Followed by one of WITHHELD: a change that is not wanted.
WITHHOLDING = _words("avoid don't dont never no not nothing without")
WITHHELD = _words(
    """
    affect affecting alter alteration alterations altering change changes changing edit edits further
    modification modifications modify modifying move moving notes other touch touching
    """
)
REST = _words("else everything others rest")
EDITING = _words("alter change edit modify touch")
# A thing that replaces another.
CONTRASTS = _words("-> instead rather")
# Make a noun phrase a change.
NOVELTIES = _words("different new")
COMPARATIVES = _words(
    """
    bigger blurrier brighter busier calmer closer colder cooler darker denser earlier faster fewer further
    harder heavier higher larger later less lighter longer louder lower more older quieter sharper
    shorter slower smaller softer thicker thinner tighter warmer wider younger
    """
)
GRADABLE = _words(
    """
    big blue blurry bold brave bright broad broody busy calm clean clear close cold cool coarse crisp curly
    damp dark deep dense dim dirty dry dull dusty early empty fair faint fast fine flat foggy fresh full
    gentle grainy grand gray green grey happy hard harsh hazy heavy high hot huge icy large late lazy lean
    light long loose loud low lush mellow misty moody muddy narrow near neat new noisy odd old pale pink
    plain poor pure quick quiet rainy rare red rich rough round sad safe shallow sharp shiny short silent
    simple sleepy slow small smooth snowy soft sparse steady steep still stormy strong sunny sweet tall tame
    tense thick thin tidy tight tiny ugly vast vivid warm weak wet wide wild windy yellow young
    """
)


def is_comparative(word: str) -> bool:
    """Return whether `word` grades a thing: "more", or an adjective such as "bluer", "foggier"."""
    if word in COMPARATIVES:
        return True
    stem = word.removesuffix("er")
    return stem != word and bool({stem, f"{stem}e", stem[:-1], f"{stem.removesuffix('i')}y"} & GRADABLE)


# Intensifiers before a comparative: "a bit more contrast".
DEGREES = _words("a bit even far little much slightly somewhat tad the touch way")


def grades(words: Sequence[str]) -> bool:
    """Return whether `words` begin with a comparative and the thing it grades: "slightly less grain"."""
    thing = list(dropwhile(lambda word: word in DEGREES, words))
    return len(thing) > 1 and is_comparative(thing[0]) and thing[1] not in SOFT_STOPS


BECOMING = _words("become becomes becoming")
# Finite verbs that make a statement of a subject.
FINITE = BECOMING | _words(
    """
    appears are arrives can changes comes disappears drifts drives enters flies floats gets goes had hangs has
    have he's is it's leans lies looks moves must need needs reads runs sits sleeps stands
    says shall she's should there's they're turns walks wants was wears were will
    """
)
# Finite verbs before another verb, and their negations.
AUXILIARIES = _words(
    """
    aren't can't cannot could didn't does doesn't isn't may might mustn't shouldn't to-be wasn't weren't
    won't would wouldn't
    """
)
# Refer to the person who directs.
DIRECTORS = _words("i i'd i'll let's we we'd we'll")
# Subject and verb in one.
CONTRACTED = _words("he's it's she's there's they're")
# Ask that a statement should hold: "could the door creak".
MODALS = _words("can could may might shall should would")
# Begin an action of a person mentioned before.
SUBJECTS = _words("he she they")
# Classes that no unlisted verb can belong to.
CLOSED = (
    DETERMINERS | PREPOSITIONS | RELATIVES | COMPARATIVES | CONTRASTS | FINITE | REST | WITHHOLDING | MODALS
)
# Done only by a camera or in the cut, never by a person in the video.
FILMING = _words("dissolve dolly tilt zoom")
# Take a subject and a bare verb: "have her pick up the cup and drink".
CAUSATIVES = _words("have let")
# Remove or turn down a sound, something shown over the picture, or a camera effect.
WITHDRAWING = _words("cut delete ditch drop kill lose lower mute raise")
# Each object of these is a separate change.
ADDITIVES = _words("add delete ditch drop erase include insert introduce lose remove")
# The change to each object of these is separate, unless one link follows for all of them.
EACH_APART = _words(
    """
    adjust alter change modify recolor recolour redesign redo refresh relight replace restyle rethink revise
    rework swap tweak update
    """
)
# Take a thing and its new state: "make the car red".
COMPLEMENTED = _words("color colour dress have let make paint turn")
# After a word that could be a noun, show that it is a verb: "turn off", "zoom in".
PARTICLES = _words("away back backward backwards down forward in into left off on out right to up")
# Verbs that direct the video itself, never the action of a person in it.
EDITS = _words(
    """
    add adjust alter animate apply brighten change convert crop darken delete desaturate erase exchange
    extend have include increase insert introduce let lighten lower make modify put raise recast recolor
    recolour reduce reframe relight remove render repaint replace restyle set shift substitute swap switch
    tint transform turn use widen
    """
)
# Verbs whose participles direct the video as well: "while dimming the lights".
DIRECTING = EDITS | _words(
    """
    blur crop cut dim fade grade mirror mute pan rotate saturate sharpen slow soften speed tighten tilt trim
    zoom
    """
)
# Verbs whose participles replace or remove a thing in any position: ", replacing the car with a van".
REPLACING = _words("delete erase exchange remove replace substitute swap")
# Irregular participles for the state of a thing.
STATES = _words(
    """
    absent afloat alight alone asleep awake bare broken drawn frozen gone hidden lit off on open out shut torn
    worn
    """
)
# Irregular participles for how a video is made.
MADE = _words("drawn lit seen set shot sung told")
# Topics of a heading that only announces changes: "note from the director: …".
HEADINGS = _words(
    """
    adjustment change comment edit feedback fix modification note point remark request revision tweak
    update v2 v3 version
    """
)
# Turn their object into a state: "I need the floor wet".
STATING = _words("be get have let make need want wants")
# Say how a video begins and ends: "… and end on the logo".
BOUNDING = _words("begin close end fade finish open start")
# Begin another imperative even without a joint before them.
RUN_ON = _words("add change make put remove replace swap")
# Imperatives; those in NOUN_LIKE only with an object or particle behind them.
VERBS = EDITS | _words(
    """
    accelerate attach blend boost bring combine decrease deepen detach emphasise emphasize enhance
    enlarge exaggerate fix flip follow give grow halve hang hide improve intensify keyframe lengthen
    merge mirror mount move multiply paint place play polish pull push rearrange redo regrade relocate
    remake remix repaint reposition resize restage restore retime reveal reverse rewind rewrite rotate
    roughen saturate scale scatter seat sharpen shorten show shrink simplify slow soften speed sprinkle
    start stylise stylize take throw tighten trade transition translate trim triple tweak update write
    """
)
# Of the words below, the verbs that open a wish even without an object that shows it.
MEASURED = _words("increase mute reverse")
# Verbs that are as often nouns or adjectives.
NOUN_LIKE = _words(
    """
    age blend blur cast clean clear color colour cool crop cross cut dance dim dissolve dolly double
    dress dry edit empty end fade fill fix focus follow frame freeze get go grade hang hold increase
    jump light lighten loop lower melt mirror mix mount move mute need open orbit paint pan park pause
    place play point print pull push rack read record remix reverse rotate run scale set shift show slow
    sound speed spin split stand start stop substitute switch text tilt tint tone track transition trim try
    turn up walk want warm wet zoom
    """
)
# Take a thing and a place.
PLACING = _words("add hang move place put")

# Say that something is liked unchanged.
LIKING = _words("adore enjoy enjoyed like liked love loved")
PRAISE = _words(
    """
    amazing approved awesome beautiful brilliant cool done excellent fantastic fine good great happy lgtm love
    lovely nice ok okay perfect perfection super thanks thank well wonderful yes
    """
)
# Announce a list of changes: "two tweaks: ...".
SEVERAL = _words("2 3 4 5 few five four some several three two")
REQUESTS = _words(
    "adjustments changes edits fixes modifications notes points remarks requests things tweaks updates"
)
REQUESTED = _words("adjustment change edit fix modification request revision thing tweak update")
# With one of these, only announce a change: "one small change only".
SPARING = _words("a but here is just last little minor more one only single small that's the tiny")
# A change made only of these does not say what is to change.
EMPTY = (
    ARTICLES
    | MODALS
    | _words(
        """
        about again agreed another anything appealing beautiful best better but change choose cooler
        decide different differently discussed do don't else engaging everything exciting fancier feel fix
        good great harder hmm improve improved interesting into is it know last less like make maybe me
        mentioned more much new nice nicer not of or please pop prettier quite redo reference remix right
        said somehow something stuff surprise take talked that the them there thing things think this time
        to try tweak two up us usual version video want way we what whatever with work yet you
        """
    )
)
# Common contents of a picture, to recognise English where nothing else does.
THINGS = _words(
    """
    actor actress apple arm baby bag ball balloon beard bench bicycle bike bird birds boat book boots bottle
    box boy bread bridge building bus cake candle candles car cat chair child children clothes coat coffee
    couple couch crowd cup dog door dress driver ear earrings extras eye eyes face fence fire fish flower
    flowers food fox fruit girl glass glasses grass guitar hair hand hands hat head horse house jacket jeans
    kid kite knife leather leaves lips makeup man men mouth mug nose pants people person phone plant plants
    plate robot roof scarf shirt shoes skin smoke sofa steam suit sweater table tea toy train tree trousers
    truck umbrella uniform van wine woman women wooden
    """
)
# Closed-class words of other languages that are not English words.
FOREIGN = _words(
    """
    al aus avec che com con das de dem den der des di dos du durch e ein eine einem einen einer el en et
    gegen il ist la las le les lo los mais mas mit muy más nicht nur o ou para pas plus por pour qu que quite
    sea sem ser sich sin sonst sous sur um un una und une uno von y zu zum zur à él
    """
)

GAPS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_words("convert move need set shift switch transform turn want"), _words("to into")),
    "change": _words("into so to"),
    **dict.fromkeys(_words("exchange substitute swap trade"), _words("for with")),
    **dict.fromkeys(
        PLACING,
        _words(
            "above against around at behind below beside by in inside into near next on onto over to under"
        ),
    ),
    **dict.fromkeys(_words("pull remove take"), _words("from off")),
    **dict.fromkeys(_words("cast dress recast redo reimagine restyle rework"), _words("as in like")),
    "replace": _words("with by"),
}
"""The words that link the two halves of a pair, by the verb: "change A to B", "replace A with B"."""

# Aspects that a description of the picture cannot be about; place, weather and light describe each other.
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
"""The words that name an aspect; the first one in a clause decides."""

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


def find_aspect(words: Sequence[str]) -> str | None:
    """Return the aspect of the first word that names one, None if none does.

    The verb that directs ("move it …", "turn the …") is not an action of a person in the video.
    """
    directs = set(words[:1]) & (VERBS | NOUN_LIKE) & ASPECTS["action"]
    rest = list(words[len(directs) :])
    if "look" in rest and set(rest[rest.index("look") + 1 :][:1]) & _LOOKING:
        rest[rest.index("look")] = "looks"  # "have her look up": no style
    return _first(rest)


_LOOKING = PREPOSITIONS - {"like", "of"}


def aspect_of_thing(words: Sequence[str]) -> str | None:
    """Return the aspect a noun phrase is about: its last word's, so "a grey sky" is setting."""
    return _first(reversed(words))


def is_colour(word: str) -> bool:
    """Return whether `word` is about the palette."""
    return _ASPECT_OF.get(word) == "palette"


def _first(words: Iterable[str]) -> str | None:
    return next(filter(None, map(_find_aspect_of_word, words)), None)


def _find_aspect_of_word(word: str) -> str | None:
    """Return the aspect of a word, or of the first half of a compound: "voice-over"."""
    return _ASPECT_OF.get(word) or _ASPECT_OF.get(word.partition("-")[0])
