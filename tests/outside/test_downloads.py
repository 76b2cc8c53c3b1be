"""What comes in the place of a video's bytes: a 404, an address, a bomb."""

import resource
from collections.abc import Callable

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]
POLL = ("--poll-interval", "0.05")
MiB = 1 << 20


def created(person: Person) -> str:
    ended = person("create", "--prompt", "A teal coupe in the desert")
    assert ended.code == 0, ended.err
    return str(ended.document["job_id"])


def types(person: Person) -> list[str]:
    return [each["type"] for each in person("log", "--json").document["records"]]


def test_bytes_that_are_missing_right_after_completion_are_asked_for_again(
    outside: Start, person: Person
) -> None:
    server = outside(contents=["404", "404"])
    ended = person.at(server)("poll", "--id", created(person.at(server)), *POLL)
    assert ended.code == 0, ended.err
    assert "asset.lost" not in types(person)


def test_an_address_in_the_answer_or_in_the_video_is_followed(outside: Start, person: Person) -> None:
    server = outside(content="url")
    assert person.at(server)("poll", "--id", created(person.at(server)), *POLL).code == 0
    server.behave(content="404", with_url=True)
    assert person.at(server)("poll", "--id", created(person.at(server)), *POLL).code == 0
    assert person("verify", "--with-assets").code == 0


def test_the_key_goes_to_no_other_origin(outside: Start, person: Person) -> None:
    other = outside()
    video = other.create("another")
    server = outside(content="404", extra={"url": f"{other.origin}/files/{video['id']}.mp4"})
    assert person.at(server)("poll", "--id", created(person.at(server)), *POLL).code == 0
    [fetched] = other.requests("GET")
    assert "authorization" not in {name.lower() for name in fetched["headers"]}


def test_an_address_of_a_file_is_not_followed(outside: Start, person: Person) -> None:
    server = outside(content="404", extra={"url": "file:///etc/hostname"})
    ended = person.at(server)("poll", "--id", created(person.at(server)), *POLL)
    assert ended.code == 8, ended
    assert "asset.stored" not in types(person)


def test_a_list_that_grows_when_it_is_decompressed_is_refused(outside: Start, person: Person) -> None:
    server = outside(gzip_list_bytes=100 * MiB)
    with person.at(server).start("list", preexec_fn=_at_most_memory) as listing:
        _, err = listing.communicate(timeout=60)
    assert listing.returncode == 8, err
    assert "larger than 16 MiB" in err


def _at_most_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (192 * MiB, 192 * MiB))


def test_a_download_that_grows_when_it_is_decompressed_needs_no_memory(
    outside: Start, person: Person
) -> None:
    server = outside(content="bomb")
    job = created(person.at(server))
    with person.at(server).start("poll", "--id", job, *POLL, preexec_fn=_at_most_memory) as polling:
        _, err = polling.communicate(timeout=60)
    assert polling.returncode == 1, err[-3000:]
