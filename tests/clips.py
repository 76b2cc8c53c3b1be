"""Plain clips for the tests that look at what is done with a file, not at its pictures.

To render a clip as the sandbox does takes seconds of a processor. These are real MP4 files too, H.264 and
AAC, of the size and length that the job names, with one plain picture a second. The tests in
`tests/sora_adapter/sandbox` render, and so does every command that runs in a new interpreter.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from PIL import Image

if TYPE_CHECKING:
    from sora_adapter.sandbox.media.recipe import Recipe

X264 = {"preset": "ultrafast", "threads": "1", "g": "1"}
Render = Callable[..., None]
NOISE_HEIGHT = 96
SAMPLES_A_SECOND = 32_000
PACKET_SAMPLES = 1024


def plain(recipe: "Recipe", path: Path, *_: Any) -> None:
    """Write a clip of the recipe's size and length, in the place of the sandbox's `render`."""
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(path, "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=1, options=X264)
        video.width, video.height = recipe.size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLES_A_SECOND, layout="mono")
        still = Image.new("RGB", recipe.size, (90, 60, 30))
        still.paste(Image.effect_noise((recipe.size[0], NOISE_HEIGHT), 80))  # so that the file is not tiny
        picture = av.VideoFrame.from_image(still)  # type: ignore[no-untyped-call]
        for second in range(recipe.seconds):
            picture.pts, picture.time_base = second, Fraction(1)
            container.mux(video.encode(picture))
        for start in range(0, recipe.seconds * SAMPLES_A_SECOND, PACKET_SAMPLES):
            silence = av.AudioFrame(format="fltp", layout="mono", samples=PACKET_SAMPLES)
            silence.sample_rate, silence.pts = SAMPLES_A_SECOND, start
            silence.time_base = Fraction(1, SAMPLES_A_SECOND)
            silence.planes[0].update(bytes(PACKET_SAMPLES * 4))
            container.mux(audio.encode(silence))
        container.mux([*video.encode(None), *audio.encode(None)])


def sharing(folder: Path) -> Render:
    """Return a `render` whose clips differ in a few bytes; what is the same is in `folder`."""

    def render_once(recipe: "Recipe", path: Path, *_: Any) -> None:
        clip = folder / f"{recipe.size[0]}x{recipe.size[1]}-{recipe.seconds}.mp4"
        if not clip.exists():
            part = clip.with_suffix(f".{os.getpid()}")
            plain(recipe, part)
            part.replace(clip)
        shutil.copyfile(clip, path)
        with path.open("ab") as video:  # a box that players skip
            video.write((40).to_bytes(4) + b"free" + hashlib.sha256(repr(recipe).encode()).digest())

    return render_once
