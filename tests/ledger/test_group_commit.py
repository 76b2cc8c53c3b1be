import threading
from collections.abc import Callable

import pytest

from ledger.store.group_commit import GroupCommit, Request


def double(group: list[Request[int, int]]) -> None:
    for request in group:
        request.result = request.work * 2


def in_threads(count: int, run: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_one_caller_gets_its_result() -> None:
    assert GroupCommit(double).run(21) == 42


def test_every_caller_gets_its_own_result() -> None:
    commits = GroupCommit(double)
    results: dict[int, int] = {}
    in_threads(16, lambda i: results.update({i: commits.run(i)}))
    assert results == {i: 2 * i for i in range(16)}


def test_who_waits_during_a_commit_is_committed_by_the_next() -> None:
    sizes: list[int] = []
    late: list[Request[int, int]] = [Request(number) for number in range(7)]

    def commit(group: list[Request[int, int]]) -> None:
        if not sizes:
            commits._waiting.extend(late)
        sizes.append(len(group))
        double(group)

    commits = GroupCommit(commit)
    commits.run(100)
    commits.run(101)
    assert (sizes, [request.outcome() for request in late]) == ([1, 8], [0, 2, 4, 6, 8, 10, 12])


def test_a_refused_request_raises_in_its_own_caller_alone() -> None:
    def commit(group: list[Request[int, int]]) -> None:
        double(group)
        for request in group:
            request.error = KeyError(request.work) if request.work == 3 else None

    commits = GroupCommit(commit)
    refused: list[int] = []

    def run(number: int) -> None:
        try:
            commits.run(number)
        except KeyError:
            refused.append(number)

    in_threads(8, run)
    assert refused == [3]


def test_a_commit_that_fails_fails_for_its_whole_group() -> None:
    def commit(group: list[Request[int, int]]) -> None:
        double(group)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        GroupCommit(commit).run(1)


def test_the_next_commit_goes_through_after_one_that_failed() -> None:
    failing = iter([True, False])

    def commit(group: list[Request[int, int]]) -> None:
        if next(failing):
            raise OSError("disk")
        double(group)

    commits = GroupCommit(commit)
    with pytest.raises(OSError, match="disk"):
        commits.run(1)
    assert commits.run(2) == 4
