"""Still pictures from a finished clip: the thumbnail and the spritesheet."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

_COLUMNS = 4
_ROWS = 3
_SHEET_SIDE = 1280  # the longer side, in pixels
_THUMBNAIL_AT_S = Fraction(3, 2)  # by then the caption of a clip with a reference image has faded in


def thumbnail(clip: Path) -> bytes:
    """Return one frame of the clip as WebP, at the clip's own size."""
    return _saved(next(_frames(clip, [_THUMBNAIL_AT_S])), "WEBP", quality=82, method=2)


def spritesheet(clip: Path) -> bytes:
    """Return a JPEG of four by three frames, evenly spaced from the first one, in reading order."""
    with av.open(clip) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None and stream.time_base is not None  # noqa: PT018 - our own MP4
        length_s = stream.duration * stream.time_base
        tile = _tile(stream.width, stream.height)
    sheet = Image.new("RGB", (tile[0] * _COLUMNS, tile[1] * _ROWS))
    moments = [length_s * index / (_COLUMNS * _ROWS) for index in range(_COLUMNS * _ROWS)]
    for index, frame in enumerate(_frames(clip, moments)):
        small = frame.resize(tile, Image.Resampling.BILINEAR, reducing_gap=2)
        sheet.paste(small, (index % _COLUMNS * tile[0], index // _COLUMNS * tile[1]))
    return _saved(sheet, "JPEG", quality=85)


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
            frames = (frame for frame in container.decode(stream) if _shown_until(frame) > moment_s)
            image: Image.Image = next(frames).to_image()  # type: ignore[no-untyped-call]  # PyAV's gap
            yield image


def _shown_until(frame: av.VideoFrame) -> Fraction:
    assert frame.pts is not None and frame.time_base is not None  # noqa: PT018 - our own MP4
    return (frame.pts + frame.duration) * frame.time_base


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
