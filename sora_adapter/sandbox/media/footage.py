"""The scene of an uploaded video: its own pictures, in the colours of the prompt that changes it.

Where the video ends before the clip does, its last picture stays, and the camera breathes on it.
"""

import io
from collections.abc import Iterator

import av
from av.video.reformatter import VideoReformatter

from sora_adapter.sandbox.media.planes import Picture
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.media.still import Still, Veil
from sora_adapter.sandbox.media.video import as_picture


class Footage:
    """The moving picture of an upload, without a caption; moments must be asked for in their order."""

    def __init__(self, recipe: Recipe, film: bytes) -> None:
        self._recipe = recipe
        self._veil = Veil(recipe) if recipe.prompts else None
        self._frames = _frames(film)
        self._ends_s = 0.0
        self._shown: av.VideoFrame | None = None
        self._rest: Still | None = None

    def frame(self, moment_s: float) -> Picture:
        """Draw the picture at `moment_s` from the start of the upload."""
        while self._rest is None and self._ends_s <= moment_s:
            self._advance()
        if self._rest is not None:
            return self._rest.frame(moment_s - self._ends_s)
        return self._picture()

    def _advance(self) -> None:
        following = next(self._frames, None)
        if following is None:
            self._rest = Still(self._recipe, self._picture())
        else:
            self._shown, self._ends_s = following

    def _picture(self) -> Picture:
        assert self._shown is not None
        picture = as_picture(self._shown, self._recipe.size)
        if self._veil is not None:
            self._veil.lay(picture)
        return picture


def _frames(film: bytes) -> Iterator[tuple[av.VideoFrame, float]]:
    """Decode the frames, each with the moment at which it ends."""
    scaler = VideoReformatter()
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            assert frame.pts is not None and frame.time_base is not None  # noqa: PT018 - MP4 always has them
            ends_s = float((frame.pts + max(1, frame.duration)) * frame.time_base)
            yield scaler.reformat(frame, format="yuv420p"), ends_s
