"""What a server outside bills for what people type."""

from collections.abc import Callable

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]


def test_one_create_is_billed_once_and_its_file_is_stored(outside: Start, person: Person) -> None:
    server = outside()
    ended = person.at(server)(
        "create-and-poll", "--prompt", "a fox runs", "--no-augment", "--poll-interval", "0.05"
    )
    assert (ended.code, [bill["prompt"] for bill in server.bills()]) == (0, ["a fox runs"])
    assert person("verify", "--with-assets").code == 0


def test_a_lost_answer_is_billed_once_and_found_in_the_list(outside: Start, person: Person) -> None:
    server = outside(creates=["lost-answer"])
    ana = person.at(server)
    job = ana("create", "--prompt", "a fox runs")
    [found] = ana("reconcile", job.document["job_id"]).document["settlements"]
    assert (job.code, found["verdict"], len(server.bills())) == (6, "recovered", 1)
