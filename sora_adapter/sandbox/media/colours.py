"""Colour arithmetic and colour names.

The table contains CSS's 148 names (included in Pillow), film terms that CSS lacks, and softer versions of the
few colours that are too strong for a screen. Moods have lower priority: they apply only if no colour is
named.
"""

import colorsys
import re

from PIL import ImageColor

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

_FILM_WORDS = {
    "amber": "#ffbf00", "apricot": "#fbceb1", "auburn": "#a52a2a", "blond": "#e6c77b", "blonde": "#e6c77b",
    "brass": "#b5a642", "bronze": "#cd7f32", "burgundy": "#800020", "camel": "#c19a6b", "caramel": "#c68e4f",
    "cerulean": "#2a82b8", "champagne": "#f2dfc0", "charcoal": "#36454f", "cobalt": "#0047ab",
    "copper": "#b87333", "cream": "#f5ebcf", "ebony": "#2b2522", "emerald": "#209d5f", "golden": "#e8b030",
    "jade": "#00a86b", "lilac": "#c8a2c8", "magenta": "#d0208f", "mahogany": "#6e2c20", "mauve": "#b784a7",
    "mint": "#98e2c0", "mustard": "#e1ad21", "ochre": "#cc7722", "ocher": "#cc7722", "peach": "#ffcba4",
    "petrol": "#0b5563", "pistachio": "#a9c77d", "rose": "#e0607e", "ruby": "#b0104f", "rust": "#b7410e",
    "saffron": "#f4a726", "sand": "#d8bc8a", "sapphire": "#0f52ba", "scarlet": "#e02410", "sepia": "#8a5a30",
    "slate": "#64748b", "terracotta": "#cb6843", "ultramarine": "#2a1fa0", "umber": "#635147",
    "vermilion": "#e34234", "wine": "#722f37",
    "aqua": "#22c3d6", "blue": "#2457d6", "cyan": "#22c3d6", "fuchsia": "#d0208f", "green": "#2a9d4a",
    "lime": "#7ed321", "red": "#dd2a2a", "yellow": "#f6d032",
}  # fmt: skip

_MOODS = {
    "autumn": ("#b5541c", "#e0a040", "#6e2c20"),
    "beach": ("#4fb3c8", "#e8d3a0", "#2d7f98"),
    "dawn": ("#7f8fc9", "#f7b695", "#4a4f86"),
    "desert": ("#e0a868", "#f2d7a0", "#a85a32"),
    "dusk": ("#3f3a70", "#e08a78", "#2a2650"),
    "fire": ("#7a1408", "#ffa030", "#c83210"),
    "forest": ("#a9c7b0", "#2f6b48", "#173f2e"),
    "neon": ("#1a0b3a", "#ff2fa0", "#12c8e0"),
    "night": ("#0b1436", "#33508f", "#060a1e"),
    "ocean": ("#7fc4dc", "#0f6a94", "#0a3f66"),
    "rainy": ("#7d93a6", "#a9b8c4", "#42566a"),
    "rain": ("#7d93a6", "#a9b8c4", "#42566a"),
    "sea": ("#7fc4dc", "#0f6a94", "#0a3f66"),
    "snowy": ("#a9c4dc", "#eef4fa", "#7e98b6"),
    "snow": ("#a9c4dc", "#eef4fa", "#7e98b6"),
    "space": ("#0b0f2e", "#5a3f8f", "#141a3a"),
    "spring": ("#9fd0e8", "#f5c4d4", "#6fae5a"),
    "sunrise": ("#f08a5a", "#ffd68a", "#8a4a78"),
    "storm": ("#4a5a6c", "#8d9aa8", "#2e3a48"),
    "sunset": ("#d8553f", "#ffbf66", "#5a2a66"),
}

_WEATHER_NOT_COLOUR = {"snow"}  # CSS has a colour of this name

_WORD = re.compile(r"[a-z]+")


def find_named(text: str) -> list[Colour]:
    """Return the colours named in the text, in order, without duplicates; "dark green" is one colour."""
    words = [*_WORD.findall(text.lower()), ""]
    colours: list[Colour] = []
    position = 0
    while position < len(words) - 1:
        pair = _colour(words[position] + words[position + 1]) if words[position + 1] else None
        colour = pair or _colour(words[position])
        if colour and colour not in colours:
            colours.append(colour)
        position += 2 if pair else 1
    return colours


def mood(text: str) -> list[Colour]:
    """Return the colours of the first evocative word ("sunset", "neon"), if any."""
    for word in _WORD.findall(text.lower()):
        if word in _MOODS:
            return [_parse(colour) for colour in _MOODS[word]]
    return []


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return `first` moved by `share` (0..1) of the way to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def from_hue(hue: float, lightness: float, saturation: float) -> Colour:
    """Return a colour from parts in 0..1."""
    red, green, blue = (round(part * 255) for part in colorsys.hls_to_rgb(hue % 1, lightness, saturation))
    return red, green, blue


def brightness(colour: Colour) -> float:
    """Return the perceived brightness, 0 (black) to 255 (white)."""
    red, green, blue = colour
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _colour(word: str) -> Colour | None:
    if word in _FILM_WORDS:
        return _parse(_FILM_WORDS[word])
    return _parse(word) if word in ImageColor.colormap and word not in _WEATHER_NOT_COLOUR else None


def _parse(code: str) -> Colour:
    red, green, blue = ImageColor.getrgb(code)[:3]
    return red, green, blue
