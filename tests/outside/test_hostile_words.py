"""What a server says reaches neither a log nor a terminal as it is."""

from collections.abc import Callable

from tests.outside.conftest import Outside, Person

Start = Callable[..., Outside]
PRIVATE = "refused while rendering 'Elena Petrova lies in hospital'"


def test_a_workers_log_repeats_no_words_of_a_server(outside: Start, person: Person) -> None:
    server = outside(render_s=60.0)
    someone = person.at(server)
    job = someone("create", "--prompt", "A teal coupe").document["job_id"]
    server.behave(words=PRIVATE, list=False, retrieve=[403])
    with someone.start("worker", "--interval", "0.1") as worker:
        assert worker.stderr is not None
        told = ""
        for line in worker.stderr:
            told += line
            if '"job.trouble"' in line:
                break
        worker.terminate()
        told += worker.communicate(timeout=30)[1]
    assert ("Elena" in told, job in told, '"http_status": 403' in told) == (False, True, True), told
