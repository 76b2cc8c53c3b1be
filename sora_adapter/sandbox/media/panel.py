"""The lower third: the prompt, and details of the render in small print.

It is drawn once for a clip and placed on every frame. A prompt longer than the panel ends in an ellipsis; a
remix or an extension shows its parent's prompt beneath its own.
"""

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from sora_adapter.sandbox.media.colours import Colour
from sora_adapter.sandbox.media.palette import palette_of
from sora_adapter.sandbox.media.planes import Mask, Picture, round_to_even
from sora_adapter.sandbox.media.recipe import Recipe

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = (
    "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "DejaVuSans.ttf", "wqy-microhei.ttc",
    "Arial Unicode.ttf", "PingFang.ttc", "AppleSDGothicNeo.ttc", "msyh.ttc", "meiryo.ttc", "malgun.ttf",
    "segoeui.ttf",
)  # fmt: skip
_NO_GLYPH = "\U0010ffff"
_PROBE_SIZE = 24


def font_for(text: str, size: int) -> Font:
    """Return the font at `size` pixels that can show most of the text."""
    letters = frozenset(text) - {" "}
    if not _count_lacking("", letters):
        return _font("", size)
    return _font(min(("", *_list_installed()), key=lambda name: _count_lacking(name, letters)), size)


def _count_lacking(name: str, letters: frozenset[str]) -> int:
    return sum(not _has(name, letter) for letter in letters)


@lru_cache(maxsize=20_000)
def _has(name: str, letter: str) -> bool:
    """Return whether a font has a glyph: whether it differs from the glyph for missing characters."""
    font = _font(name, _PROBE_SIZE)
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_GLYPH))


@lru_cache(maxsize=1)
def _list_installed() -> tuple[str, ...]:
    return tuple(name for name in _SYSTEM_FONTS if _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        ImageFont.truetype(name, _PROBE_SIZE)
    except OSError:
        return False
    return True


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> Font:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


_INK = (12, 14, 20)
_TEXT = (255, 255, 255)
_SMALL_PRINT = (204, 210, 218)
_OPACITY = 190
_MAX_LINES = {"landscape": 3, "portrait": 5}
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True)
class Panel:
    """A caption ready to be placed on frames; `at` is its position."""

    picture: Picture
    mask: Mask
    at: tuple[int, int]

    def show(self, frame: Picture, share: float = 1.0) -> None:
        """Place the caption on a frame, at `share` (0..1) of its opacity."""
        frame.lay(self.picture, self.mask if share >= 1 else self.mask.fade(share), self.at)


def panel_of(recipe: Recipe) -> Panel:
    """Draw the caption of a clip."""
    width, height = recipe.size
    unit = min(recipe.size)
    margin, pad = round_to_even(unit * 0.05), round(unit * 0.035)
    lines = _lines(recipe, width - 2 * margin - 3 * pad)
    box = (round_to_even(width - 2 * margin), round_to_even(sum(line.height for line in lines) + 2 * pad))
    picture, mask = _plate(box, palette_of(recipe.prompts).accent, max(4, unit // 120))
    words, draw = Image.new("L", box, 0), ImageDraw.Draw(picture)
    top = pad
    for line in lines:
        for canvas, fill in ((draw, line.colour), (ImageDraw.Draw(words), 255)):
            canvas.text((2 * pad, top), line.text, font=line.font, fill=fill)
        top += line.height
    mask.paste(255, (0, 0, *box), words)
    return Panel(
        Picture.convert(picture), Mask.convert(mask), (margin, round_to_even(height - margin - box[1]))
    )


@dataclass(frozen=True)
class _Line:
    text: str
    font: Font
    height: int
    colour: Colour = _TEXT


def _lines(recipe: Recipe, room: int) -> list[_Line]:
    unit = min(recipe.size)
    shape = "landscape" if recipe.size[0] > recipe.size[1] else "portrait"
    large, small = round(unit * 0.046), round(unit * 0.03)
    prompt = _tidy(recipe.prompt)
    font = font_for(prompt, large)
    lines = [_Line(text, font, round(large * 1.3)) for text in wrap(prompt, font, room, _MAX_LINES[shape])]
    return [*lines, *(_small_print(text, small, room) for text in _notes(recipe))]


def _notes(recipe: Recipe) -> list[str]:
    width, height = recipe.size
    facts = [recipe.model, f"{width}x{height}", f"{recipe.seconds} s"]
    if recipe.cast:
        facts.append("with " + ", ".join(map(_tidy, recipe.cast)))
    made = "  \N{MIDDLE DOT}  ".join(facts)
    if recipe.parent is None:
        return [made]
    relation = "continues" if recipe.is_continuation else "remix of"
    return [f"{relation}: {_tidy(recipe.parent)}", made]


def _small_print(text: str, size: int, room: int) -> _Line:
    font = font_for(text, size)
    return _Line(wrap(text, font, room, 1)[0], font, round(size * 1.5), _SMALL_PRINT)


def _plate(box: tuple[int, int], accent: Colour, stripe: int) -> tuple[Image.Image, Image.Image]:
    """Draw a dark plate with an accent stripe, and a mask for translucency and rounded corners."""
    picture, mask = Image.new("RGB", box, _INK), Image.new("L", box, 0)
    corners = ImageDraw.Draw(mask)
    corners.rounded_rectangle((0, 0, box[0] - 1, box[1] - 1), radius=box[1] // 12 + 4, fill=_OPACITY)
    for draw, fill in ((ImageDraw.Draw(picture), accent), (corners, 255)):
        draw.rounded_rectangle(
            (stripe * 2, stripe * 3, stripe * 3, box[1] - stripe * 3), radius=stripe, fill=fill
        )
    return picture, mask


def _tidy(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def wrap(text: str, font: Font, room: int, most: int) -> list[str]:
    """Break a text into at most `most` lines no wider than `room`; the rest becomes an ellipsis."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < most:
        line, rest = _first_line(rest, font, room)
        lines.append(line)
    if rest:
        lines[-1] = _shorten(lines[-1], font, room)
    return lines or [""]


def _first_line(text: str, font: Font, room: int) -> tuple[str, str]:
    """Split off the first line, at a space if there is one (some scripts have none)."""
    fits = _count_fitting(text, font, room)
    if fits == len(text):
        return text, ""
    space = text.rfind(" ", 1, fits + 1)
    cut = space if space > 0 else fits
    return text[:cut], text[cut:].lstrip()


def _count_fitting(text: str, font: Font, room: int) -> int:
    """Return how many characters fit, at least one, by binary search since texts are long."""
    low, high = 1, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= room else (low, middle - 1)
    return low


def _shorten(line: str, font: Font, room: int) -> str:
    while line and font.getlength(line + _ELLIPSIS) > room:
        line = line[:-1]
    return line.rstrip() + _ELLIPSIS
