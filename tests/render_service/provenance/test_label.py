"""A label that people see: drawn into the pictures of the published copy, named in its manifest, recorded."""

import hashlib
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from ledger.events import AssetPublished, ProvenanceSigned
from ledger.job import Job
from ledger.terms import Variant
from render_service.provenance.label import Label, StoppedError, draw_label
from render_service.provenance.publish import Publication, publish
from render_service.runtime.errors import BadInput
from render_service.session.session import Session
from tests import c2pa_peer as peer
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

ICON = Path(__file__).parents[3] / "render_service" / "provenance" / "eu_ai_generated.png"
EU_ICON = Label("eu_icon")
TEXT = Label("text", "bottom-right", text="Made with AI")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a small film."""
    path = tmp_path_factory.mktemp("small") / "film.mp4"
    sample(path)
    return path.read_bytes()


@pytest.fixture
def served(session: Session, tmp_path: Path, small: bytes) -> Path:
    """Return the file that the server sends for every video."""
    path = tmp_path / "sandbox" / "media" / "cached-1280x720-4s.mp4"
    path.write_bytes(small)
    return path


@pytest.fixture
async def film(session: Session, served: Path, stored: Callable[..., Awaitable[Job]]) -> Job:
    job: Job = await stored(session)
    return job


@pytest.fixture
def source(session: Session, film: Job) -> Path:
    return session.assets.path(film.assets[Variant.VIDEO].storage_uri)


async def out(session: Session, job: Job, certificate: Path, label: Label, **more: Any) -> Path:
    target = certificate.parent / "film.mp4"
    await publish(session, job.job_id, Publication(str(target), certificate, label=label, **more))
    return target


def sample(path: Path, encoder: str = "libx264", format_: str = "yuv420p") -> None:
    """Write a film of half a second with sound, whose pictures are all bright."""
    with av.open(path, "w") as film:
        video, audio = film.add_stream(encoder, rate=24), film.add_stream("aac", rate=32_000)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 320, 192, format_
        if encoder == "libx265":
            video.options = {"x265-params": "log-level=none"}
        for number in range(12):
            picture = Image.new("RGB", (320, 192), (200, 220 - number, 9))
            film.mux(video.encode(av.VideoFrame.from_image(picture).reformat(format=format_)))  # type: ignore[no-untyped-call]
        for _ in range(16):
            tone = av.AudioFrame("fltp", "mono", 1_024)
            tone.sample_rate = 32_000
            tone.planes[0].update(bytes(4 * 1_024))
            film.mux(audio.encode(tone))
        film.mux([*video.encode(None), *audio.encode(None)])


def pictures(path: Path) -> list[Image.Image]:
    with av.open(path) as film:
        return [frame.to_image() for frame in film.decode(video=0)]  # type: ignore[no-untyped-call]


def replace(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shape(path: Path) -> tuple[Any, ...]:
    """Return size, length, times and codecs of a film, and its sound packet by packet."""
    with av.open(path) as film:
        video = film.streams.video[0]
        times = sorted(packet.pts for packet in film.demux(video) if packet.pts is not None)
        named = [(one.type, one.codec_context.name, one.duration, one.time_base) for one in film.streams]
        film.seek(0)
        sound = [bytes(packet) for packet in film.demux(audio=0)] if film.streams.audio else []
        return video.width, video.height, film.duration, times, named, sound


def brightness(image: Image.Image, box: tuple[int, int, int, int]) -> float:
    small = image.crop(box).convert("L").resize((1, 1), Image.Resampling.BOX)
    value = small.getpixel((0, 0))
    assert isinstance(value, (int, float))
    return value


def actions(content: bytes) -> list[dict[str, Any]]:
    _, active, _ = peer.read(content)
    (found,) = (one for one in active["assertions"] if one["label"].startswith("c2pa.actions"))
    listed: list[dict[str, Any]] = found["data"]["actions"]
    return listed


async def test_the_copy_has_size_times_and_sound_of_the_stored_file(
    session: Session, film: Job, source: Path, certificate: Path
) -> None:
    copy = await out(session, film, certificate, EU_ICON)
    assert shape(copy) == shape(source)
    assert digest_of(source) == film.assets[Variant.VIDEO].sha256


@pytest.mark.parametrize(("label", "right", "low"), [(EU_ICON, False, False), (TEXT, True, True)])
async def test_the_label_is_in_its_corner_of_every_picture_and_nowhere_else(
    session: Session, film: Job, source: Path, certificate: Path, label: Label, *, right: bool, low: bool
) -> None:
    copy = await out(session, film, certificate, label)
    for was, now in zip(pictures(source), pictures(copy), strict=True):
        boxes = {
            (x, y): (
                x * was.width // 2,
                y * was.height // 4,
                (x + 1) * was.width // 2,
                (y + 1) * was.height // 4,
            )
            for x in range(2)
            for y in range(4)
        }
        changed = {
            place for place, box in boxes.items() if abs(brightness(was, box) - brightness(now, box)) > 3
        }
        assert changed == {(int(right), 3 if low else 0)}


async def test_the_manifest_says_that_a_label_was_drawn_and_both_records_have_it(
    session: Session,
    film: Job,
    certificate: Path,
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    copy = await out(session, film, certificate, TEXT)
    assert peer.read(copy.read_bytes())[0] == "Valid"
    named = [(one["action"], one.get("description")) for one in actions(copy.read_bytes())]
    assert named == [
        ("c2pa.created", None),
        ("c2pa.edited", "Visible label in the pictures: “Made with AI”"),
        ("c2pa.transcoded", None),
    ]
    signed, published = event(film, ProvenanceSigned), event(film, AssetPublished)
    assert (signed.labelled, signed.label.text.text) == (True, "Made with AI")
    assert (published.label.kind, published.label.corner) == ("text", "bottom-right")
    assert published.label.text.text == "Made with AI"
    assert intact()


async def test_the_eu_icon_is_the_published_one_and_is_recorded_by_its_digest(
    session: Session, film: Job, certificate: Path, event: LastEvent
) -> None:
    await out(session, film, certificate, EU_ICON)
    digest = digest_of(ICON)
    assert digest == "66c7934d9ff7a6623ec304d11f158e8f7f06bc9ab8ed16b52115df3b9f036d45"
    assert event(film, AssetPublished).label.image_sha256 == digest


async def test_without_an_option_no_label_is_drawn(
    session: Session, film: Job, source: Path, certificate: Path, event: LastEvent
) -> None:
    target = certificate.parent / "film.mp4"
    await publish(session, film.job_id, Publication(str(target), certificate))
    assert [one.tobytes() for one in pictures(target)] == [one.tobytes() for one in pictures(source)]
    assert event(film, AssetPublished).label is None


async def test_manifest_and_xmp_that_came_with_the_file_stay_in_a_labelled_copy(
    session: Session, stored: Callable[..., Awaitable[Job]], served: Path, certificate: Path, small: bytes
) -> None:
    packet = "<rdf:Description>kept as it was</rdf:Description>"
    replace(served, peer.signed(peer.with_xmp(small, packet), peer.credentials()))
    copy = await out(session, await stored(session), certificate, TEXT)
    state, active, store = peer.read(copy.read_bytes())
    (parent,) = active["ingredients"]
    assert (state, len(store["manifests"]), parent["relationship"]) == ("Valid", 2, "parentOf")
    assert packet.encode() in copy.read_bytes()


async def test_a_label_that_a_crash_left_unrecorded_is_recorded_by_the_next_command(
    session: Session,
    film: Job,
    certificate: Path,
    event: LastEvent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("render_service.provenance.publish._record_published", _crash)
        with pytest.raises(KeyboardInterrupt):
            await out(session, film, certificate, TEXT)
    await out(session, film, certificate, TEXT)
    assert event(film, AssetPublished).label.text.text == "Made with AI"


def _crash(*_: object) -> None:
    raise KeyboardInterrupt


def png(size: tuple[int, int] = (40, 20), mode: str = "RGBA") -> bytes:
    content = io.BytesIO()
    Image.new(mode, size).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<svg/>", "expected an image"),
        (b"", "expected an image"),
        (png()[:60], "expected an image"),
        (png((9000, 9000), "1"), "too many"),
    ],
    ids=["SVG", "empty", "cut off", "huge"],
)
async def test_an_icon_that_cannot_be_drawn_is_named_and_nothing_is_written(
    session: Session, film: Job, certificate: Path, content: bytes, words: str
) -> None:
    icon = certificate.parent / "icon.png"
    icon.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        await out(session, film, certificate, Label("icon", icon=icon))
    assert not [*certificate.parent.glob("*film*")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1 to 60 printable characters"),
        ("A" * 61, "not 61"),
        ("two\nlines", "printable"),
        ("généré", "the font has no é; name another with --font"),
        ("W" * 60, "does not fit"),
    ],
)
async def test_a_text_that_cannot_be_drawn_says_why_and_nothing_is_written(
    session: Session, film: Job, certificate: Path, text: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        await out(session, film, certificate, Label("text", text=text))
    assert not [*certificate.parent.glob("*film*")]


async def test_a_file_that_is_no_font_is_named(session: Session, film: Job, certificate: Path) -> None:
    with pytest.raises(BadInput, match=r"studio\.pem: expected a font"):
        await out(session, film, certificate, Label("text", text="AI", font=certificate))


async def test_an_icon_of_ones_own_is_drawn(session: Session, film: Job, certificate: Path) -> None:
    icon = certificate.parent / "icon.png"
    icon.write_bytes(png())
    copy = await out(session, film, certificate, Label("icon", "top-right", icon=icon))
    assert peer.read(copy.read_bytes())[0] == "Valid"


@pytest.mark.parametrize(
    ("content", "media_type", "words"),
    [
        (b"no video at all", "video/mp4", "cannot be decoded"),
        (b"", "video/mp4", "cannot be decoded"),
        (b"webm", "video/webm", "MP4 and QuickTime"),
    ],
)
def test_a_file_that_is_no_video_gets_no_label(
    tmp_path: Path, content: bytes, media_type: str, words: str
) -> None:
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(BadInput, match=words):
        draw_label(EU_ICON, tmp_path / "source", media_type, tmp_path / "target", lambda: False)


def test_drawing_stops_when_it_is_told_to(tmp_path: Path, small: bytes) -> None:
    (tmp_path / "source").write_bytes(small)
    with pytest.raises(StoppedError):
        draw_label(EU_ICON, tmp_path / "source", "video/mp4", tmp_path / "target", lambda: True)


@pytest.mark.parametrize(
    ("encoder", "format_"),
    [("libx264", "yuv444p"), ("libx264", "yuv420p10le"), ("libx265", "yuv420p"), ("libx264", "yuvj420p")],
)
def test_other_kinds_of_pictures_keep_their_codec_their_depth_and_their_colours(
    tmp_path: Path, encoder: str, format_: str
) -> None:
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    sample(source, encoder, format_)
    draw_label(TEXT, source, "video/mp4", target, lambda: False)
    assert shape(target) == shape(source)
    with av.open(source) as was, av.open(target) as now:
        assert now.streams.video[0].pix_fmt == was.streams.video[0].pix_fmt
    above = (0, 0, 320, 140)
    for old, new in zip(pictures(source), pictures(target), strict=True):
        assert abs(brightness(old, above) - brightness(new, above)) <= 1
