import signal
import threading
from collections.abc import Callable

import pytest

from ledger.store import group_commit
from ledger.store.group_commit import GroupCommit, Request


def double(group: list[Request[int, int]]) -> None:
    for request in group:
        request.result = request.work * 2


def result_of(commits: GroupCommit[int, int], number: int) -> int:
    """Return the result of one request, or raise its error."""
    return commits.run(number)[0].outcome()


def in_threads(count: int, work: Callable[[int], object]) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_one_caller_gets_its_result() -> None:
    assert result_of(GroupCommit(double), 21) == 42


def test_every_caller_gets_its_own_result() -> None:
    commits = GroupCommit(double)
    results: dict[int, int] = {}
    in_threads(16, lambda i: results.update({i: result_of(commits, i)}))
    assert results == {i: 2 * i for i in range(16)}


class Stopped:
    """A commit that stands still, the first time, until `go` is set; `sizes` are those of the groups."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, group: list[Request[int, int]]) -> None:
        self.begun.set()
        self.go.wait()
        self.sizes.append(len(group))
        double(group)


def waiting(commits: GroupCommit[int, int], count: int) -> None:
    """Return once `count` callers wait."""
    while len(commits._waiting) < count:
        pass


def test_who_waits_during_a_commit_is_committed_by_the_next() -> None:
    commit = Stopped()
    commits = GroupCommit(commit)
    results: list[int] = []
    threads = [threading.Thread(target=lambda i=i: results.append(result_of(commits, i))) for i in range(8)]
    threads[0].start()
    commit.begun.wait()
    for thread in threads[1:]:
        thread.start()
    waiting(commits, 7)
    commit.go.set()
    for thread in threads:
        thread.join()
    assert (commit.sizes, sorted(results)) == ([1, 7], [0, 2, 4, 6, 8, 10, 12, 14])


def test_a_leader_waits_for_those_who_shared_the_commit_before() -> None:
    commit = Stopped()
    commit.go.set()
    commits = GroupCommit(commit)
    commits._last_size, commits._last_s = 3, 3600.0
    in_threads(3, lambda number: result_of(commits, number))
    assert commit.sizes == [3]


def test_a_leader_alone_does_not_wait_for_others_for_long() -> None:
    commits = GroupCommit(double)
    commits._last_size, commits._last_s = 3, 0.0
    assert [result_of(commits, 1), commits._last_size] == [2, 1]


def test_who_is_interrupted_while_it_waits_is_not_committed_and_keeps_nobody_waiting() -> None:
    commit = Stopped()
    commits = GroupCommit(commit)
    interrupted: Request[int, int] = Request(1)
    results: list[int] = []
    threads = [threading.Thread(target=lambda i=i: results.append(result_of(commits, i))) for i in (10, 20)]
    threads[0].start()
    commit.begun.wait()
    commits._waiting.append(interrupted)  # it waits, and is next
    threads[1].start()
    waiting(commits, 2)
    commit.go.set()
    threads[0].join()
    interrupted.turn.acquire()  # its turn has come, when Ctrl-C does
    commits._withdraw([interrupted])
    threads[1].join()
    assert (commit.sizes, sorted(results), interrupted.done) == ([1, 1], [20, 40], False)


def test_a_refused_request_raises_in_its_own_caller_alone() -> None:
    def commit(group: list[Request[int, int]]) -> None:
        double(group)
        for request in group:
            request.error = KeyError(request.work) if request.work == 3 else None

    commits = GroupCommit(commit)
    refused: list[int] = []

    def run(number: int) -> None:
        try:
            result_of(commits, number)
        except KeyError:
            refused.append(number)

    in_threads(8, run)
    assert refused == [3]


def test_a_commit_that_fails_fails_for_its_whole_group() -> None:
    def commit(group: list[Request[int, int]]) -> None:
        double(group)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        result_of(GroupCommit(commit), 1)


def test_the_next_commit_goes_through_after_one_that_failed() -> None:
    failing = iter([True, False])

    def commit(group: list[Request[int, int]]) -> None:
        if next(failing):
            raise OSError("disk")
        double(group)

    commits = GroupCommit(commit)
    with pytest.raises(OSError, match="disk"):
        result_of(commits, 1)
    assert result_of(commits, 2) == 4


def test_an_interrupt_right_after_gathering_fails_the_group_and_hands_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commits = GroupCommit(double)
    gather = commits._gather
    other: Request[int, int] = Request(2)

    def interrupted(group: list[Request[int, int]]) -> None:
        commits._waiting.append(other)  # it came while the leader gathered
        gather(group)
        raise KeyboardInterrupt

    monkeypatch.setattr(commits, "_gather", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result_of(commits, 1)
    monkeypatch.undo()
    assert (other.done, type(other.error)) == (True, KeyboardInterrupt)
    assert other.turn.acquire(blocking=False)
    assert result_of(commits, 3) == 6


def test_ctrl_c_while_waiting_is_raised_and_commits_nothing_of_the_waiting() -> None:
    commit = Stopped()
    commits = GroupCommit(commit)
    leader = threading.Thread(target=result_of, args=(commits, 1))
    leader.start()
    commit.begun.wait()

    def interrupt() -> None:
        waiting(commits, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        result_of(commits, 2)
    commit.go.set()
    for thread in (interrupter, leader):
        thread.join()
    assert commit.sizes == [1]
    assert result_of(commits, 3) == 6


def test_a_request_that_was_refused_before_the_commit_failed_gets_its_own_error() -> None:
    def commit(group: list[Request[int, int]]) -> None:
        group[0].error = KeyError("refused")
        raise OSError("disk")

    with pytest.raises(KeyError, match="refused"):
        result_of(GroupCommit(commit), 1)


def test_ctrl_c_before_it_waits_leaves_nobody_waiting_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    commits = GroupCommit(double)

    def interrupted() -> None:
        raise KeyboardInterrupt

    commits._gathering = True  # so that it notifies a leader
    monkeypatch.setattr(commits._changing, "notify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result_of(commits, 1)
    monkeypatch.undo()
    assert result_of(commits, 2) == 4


def test_callers_with_several_works_wake_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SIGNAL_S", 3600.0)  # nothing else wakes them
    commit = Stopped()
    commits = GroupCommit(commit)
    results: dict[int, list[int]] = {}

    def call(number: int) -> None:
        requests = commits.run(*range(number % 3 + 1))
        results[number] = [request.outcome() for request in requests]

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(9)]
    threads[0].start()
    commit.begun.wait()
    for thread in threads[1:]:
        thread.start()
    waiting(commits, 17)
    commit.go.set()
    for thread in threads:
        thread.join(timeout=60)
    assert results == {number: [0, 2, 4][: number % 3 + 1] for number in range(9)}
    assert commit.sizes == [1, 17]


def test_a_caller_that_ctrl_c_ends_before_it_wakes_the_next_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "SIGNAL_S", 0.01)
    commit = Stopped()
    commits = GroupCommit(commit)
    results: list[int] = []
    threads = [threading.Thread(target=lambda i=i: results.append(result_of(commits, i))) for i in range(3)]
    threads[0].start()
    commit.begun.wait()
    threads[1].start()
    waiting(commits, 1)
    commits._waiting.append(Request(5))  # its thread has ended
    threads[2].start()
    waiting(commits, 3)
    commit.go.set()
    for thread in threads:
        thread.join(timeout=60)
    assert (commit.sizes, sorted(results)) == ([1, 3], [0, 2, 4])
