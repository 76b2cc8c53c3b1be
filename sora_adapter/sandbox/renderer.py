"""Render every job's clip at most once, and keep the previews made from it.

Rules: a file gets its name only when complete (written next to it and renamed), so a crash leaves at worst a
`.part` file, which is removed once it is old. Several processes may render the same clip; their bytes are
identical, so the order does not matter. Rendering starts at create, one clip at a time, and a clip that a
request is waiting for is rendered before others.

A clip that continues another consists of that clip, frame by frame, and a continuation from its last frame:
the camera keeps moving, and colours and captions are cross-faded for a second.

A still picture moves: the camera slowly zooms in and out, and the first frame is the picture itself. The zoom
uses FFmpeg's scaler, at a fifth of the cost of Pillow's.
"""

import io
import math
import threading
import time
import uuid
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from operator import add
from pathlib import Path

import av
from av.video.reformatter import VideoReformatter
from PIL import Image

from sora_adapter.sandbox.media.landscape import Landscape
from sora_adapter.sandbox.media.palette import palette_of
from sora_adapter.sandbox.media.panel import panel_of
from sora_adapter.sandbox.media.planes import (
    FRAMES_PER_SECOND,
    SAMPLES_PER_SECOND,
    Mask,
    Picture,
    Weather,
    as_frame,
    as_picture,
    encode,
    round_to_even,
    spritesheet,
    thumbnail,
)
from sora_adapter.sandbox.media.recipe import Recipe, dice
from sora_adapter.sandbox.settings import Media
from sora_adapter.sandbox.state.jobs import Job, JobStore
from sora_adapter.sandbox.wire.media import Variant

_TINT = 96


class Veil:
    """The palette of a recipe as one tint from above and one from below."""

    def __init__(self, recipe: Recipe) -> None:
        width, height = recipe.size
        palette = palette_of(recipe.prompts)
        self._sky, self._ground = palette.sky, palette.ridges[-1]
        self._foot = (0, height - round_to_even(height / 2))
        self._high = _gradient(recipe.size, [_TINT - value // 6 for value in range(256)])
        self._low = _gradient((width, round_to_even(height / 2)), [value // 3 for value in range(256)])

    def lay(self, picture: Picture) -> None:
        """Tint a picture of the recipe's size."""
        picture.paint(self._sky, self._high)
        picture.paint(self._ground, self._low, self._foot)


def _gradient(size: tuple[int, int], strengths: list[int]) -> Mask:
    return Mask.convert(Image.linear_gradient("L").resize(size).point(strengths))


_BREATH_S = 10.0
_CLOSEST = 0.08


class ReferenceScene:
    """The moving picture of a recipe that starts from an image, without its caption."""

    def __init__(self, recipe: Recipe, first: Picture) -> None:
        self._size = recipe.size
        self._weather = Weather(recipe.prompts, recipe.size) if recipe.prompts else None
        self._scaler = VideoReformatter()
        self._source = as_frame(first)

    def frame(self, moment_s: float) -> Picture:
        """Draw the picture at `moment_s` from the start; at 0 it is exactly the first picture."""
        closer = 1 + _CLOSEST * (1 - math.cos(math.tau * moment_s / _BREATH_S)) / 2
        width, height = self._size
        zoomed = self._scaler.reformat(
            self._source, round_to_even(width * closer), round_to_even(height * closer), "yuv420p"
        )
        picture = as_picture(zoomed, self._size)
        if moment_s and self._weather is not None:
            self._weather.fall(picture, moment_s)
        return picture


def make_reference_scene(recipe: Recipe, reference: bytes) -> ReferenceScene:
    """Return the scene of a reference image; a remix shows the same image in its own colours."""
    first = Picture.convert(open_rgb(reference))
    if recipe.parent is not None:
        Veil(recipe).lay(first)
    return ReferenceScene(recipe, first)


def open_rgb(image: bytes) -> Image.Image:
    """Decode an image to RGB, on white where it is transparent."""
    with Image.open(io.BytesIO(image)) as opened:
        layer = opened.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


class Footage:
    """The moving picture of an upload, without a caption; moments must be requested in order.

    If the upload ends before the clip does, its last picture stays, with a slow zoom.
    """

    def __init__(self, recipe: Recipe, film: bytes) -> None:
        self._recipe = recipe
        self._veil = Veil(recipe) if recipe.prompts else None
        self._frames = _decode_frames(film)
        self._ends_s = 0.0
        self._shown: av.VideoFrame | None = None
        self._rest: ReferenceScene | None = None

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
            self._rest = ReferenceScene(self._recipe, self._picture())
        else:
            self._shown, self._ends_s = following

    def _picture(self) -> Picture:
        assert self._shown is not None
        picture = as_picture(self._shown, self._recipe.size)
        if self._veil is not None:
            self._veil.lay(picture)
        return picture


def _decode_frames(film: bytes) -> Iterator[tuple[av.VideoFrame, float]]:
    """Decode the frames, each with the moment at which it ends."""
    scaler = VideoReformatter()
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            assert frame.pts is not None
            assert frame.time_base is not None  # an MP4 always has them
            ends_s = float((frame.pts + max(1, frame.duration)) * frame.time_base)
            yield scaler.reformat(frame, format="yuv420p"), ends_s


_CHORDS = ((0, 7, 16, 23), (0, 7, 15, 22), (0, 7, 14, 19), (0, 12, 16, 21))
_LOUDNESS = 0.045
_FADE_IN_S = 0.4
_FADE_OUT_S = 0.8


def chord(prompt: str, seconds: int) -> "array[float]":
    """Return `seconds` of mono sound, samples in -1..1."""
    sound = _loop(prompt) * seconds
    rising, falling = (int(SAMPLES_PER_SECOND * fade) for fade in (_FADE_IN_S, _FADE_OUT_S))
    for index in range(rising):
        sound[index] *= index / rising
    for index in range(1, falling + 1):
        sound[-index] *= (index - 1) / falling
    return sound


def _loop(prompt: str) -> "array[float]":
    throw = dice("chord", prompt)
    root = 110 * 2 ** (throw.randrange(8) / 12)
    notes = [round(root * 2 ** (step / 12)) for step in throw.choice(_CHORDS)]
    table = [math.sin(math.tau * index / SAMPLES_PER_SECOND) for index in range(SAMPLES_PER_SECOND)]
    loop = [0.0] * SAMPLES_PER_SECOND
    for rank, note in enumerate(notes):
        for hertz, share in ((note, 1.0), (note + 1, 0.7)):
            loop = list(map(add, loop, _tone(table, hertz, _LOUDNESS * share / (1 + rank * 0.4))))
    return array("f", loop)


def _tone(table: list[float], hertz: int, gain: float) -> list[float]:
    length = len(table)
    return [gain * table[index] for index in (step * hertz % length for step in range(length))]


_FADE_S = 1.0


def render(recipe: Recipe, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Render a clip; raises RenderStoppedError, leaving a partial file, once `stopped` returns True."""
    encode(path, recipe.size, _frames(recipe), chord(recipe.root, recipe.seconds), stopped)


def _frames(recipe: Recipe) -> Iterator[Picture]:
    before: _Shot | None = None
    number = 0
    for act in recipe.acts:
        shot, cut_s = _Shot(act), number / FRAMES_PER_SECOND
        while number < act.seconds * FRAMES_PER_SECOND:
            moment_s = number / FRAMES_PER_SECOND
            picture, share = shot.frame(moment_s), (moment_s - cut_s) / _FADE_S
            yield picture if before is None or share >= 1 else before.frame(moment_s).mix(picture, share)
            number += 1
        before = shot


class _Shot:
    """The pictures of one act with their caption; uploaded footage has no caption.

    On a reference image the caption fades in, so that the first picture is the image itself.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._scene = _scene(recipe)
        self._panel = panel_of(recipe) if recipe.prompts else None
        self._fades_in = recipe.reference is not None

    def frame(self, moment_s: float) -> Picture:
        picture = self._scene.frame(moment_s)
        if self._panel is not None and (moment_s or not self._fades_in):
            self._panel.show(picture, moment_s / _FADE_S if self._fades_in else 1.0)
        return picture


def _scene(recipe: Recipe) -> Landscape | ReferenceScene | Footage:
    if recipe.footage is not None:
        return Footage(recipe, recipe.footage)
    return (
        make_reference_scene(recipe, recipe.reference) if recipe.reference is not None else Landscape(recipe)
    )


SUFFIXES: dict[Variant, str] = {"video": ".mp4", "thumbnail": ".webp", "spritesheet": ".jpg"}
MEDIA_TYPES: dict[Variant, str] = {
    "video": "video/mp4",
    "thumbnail": "image/webp",
    "spritesheet": "image/jpeg",
}
_STALE_PART_S = 600
_PREVIEW_WORKERS = 4  # they mostly wait for clips
_CACHED_PROMPT = "One clip for every size and length: this sandbox runs with cached media"


class Studio:
    """The media folder of a sandbox and the threads that fill it."""

    def __init__(self, folder: Path, store: JobStore, media: Media) -> None:
        self._folder, self._store, self._media = folder, store, media
        self._ahead = ThreadPoolExecutor(1, "sandbox-ahead")
        self._wanted = ThreadPoolExecutor(1, "sandbox-wanted")
        self._previews = ThreadPoolExecutor(_PREVIEW_WORKERS, "sandbox-previews")
        self._under_way: dict[str, tuple[Future[Path], Executor]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()

    def close(self) -> None:
        """Stop at the next frame; partial files are discarded, and rendered again if requested."""
        self._closed.set()
        for pool in (self._ahead, self._wanted, self._previews):
            pool.shutdown(wait=True, cancel_futures=True)

    def start(self, job: Job) -> None:
        """Queue the clip of a new job."""
        if self._media == "rendered" and not job.will_fail:
            self.clip(job)

    def clip(self, job: Job) -> Future[Path]:
        """Return a job's clip, rendering it in its turn if it does not exist."""
        path = self._path(job, "video")
        return self._start_once(path, self._ahead, lambda: self._render(job, path))

    def has(self, job: Job) -> bool:
        """Return whether a job's clip exists; a missing one is queued."""
        if self._media == "cached" or self._path(job, "video").exists():
            return True
        self.start(job)
        return False

    def asset(self, job: Job, variant: Variant) -> Future[Path]:
        """Return the file of a job, creating it with priority if it does not exist."""
        path = self._path(job, variant)
        if path.exists():
            return _make_done(path)
        if variant == "video":
            return self._start_once(path, self._wanted, lambda: self._render(job, path))
        return self._start_once(path, self._previews, lambda: self._preview(job, variant, path))

    def discard(self, job: Job) -> None:
        """Remove a deleted job's files; a render in progress stops at its next frame."""
        if self._media == "rendered":
            for variant in SUFFIXES:
                self._path(job, variant).unlink(missing_ok=True)

    def _path(self, job: Job, variant: Variant) -> Path:
        name = job.id if self._media == "rendered" else f"cached-{job.size}-{job.seconds}s"
        return self._folder / (name + SUFFIXES[variant])

    def _start_once(self, path: Path, pool: Executor, make: Callable[[], Path]) -> Future[Path]:
        """Create a file unless that is already in progress; a queued one gets priority."""
        with self._lock:
            future, where = self._under_way.get(path.name, (None, pool))
            pulled_forward = (
                future is not None and where is self._ahead and pool is not where and future.cancel()
            )
            if future is None or pulled_forward:
                future = pool.submit(self._make, path, make)
                self._under_way[path.name] = future, pool
            return future

    def _make(self, path: Path, make: Callable[[], Path]) -> Path:
        try:
            return path if path.exists() else make()
        finally:
            with self._lock:
                self._under_way.pop(path.name, None)

    def _render(self, job: Job, path: Path) -> Path:
        recipe = self._recipe(job)
        written = self._put(path, lambda part: render(recipe, part, lambda: self._is_unwanted(job)))
        if self._is_deleted(job):
            self.discard(job)
        return written

    def _preview(self, job: Job, variant: Variant, path: Path) -> Path:
        clip = self.asset(job, "video").result()
        picture = thumbnail(clip) if variant == "thumbnail" else spritesheet(clip)
        return self._put(path, lambda part: part.write_bytes(picture))

    def _is_unwanted(self, job: Job) -> bool:
        return self._closed.is_set() or self._is_deleted(job)

    def _is_deleted(self, job: Job) -> bool:
        return self._media == "rendered" and self._store.get(job.id) is None

    def _recipe(self, job: Job) -> Recipe:
        width, _, height = job.size.partition("x")
        size, seconds = (int(width), int(height)), int(job.seconds)
        if self._media == "cached":
            return Recipe("sandbox", size, seconds, (_CACHED_PROMPT,))
        image, footage = self._store.file(job.reference_sha256), self._store.file(job.footage_sha256)
        recipe, length = None, 0
        for act in job.acts:
            length += act.seconds
            recipe = Recipe(
                job.model, size, length, act.prompts, image, footage, before=recipe, cast=job.cast_names
            )
        assert recipe is not None
        return recipe

    def _put(self, path: Path, write: Callable[[Path], object]) -> Path:
        """Write a temporary file, then rename it."""
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            write(part)
            part.chmod(0o600)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _sweep(self) -> None:
        """Remove partial files of a crash; recent ones may be another process's work in progress."""
        for part in self._folder.glob(".*.part"):
            with suppress(FileNotFoundError):  # another process swept it first
                if time.time() - part.stat().st_mtime > _STALE_PART_S:
                    part.unlink()


def _make_done(path: Path) -> Future[Path]:
    future: Future[Path] = Future()
    future.set_result(path)
    return future
