"""Encode pictures and sound to an MP4 file, H.264 and AAC, and take stills from a finished one.

Rules: one encoder thread and no creation time, so the bytes depend only on the pictures (and on the FFmpeg
version in PyAV). 24 frames and 32,000 samples a second: both divide every length on offer, and four seconds
are exactly 125 AAC packets, so sound and picture end together. The index is at the beginning of the file
(faststart).
"""

import io
from array import array
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.container import OutputContainer
from PIL import Image

from sora_adapter.sandbox.media.planes import Picture
from sora_adapter.sandbox.media.recipe import Size

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
        assert stream.duration is not None
        assert stream.time_base is not None  # it is our own MP4
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
    assert frame.pts is not None
    assert frame.time_base is not None  # it is our own MP4
    return (frame.pts + frame.duration) * frame.time_base


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FRAMES_PER_SECOND = 24
SAMPLES_PER_SECOND = 32_000
_PACKET_SAMPLES = 1024
_BT709 = 1
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
        packets = _sound_frames(sound)
        for number, picture in enumerate(pictures):
            if stopped():
                raise RenderStoppedError(path.name)
            container.mux(video.encode(_timed(as_frame(picture), number)))
            for packet in islice(packets, _sound_due(number)):
                container.mux(audio.encode(packet))
        for packet in packets:
            container.mux(audio.encode(packet))
        container.mux([*video.encode(None), *audio.encode(None)])


def as_frame(picture: Picture) -> av.VideoFrame:
    """Copy a picture into an FFmpeg frame, whose lines may be longer than the picture is wide."""
    frame = av.VideoFrame(*picture.y.size, "yuv420p")
    frame.colorspace, frame.color_range = _BT709, _LIMITED_RANGE
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


def _timed(frame: av.VideoFrame, number: int) -> av.VideoFrame:
    frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
    return frame


def _add_video(container: OutputContainer, size: Size) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=_X264)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
    codec.color_range = _LIMITED_RANGE
    return stream


def _add_audio(container: OutputContainer) -> av.AudioStream:
    stream = container.add_stream(
        "aac", rate=SAMPLES_PER_SECOND, layout="mono", options={"aac_coder": "fast"}
    )
    stream.bit_rate = 96_000
    return stream


def _sound_frames(sound: "array[float]") -> Iterator[av.AudioFrame]:
    for start in range(0, len(sound), _PACKET_SAMPLES):
        samples = sound[start : start + _PACKET_SAMPLES]
        frame = av.AudioFrame(format="fltp", layout="mono", samples=len(samples))
        frame.sample_rate, frame.time_base = SAMPLES_PER_SECOND, Fraction(1, SAMPLES_PER_SECOND)
        frame.pts = start
        frame.planes[0].update(samples.tobytes())
        yield frame


def _sound_due(number: int) -> int:
    """Return how many audio packets belong between this picture and the next."""
    per_picture = Fraction(SAMPLES_PER_SECOND, FRAMES_PER_SECOND * _PACKET_SAMPLES)
    return int((number + 1) * per_picture) - int(number * per_picture)
