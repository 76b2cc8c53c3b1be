"""Encode pictures and sound to an MP4 file: H.264 and AAC, with exact length and reproducible bytes.

Rules: one encoder thread and no creation time, so the bytes depend only on the pictures (and on the FFmpeg
version in PyAV). 24 frames and 32,000 samples a second: both divide every length on offer, and four seconds
are exactly 125 AAC packets, so sound and picture end together. The index is at the beginning of the file
(faststart).
"""

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
