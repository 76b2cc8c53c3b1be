"""Pictures in the encoder's format: three planes, luma at full size and chroma at half.

Drawing directly into the planes avoids converting every frame from RGB, which would dominate the cost of a
clip. The values are ITU-R BT.709 in limited range, which players assume for HD video. Positions and sizes are
even numbers of luma pixels; an odd position shifts its chroma by half a pixel, which is invisible.

`Weather` draws particles: motes of light, or the snow or rain that the prompt mentions. They are drawn on
luma only, which takes a third of the time and looks like light.

`encode` makes an MP4 file of pictures and sound, H.264 and AAC. Rules: one encoder thread and no creation
time, so the bytes depend only on the pictures (and on the FFmpeg version in PyAV). 24 frames and 32,000
samples a second: both divide every length on offer, and four seconds are exactly 125 AAC packets, so sound
and picture end together. The index is at the beginning of the file (faststart).
"""

import io
import random
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Self

import av
from av.container import OutputContainer
from PIL import Image, ImageDraw, ImageFilter

from sora_adapter.sandbox.media.colours import Colour, mix
from sora_adapter.sandbox.media.recipe import Size, dice

_BT709 = (
    0.1826, 0.6142, 0.0620, 16.0,
    -0.1006, -0.3386, 0.4392, 128.0,
    0.4392, -0.3989, -0.0403, 128.0,
)  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """The opacity of a picture, 0..255, at both resolutions."""

    full: Image.Image
    half: Image.Image

    @classmethod
    def convert(cls, full: Image.Image) -> Self:
        """Return a mask made from one greyscale image."""
        return cls(full, full.reduce(2))

    def crop(self, left: int, width: int) -> Self:
        """Cut out a vertical strip of full height."""
        return type(self)(_strip(self.full, left, width), _strip(self.half, left // 2, width // 2))

    def fade(self, share: float) -> Self:
        """Return the mask at `share` (0..1) of its opacity."""
        table = [round(value * share) for value in range(256)]
        return type(self)(self.full.point(table), self.half.point(table))


@dataclass(frozen=True)
class Picture:
    """A picture that can be painted on."""

    y: Image.Image
    u: Image.Image
    v: Image.Image

    @classmethod
    def convert(cls, image: Image.Image) -> Self:
        """Convert an RGB image."""
        y, u, v = image.convert("RGB", _BT709).split()
        return cls(y, u.reduce(2), v.reduce(2))

    @classmethod
    def gradient(cls, size: Size, stops: Sequence[tuple[float, Colour]]) -> Self:
        """Return a picture filled from top to bottom with colours at given heights (0..1, rising)."""
        width, height = size
        column = Image.new("RGB", (1, height))
        column.putdata([_blend_at(stops, row / max(1, height - 1)) for row in range(height)])
        y, u, v = column.convert("RGB", _BT709).split()
        half = (width // 2, height // 2)
        nearest = Image.Resampling.NEAREST
        return cls(y.resize(size, nearest), u.resize(half, nearest), v.resize(half, nearest))

    def crop(self, left: int, width: int) -> Self:
        """Cut out a vertical strip of full height."""
        chroma = (left // 2, width // 2)
        return type(self)(_strip(self.y, left, width), _strip(self.u, *chroma), _strip(self.v, *chroma))

    def mix(self, other: "Picture", share: float) -> Self:
        """Return the picture `share` (0..1) of the way to another."""
        planes = ((self.y, other.y), (self.u, other.u), (self.v, other.v))
        return type(self)(*(Image.blend(plane, two, share) for plane, two in planes))

    def lay(self, other: "Picture", mask: Mask, at: tuple[int, int] = (0, 0)) -> None:
        """Place another picture on this one, through the mask."""
        chroma = (at[0] // 2, at[1] // 2)
        self.y.paste(other.y, at, mask.full)
        self.u.paste(other.u, chroma, mask.half)
        self.v.paste(other.v, chroma, mask.half)

    def paint(self, colour: Colour, mask: Mask, at: tuple[int, int] = (0, 0)) -> None:
        """Paint a plain colour on this picture, through the mask."""
        y, u, v = plane_values(colour)
        chroma = (at[0] // 2, at[1] // 2)
        _fill(self.y, y, at, mask.full)
        _fill(self.u, u, chroma, mask.half)
        _fill(self.v, v, chroma, mask.half)


def plane_values(colour: Colour) -> tuple[int, int, int]:
    """Return a colour's value in each of the three planes."""
    pixel = Image.new("RGB", (1, 1), colour).convert("RGB", _BT709).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    y, u, v = (int(value) for value in pixel)
    return y, u, v


def round_to_even(length: float) -> int:
    """Return the even number of pixels nearest to a length."""
    return round(length / 2) * 2


def _fill(plane: Image.Image, value: int, at: tuple[int, int], mask: Image.Image) -> None:
    plane.paste(value, (at[0], at[1], at[0] + mask.width, at[1] + mask.height), mask)


def _strip(image: Image.Image, left: int, width: int) -> Image.Image:
    return image.crop((left, 0, left + width, image.height))


def _blend_at(stops: Sequence[tuple[float, Colour]], height: float) -> Colour:
    for (low, first), (high, second) in pairwise(stops):
        if height <= high:
            return mix(first, second, max(0.0, height - low) / (high - low))
    return stops[-1][1]


_LIGHT = 225


@dataclass(frozen=True)
class _Drop:
    """One particle: its start, its movement per second (in frame sizes), its picture."""

    x: float
    y: float
    dx: float
    dy: float
    sprite: Image.Image


class Weather:
    """The particles of one clip; `fall` paints them at a moment."""

    def __init__(self, prompts: Sequence[str], size: Size) -> None:
        throw = dice("weather", prompts[0])
        make = _MAKERS[_kind(prompts)]
        self._size = size
        self._drops = make(throw, min(size))

    def fall(self, picture: Picture, moment_s: float) -> None:
        """Paint every particle where it is at `moment_s`; those leaving on one side return on the other."""
        width, height = self._size
        for drop in self._drops:
            room = (width + drop.sprite.width, height + drop.sprite.height)
            x = int((drop.x + drop.dx * moment_s) % 1 * room[0]) - drop.sprite.width
            y = int((drop.y + drop.dy * moment_s) % 1 * room[1]) - drop.sprite.height
            box = (x, y, x + drop.sprite.width, y + drop.sprite.height)
            picture.y.paste(_LIGHT, box, drop.sprite)


def _kind(prompts: Sequence[str]) -> str:
    for prompt in reversed(prompts):
        words = set(re.findall(r"[a-z]+", prompt.lower()))
        for kind, cues in _CUES.items():
            if words & cues:
                return kind
    return "motes"


_CUES = {
    "rain": {"rain", "rains", "raining", "rainy", "storm", "drizzle", "downpour"},
    "snow": {"snow", "snows", "snowing", "snowy", "snowfall", "blizzard", "winter"},
}


def _motes(throw: random.Random, unit: int) -> list[_Drop]:
    sprites = [
        _disc(round(unit * share), strength) for share, strength in ((0.03, 70), (0.014, 150), (0.008, 220))
    ]
    return [
        _Drop(throw.random(), throw.random(), throw.uniform(-0.02, 0.03), throw.uniform(-0.05, -0.01), sprite)
        for sprite in sprites
        for _ in range(14)
    ]


def _snow(throw: random.Random, unit: int) -> list[_Drop]:
    sprites = [
        _disc(round(unit * share), strength) for share, strength in ((0.018, 190), (0.011, 170), (0.007, 150))
    ]
    return [
        _Drop(
            throw.random(),
            throw.random(),
            throw.uniform(-0.03, 0.03),
            0.22 - 0.05 * far + throw.random() / 20,
            sprite,
        )
        for far, sprite in enumerate(sprites)
        for _ in range(34)
    ]


def _rain(throw: random.Random, unit: int) -> list[_Drop]:
    sprites = [_streak(round(unit * share), strength) for share, strength in ((0.09, 120), (0.06, 90))]
    return [
        _Drop(throw.random(), throw.random(), -0.12, 1.5 - 0.4 * far + throw.random() / 5, sprite)
        for far, sprite in enumerate(sprites)
        for _ in range(45)
    ]


_MAKERS = {"motes": _motes, "snow": _snow, "rain": _rain}


def _disc(diameter: int, strength: int) -> Image.Image:
    size = diameter * 2
    sprite = Image.new("L", (size, size), 0)
    edge = diameter // 2
    ImageDraw.Draw(sprite).ellipse((edge, edge, size - edge, size - edge), fill=strength)
    return sprite.filter(ImageFilter.GaussianBlur(diameter / 5))


def _streak(length: int, strength: int) -> Image.Image:
    sprite = Image.new("L", (max(3, length // 7), length), 0)
    ImageDraw.Draw(sprite).line((sprite.width - 2, 0, 1, length), fill=strength, width=2)
    return sprite


_COLUMNS = 4
_ROWS = 3
_SHEET_SIDE = 1280  # the longer side, in pixels
_THUMBNAIL_AT_S = Fraction(3, 2)  # by then the caption of a clip with a reference image has faded in


def thumbnail(clip: Path) -> bytes:
    """Return one frame of the clip as WebP, at the clip's own size."""
    return _save(next(_frames(clip, [_THUMBNAIL_AT_S])), "WEBP", quality=82, method=2)


def spritesheet(clip: Path) -> bytes:
    """Return a JPEG of four by three frames, evenly spaced from the first one, in reading order."""
    with av.open(clip) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None  # it is our own MP4
        length_s = stream.duration * stream.time_base
        tile = _tile(stream.width, stream.height)
    sheet = Image.new("RGB", (tile[0] * _COLUMNS, tile[1] * _ROWS))
    moments = [length_s * index / (_COLUMNS * _ROWS) for index in range(_COLUMNS * _ROWS)]
    for index, frame in enumerate(_frames(clip, moments)):
        small = frame.resize(tile, Image.Resampling.BILINEAR, reducing_gap=2)
        sheet.paste(small, (index % _COLUMNS * tile[0], index // _COLUMNS * tile[1]))
    return _save(sheet, "JPEG", quality=85)


def _tile(width: int, height: int) -> tuple[int, int]:
    scale = _SHEET_SIDE / max(width * _COLUMNS, height * _ROWS)
    return round(width * scale), round(height * scale)


def _frames(clip: Path, moments: list[Fraction]) -> Iterator[Image.Image]:
    """Decode the frames shown at the moments, seeking to each."""
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for moment_s in moments:
            container.seek(int(moment_s * av.time_base))
            frames = (frame for frame in container.decode(stream) if _read_end(frame) > moment_s)
            image: Image.Image = next(frames).to_image()  # type: ignore[no-untyped-call]  # PyAV's gap
            yield image


def _read_end(frame: av.VideoFrame) -> Fraction:
    assert frame.pts is not None
    assert frame.time_base is not None  # it is our own MP4
    return (frame.pts + frame.duration) * frame.time_base


def _save(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FRAMES_PER_SECOND = 24
SAMPLES_PER_SECOND = 32_000
_PACKET_SAMPLES = 1024
_BT709_CODE = 1
_LIMITED_RANGE = 1
_CONTAINER = {"movflags": "+faststart", "fflags": "+bitexact"}
_X264 = {"preset": "ultrafast", "crf": "21", "threads": "1", "g": str(FRAMES_PER_SECOND)}


class RenderStoppedError(Exception):
    """The encoder was told to stop before the clip was finished; the file is unusable."""


def encode(
    path: Path, size: Size, pictures: Iterable[Picture], sound: "array[float]", stopped: Callable[[], bool]
) -> None:
    """Write the clip to `path`; raises RenderStoppedError as soon as `stopped` returns True."""
    with av.open(path, "w", format="mp4", options=_CONTAINER) as container:
        video, audio = _add_video(container, size), _add_audio(container)
        packets = _cut_sound(sound)
        for number, picture in enumerate(pictures):
            if stopped():
                raise RenderStoppedError(path.name)
            container.mux(video.encode(_set_time(as_frame(picture), number)))
            for packet in islice(packets, _count_packets_due(number)):
                container.mux(audio.encode(packet))
        for packet in packets:
            container.mux(audio.encode(packet))
        container.mux([*video.encode(None), *audio.encode(None)])


def as_frame(picture: Picture) -> av.VideoFrame:
    """Copy a picture into an FFmpeg frame, whose lines may be longer than the picture is wide."""
    frame = av.VideoFrame(*picture.y.size, "yuv420p")
    frame.colorspace, frame.color_range = _BT709_CODE, _LIMITED_RANGE
    for plane, image in zip(frame.planes, (picture.y, picture.u, picture.v), strict=True):
        plane.update(_lines(image, plane.line_size).tobytes())
    return frame


def as_picture(frame: av.VideoFrame, size: Size) -> Picture:
    """Copy the middle of a yuv420p frame that is at least as large as `size`."""
    y, u, v = (_centre(frame, index, size) for index in range(3))
    return Picture(y, u, v)


def _centre(frame: av.VideoFrame, index: int, size: Size) -> Image.Image:
    scale = 2 if index else 1
    plane = frame.planes[index]
    width, height = size[0] // scale, size[1] // scale
    whole = Image.frombuffer("L", (plane.width, plane.height), bytes(plane), "raw", "L", plane.line_size, 1)
    left, top = (plane.width - width) // 2, (plane.height - height) // 2
    return whole.crop((left, top, left + width, top + height))


def _lines(image: Image.Image, length: int) -> Image.Image:
    return image if image.width == length else image.crop((0, 0, length, image.height))


def _set_time(frame: av.VideoFrame, number: int) -> av.VideoFrame:
    frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
    return frame


def _add_video(container: OutputContainer, size: Size) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=_X264)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709_CODE
    codec.color_range = _LIMITED_RANGE
    return stream


def _add_audio(container: OutputContainer) -> av.AudioStream:
    stream = container.add_stream(
        "aac", rate=SAMPLES_PER_SECOND, layout="mono", options={"aac_coder": "fast"}
    )
    stream.bit_rate = 96_000
    return stream


def _cut_sound(sound: "array[float]") -> Iterator[av.AudioFrame]:
    for start in range(0, len(sound), _PACKET_SAMPLES):
        samples = sound[start : start + _PACKET_SAMPLES]
        frame = av.AudioFrame(format="fltp", layout="mono", samples=len(samples))
        frame.sample_rate, frame.time_base = SAMPLES_PER_SECOND, Fraction(1, SAMPLES_PER_SECOND)
        frame.pts = start
        frame.planes[0].update(samples.tobytes())
        yield frame


def _count_packets_due(number: int) -> int:
    """Return how many audio packets belong between this picture and the next."""
    per_picture = Fraction(SAMPLES_PER_SECOND, FRAMES_PER_SECOND * _PACKET_SAMPLES)
    return int((number + 1) * per_picture) - int(number * per_picture)
