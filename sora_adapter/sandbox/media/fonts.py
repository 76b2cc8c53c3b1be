"""Which font writes a text.

Pillow embeds one good Latin font (Aileron), and it is used wherever it has the glyphs. For other scripts
the usual system fonts are tried and the one that lacks least is taken.

BUG: a script no installed font has (Chinese on a bare server) is shown as empty boxes; the clip is
otherwise fine.
"""

from functools import lru_cache

from PIL import ImageFont

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
    """Return the font at `size` pixels that shows most of the text."""
    letters = frozenset(text) - {" "}
    if not _lacking("", letters):
        return _font("", size)
    return _font(min(("", *_installed()), key=lambda name: _lacking(name, letters)), size)


def _lacking(name: str, letters: frozenset[str]) -> int:
    return sum(not _has(name, letter) for letter in letters)


@lru_cache(maxsize=20_000)
def _has(name: str, letter: str) -> bool:
    """Tell whether a font has a glyph: whether it differs from what it draws for no character at all."""
    font = _font(name, _PROBE_SIZE)
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_GLYPH))


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
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
