"""Links for people without a key: what they show, to whom, for how long, and who may make them."""

import io
import re
import zipfile

import httpx2
import pytest

from render_service.server.console.pages import without_secret
from tests.console.conftest import Console, Signed


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/console/shared/0aB1", "/console/shared/…"),
        ("/t/art/console/shared/0aB1/clip.mp4", "/t/art/console/shared/…/clip.mp4"),
        ("/console/shared/", "/console/shared/"),
        ("/console/videos/job_1", "/console/videos/job_1"),
        ("/v1/videos", "/v1/videos"),
    ],
)
def test_the_log_has_no_secret_of_a_link_below_any_prefix(path: str, logged: str) -> None:
    assert without_secret(path) == logged


def make(client: Signed, job: str, of: str = "video", days: str = "7") -> str:
    """Make a link on the page of a job, and return its address."""
    page = f"/videos/{job}/shares"
    shown = client.act(f"{page}/new", {"of": of, "days": days}, page=page)
    found = re.search(r'value="(http[^"]+/console/shared/[^"]+)"', shown.text)
    assert found, shown.text
    return found[1]


def test_a_link_shows_the_video_without_a_key_until_it_is_revoked(console: Console) -> None:
    job = console.studio.jobs["fox"]
    with console.client("ana") as ana, console.reader("ana") as reader, httpx2.Client() as stranger:
        link = make(ana, job)
        shared = stranger.get(link)
        assert (shared.status_code, shared.headers["cache-control"]) == (200, "no-store")
        assert "A fox runs" not in shared.text  # the video, not the prompt
        part = stranger.get(f"{link}/files/video", headers={"range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, b"ftyp")
        assert stranger.get(f"{link}/evidence").status_code == 404
        assert stranger.get(f"{console.url}/videos/{job}").status_code == 303
        (shown,) = reader.get(f"/videos/{job}/shares.json").json()["links"]
        assert (shown["state"], shown["created_by"], shown["of"]) == ("valid", "ana", "video")
        page = f"/videos/{job}/shares"
        ana.act(f"{page}/revoke", {"share_id": shown["share_id"]}, page=page)
        for path in (link, f"{link}/files/video"):
            refused = stranger.get(path)
            assert (refused.status_code, "This link is not valid" in refused.text) == (404, True)
        assert reader.get(f"{page}.json").json()["links"][0]["state"] == "revoked"
    assert link.rsplit("/", 1)[1] not in console.log
    records = console.studio("log", "--job", job)["records"]
    recorded = [(each["type"], each["actor"]) for each in records if each["type"].startswith("share.")]
    assert recorded == [("share.created", "ana"), ("share.revoked", "ana")]
    console.studio("verify")


def test_a_link_to_the_evidence_gives_the_bundle(console: Console) -> None:
    with console.client("aud") as aud, httpx2.Client() as stranger:
        link = make(aud, console.studio.jobs["coupe"], of="bundle", days="1")
        bundle = stranger.get(f"{link}/evidence")
        assert bundle.headers["content-type"] == "application/zip"
        assert "verify_bundle.py" in zipfile.ZipFile(io.BytesIO(bundle.content)).namelist()
        assert stranger.get(f"{link}/files/video").status_code == 404


@pytest.mark.parametrize(
    "text", ["eyJqb2IiOiJqb2JfMSJ9.c2lnbmF0dXJl", "eyJqb2IiOiJqb2JfMSJ9", ".", "é", "a" * 5_000]
)
def test_a_text_that_was_not_signed_here_shows_nothing(shared: Console, text: str) -> None:
    with httpx2.Client() as stranger:
        for rest in ("", "/files/video", "/evidence"):
            assert stranger.get(f"{shared.url}/shared/{text}{rest}").status_code in {303, 404}


def test_links_are_made_by_those_who_see_the_video_and_may_share_it(shared: Console) -> None:
    job = shared.studio.jobs["fox"]
    page = f"/videos/{job}/shares"
    for name, of, days, status, words in (
        ("ana", "bundle", "7", 403, "may audit or operate"),
        ("aud", "video", "7", 403, "may request"),
        ("ana", "video", "0", 400, "valid for 1 to 90 days"),
        ("ana", "video", "seven", 400, "expected a number of days"),
        ("ana", "prompt", "7", 400, "choose what the link shows"),
    ):
        with shared.client(name) as client:
            refused = client.act(f"{page}/new", {"of": of, "days": days}, page=page)
            assert (refused.status_code, words in refused.text.lower()) == (status, True)
    with shared.client("tom") as tom:
        form = {"csrf": tom.csrf("/access"), "of": "video", "days": "7"}
        assert (tom.get(page).status_code, tom.post(f"{page}/new", data=form).status_code) == (404, 404)
    with shared.reader("aud") as aud:
        assert aud.get(f"{page}.json").json()["links"] == []
