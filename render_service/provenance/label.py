"""Draw a visible label into the frames of a copy: a text, the EU icon, or an image.

The stored file is never changed. The frames of the copy are re-encoded, with the label in one corner of each;
size, times, sound and XMP stay those of the stored file. Frames are read, drawn and written one by one, so
memory does not grow with the length.

The EU icon is the one that the European Commission published in June 2026 for content made by AI ("AI
GENERATED", in black), scaled down and otherwise unchanged. Anyone may use it.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.structs import replace

from ledger.events import VisibleLabel
from ledger.private import Private
from render_service.provenance.embedded import xmp_box
from render_service.runtime.errors import BadInput
from render_service.runtime.files import read_file

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

Kind = Literal["text", "eu_icon", "icon"]
Corner = Literal["top-left", "top-right", "bottom-left", "bottom-right"]
CORNERS: tuple[Corner, ...] = ("top-left", "top-right", "bottom-left", "bottom-right")
LONGEST_LABEL = 60
IMAGE_LIMIT_BYTES = 8 << 20
MOST_IMAGE_PIXELS = 40_000_000
IMAGE_KINDS = ("PNG", "WEBP", "JPEG")
FONT_LIMIT_BYTES = 32 << 20
_TEXT_SHARE, _ICON_SHARE, _MARGIN_SHARE = 24, 7, 40  # parts of the shorter side of a picture
_WIDEST = 0.9
_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_DRAWN_INTO = {"video/mp4": "mp4", "video/quicktime": "mov"}
_LAYERS = {
    "yuv420p": "yuv420",
    "yuvj420p": "yuv420",
    "yuv422p": "yuv422",
    "yuv444p": "yuv444",
    "yuv420p10le": "yuv420p10",
    "yuv422p10le": "yuv422p10",
    "yuv444p10le": "yuv444p10",
}
"""By the format of the pictures, the one in which FFmpeg's filter lays the label over them."""
_HD = 720
_BT709, _BT601, _BT2020 = 1, 5, 9
_MATRICES = {1: _BT709, 5: _BT601, 6: _BT601, 9: _BT2020, 10: _BT2020}
_LIMITED, _FULL = 1, 2
_DARK, _LIGHT = (0, 0, 0, 200), (255, 255, 255, 255)


class StoppedError(Exception):
    """Drawing was stopped before the copy was complete."""


@dataclass(frozen=True)
class Label:
    """A label to draw, and its place: `text` in the font of `font`, or the image in the file `icon`."""

    kind: Kind
    corner: Corner = "top-left"
    text: str | None = None
    icon: Path | None = None
    font: Path | None = None

    @property
    def words(self) -> str:
        """The manifest's description of the label."""
        what = {"text": f"“{self.text}”", "eu_icon": "the EU icon “AI GENERATED”", "icon": "an icon"}[
            self.kind
        ]
        return f"Visible label in the pictures: {what}"

    def as_recorded(self) -> VisibleLabel:
        """Return the label as part of a record."""
        return VisibleLabel(
            kind=self.kind,
            corner=self.corner,
            text=Private.seal("label.text", self.text) if self.text else None,
            image_sha256=hashlib.sha256(self.image_bytes()).hexdigest() if self.kind != "text" else None,
        )

    def image_bytes(self) -> bytes:
        """Return the file of the image."""
        if self.icon is None:
            return (files("render_service.provenance") / "eu_ai_generated.png").read_bytes()
        return read_file(self.icon, "icon", IMAGE_LIMIT_BYTES)


def reseal(label: VisibleLabel | None) -> VisibleLabel | None:
    """Return the label of one record for another: a private text is sealed for each record."""
    if label is None or label.text is None:
        return label
    text = label.text.text
    return replace(label, text=None if text is None else Private.seal("label.text", text))


class Place(NamedTuple):
    """The size of the pictures."""

    width: int
    height: int

    @property
    def shorter(self) -> int:
        """The shorter side."""
        return min(self)


def check_label(label: Label) -> None:
    """Raise `BadInput` if `label` cannot be drawn, whatever the video."""
    if label.kind == "text":
        _check_text(label.text or "", _font(label, 40))
    else:
        _image(label)


def draw_label(
    label: Label, source: Path, media_type: str, target: Path, is_stopped: Callable[[], bool]
) -> None:
    """Write the video at `source`, with `label` in its pictures, to the existing empty file `target`.

    `BadInput` if the video cannot be decoded, or the label does not fit; `StoppedError` once `is_stopped`.
    """
    import av  # slow to load

    kind = _DRAWN_INTO.get(media_type)
    if kind is None:
        raise BadInput(
            f"a label is drawn into MP4 and QuickTime videos; the stored file is {media_type}",
            param="job",
            expected="an MP4 or QuickTime video",
            found=media_type,
        )
    try:
        with av.open(str(source)) as film, av.open(str(target), "w", format=kind) as copy:
            if not film.streams.video:
                raise BadInput(
                    "a label needs pictures, and the stored file has no video track",
                    param="job",
                    expected="a video track",
                    found="none",
                )
            _copy(film, copy, label, is_stopped)
    except av.FFmpegError as error:
        if isinstance(error, OSError):  # for example a full disk
            raise
        raise BadInput(
            f"the stored file cannot be decoded ({error.strerror}), so no label can be drawn into it; "
            "publish it without a label",
            param="job",
            expected="a file that can be decoded",
            found=error.strerror,
        ) from None
    with target.open("ab") as file:
        file.write(xmp_box(source))


# --- the label ---


def _check_text(text: str, font: "FreeTypeFont") -> None:
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_LABEL:
        raise BadInput(
            f"--label: expected 1 to {LONGEST_LABEL} printable characters in one line, not {len(text)}; "
            "a longer text can be drawn as an image (--icon FILE)",
            param="label",
            expected=f"1 to {LONGEST_LABEL} printable characters",
            found=len(text),
        )
    unknown = _shape(font, "\uffff")
    missing = sorted({letter for letter in text if _shape(font, letter) == unknown})
    if missing:
        raise BadInput(
            f"--label: the font has no {' '.join(missing)}; name another with --font FILE (TTF or OTF), "
            "or draw the text as an image (--icon FILE)",
            param="label",
            expected="characters that the font has",
            found=" ".join(missing),
        )


def _shape(font: "FreeTypeFont", letter: str) -> bytes:
    return bytes(font.getmask(letter))


def _font(label: Label, size: int) -> "FreeTypeFont":
    from PIL import ImageFont  # slow to load

    if label.font is None:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    try:
        return ImageFont.truetype(io.BytesIO(read_file(label.font, "font", FONT_LIMIT_BYTES)), size)
    except OSError:
        raise BadInput(
            f"--font {label.font}: expected a font, a TTF or OTF file",
            param="font",
            expected="a TTF or OTF file",
            found=label.font,
        ) from None


def _image(label: Label) -> "Image":
    from PIL import Image  # slow to load

    name = f"--icon {label.icon}"
    try:
        image = Image.open(io.BytesIO(label.image_bytes()), formats=IMAGE_KINDS)
        if image.width * image.height > MOST_IMAGE_PIXELS:
            raise BadInput(
                f"{name}: {image.width} x {image.height} pixels are too many; scale it down",
                param="icon",
                expected="fewer pixels",
                found=f"{image.width} x {image.height}",
            )
        return image.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise BadInput(
            f"{name}: expected an image, a PNG, WebP or JPEG file; convert an SVG first",
            param="icon",
            expected="a PNG, WebP or JPEG file",
            found=name,
        ) from None


def _draw(label: Label, place: Place) -> "Image":
    """Return the label at the size at which it is drawn."""
    image = _text(label, place) if label.kind == "text" else _scale(_image(label), place)
    if image.width > place.width * _WIDEST or image.height > place.height * _WIDEST:
        raise BadInput(
            f"the label does not fit into pictures of {place.width} x {place.height}; shorten it",
            param="label",
            expected=f"a label that fits into {place.width} x {place.height}",
            found="a longer one",
        )
    return image


def _text(label: Label, place: Place) -> "Image":
    from PIL import Image, ImageDraw

    size = max(place.shorter // _TEXT_SHARE, 8)
    font, text = _font(label, size), label.text or ""
    _check_text(text, font)
    width = round(font.getlength(text))
    image = Image.new("RGBA", (width + 2 * size, 2 * size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius=size, fill=_DARK)
    draw.text((image.width / 2, image.height / 2), text, font=font, fill=_LIGHT, anchor="mm")
    return image


def _scale(image: "Image", place: Place) -> "Image":
    """Return `image` at the height of a label, or smaller if it would be too wide."""
    factor = min(place.shorter / _ICON_SHARE / image.height, place.width * _WIDEST / image.width)
    return image.resize((max(int(image.width * factor), 1), max(int(image.height * factor), 1)))


def _offset(label: Label, image: "Image", place: Place) -> tuple[int, int]:
    margin = place.shorter // _MARGIN_SHARE
    x = margin if label.corner.endswith("left") else place.width - image.width - margin
    y = margin if label.corner.startswith("top") else place.height - image.height - margin
    return max(x, 0), max(y, 0)


# --- the copy ---


def _copy(
    film: "InputContainer", copy: "OutputContainer", label: Label, is_stopped: Callable[[], bool]
) -> None:
    """Re-encode the first video track with the label, and copy sound and subtitles unchanged."""
    pictures = film.streams.video[0]
    pictures.thread_type = "AUTO"
    encoder = _encoder(copy, pictures)
    others = {
        stream.index: copy.add_stream_from_template(stream)
        for stream in (*film.streams.audio, *film.streams.subtitles)
    }
    copy.metadata.update(film.metadata)
    overlay = _Overlay(pictures, label)
    for packet in film.demux():
        if is_stopped():
            raise StoppedError
        if packet.stream.index == pictures.index:
            for frame in packet.decode():
                copy.mux(_encode(encoder, overlay.apply(frame)))  # type: ignore[arg-type]
        elif packet.stream.index in others and packet.dts is not None:
            packet.stream = others[packet.stream.index]
            copy.mux(packet)
    copy.mux(_encode(encoder, overlay.flush()))
    copy.mux(encoder.encode(None))


def _encoder(copy: "OutputContainer", pictures: "VideoStream") -> "VideoStream":
    import av

    source = pictures.codec_context
    options = {"crf": "16", "preset": "medium"}
    name = _ENCODERS.get(source.name, "libx264")
    encoder = copy.add_stream(name, rate=pictures.average_rate, options=options)
    assert isinstance(encoder, av.VideoStream)
    encoder.width, encoder.height, encoder.pix_fmt = source.width, source.height, source.pix_fmt or "yuv420p"
    encoder.time_base = encoder.codec_context.time_base = pictures.time_base  # type: ignore[assignment]
    for colour in ("color_range", "color_primaries", "color_trc", "colorspace"):
        setattr(encoder.codec_context, colour, getattr(source, colour))
    if pictures.codec_context.sample_aspect_ratio:
        encoder.codec_context.sample_aspect_ratio = source.sample_aspect_ratio
    return encoder


def _encode(encoder: "VideoStream", frames: "Iterator[VideoFrame]") -> list[Any]:
    packets = []
    for frame in frames:
        frame.pict_type = 0  # the encoder decides where key frames are
        packets += encoder.encode(frame)
    return packets


def _as_frame(image: "Image", source: "VideoCodecContext") -> "VideoFrame":
    """Return the label in the film's colour space, so that the filter converts neither of them.

    If the film declares no colour space, players assume BT.709 from 720 lines on, BT.601 below, limited
    range.
    """
    import av

    rgba = av.VideoFrame.from_bytes(image.tobytes(), image.width, image.height, format="rgba")
    usual = _BT709 if source.height >= _HD else _BT601
    frame = rgba.reformat(
        format=(source.pix_fmt or "").replace("yuvj", "yuv").replace("yuv", "yuva"),
        src_color_range=_FULL,
        dst_colorspace=_MATRICES.get(source.colorspace, usual),
        dst_color_range=source.color_range or _LIMITED,
    )
    frame.colorspace, frame.color_range = source.colorspace, source.color_range
    return frame


class _Overlay:
    """FFmpeg's filter that lays the label over each frame."""

    def __init__(self, pictures: "VideoStream", label: Label) -> None:
        import av

        place = Place(pictures.width, pictures.height)
        image = _draw(label, place)
        x, y = _offset(label, image, place)
        source = pictures.codec_context
        format_ = _LAYERS.get(source.pix_fmt or "")
        if format_ is None:
            raise BadInput(
                f"a label cannot be drawn into pictures of the format {source.pix_fmt}",
                param="job",
                expected="pictures of a known format",
                found=source.pix_fmt,
            )
        frame = _as_frame(image, source)
        frame.pts, frame.time_base = 0, pictures.time_base
        graph = self._graph = av.filter.Graph()  # its filters do not keep it alive
        shape = f"time_base={pictures.time_base}:colorspace={source.colorspace}:range={source.color_range}"
        self._frames = graph.add(
            "buffer", f"video_size={place.width}x{place.height}:pix_fmt={source.pix_fmt}:{shape}"
        )
        drawn = graph.add(
            "buffer", f"video_size={image.width}x{image.height}:pix_fmt={frame.format.name}:{shape}"
        )
        overlay = graph.add("overlay", f"x={x}:y={y}:eof_action=repeat:format={format_}")
        self._out = graph.add("buffersink")
        self._frames.link_to(overlay, 0, 0)
        drawn.link_to(overlay, 0, 1)
        overlay.link_to(self._out)
        graph.configure()
        drawn.push(frame)
        drawn.push(None)

    def apply(self, frame: "VideoFrame") -> "Iterator[VideoFrame]":
        """Yield what the filter has ready after one more frame."""
        self._frames.push(frame)
        yield from self._pull_ready()

    def flush(self) -> "Iterator[VideoFrame]":
        """Yield the last frames."""
        self._frames.push(None)
        yield from self._pull_ready()

    def _pull_ready(self) -> "Iterator[VideoFrame]":
        import av

        while True:
            try:
                yield self._out.pull()  # type: ignore[misc]
            except (av.BlockingIOError, av.EOFError):
                return
