"""A clock that is set is noticed, and the time that passed is not taken for a step."""

from datetime import UTC, datetime, timedelta

from render_service.session.clock_steps import ClockSteps

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.clock, self.elapsed = BEGAN, 100.0
        self.steps = ClockSteps(lambda: self.clock, lambda: self.elapsed)

    def wait(self, how_long: timedelta) -> None:
        self.clock += how_long
        self.elapsed += how_long.total_seconds()


def test_a_clock_that_runs_on_was_not_set() -> None:
    machine = Machine()
    for _ in range(100):
        machine.wait(timedelta(seconds=59))
        machine.clock -= timedelta(milliseconds=20)  # as a clock is corrected in passing
        assert not machine.steps.was_set_back()
    assert machine.steps.go_back(10 * MINUTE) == machine.clock - 10 * MINUTE


def test_a_step_back_is_announced_once() -> None:
    machine = Machine()
    machine.wait(MINUTE)
    machine.clock -= HOUR
    assert machine.steps.was_set_back()
    assert not machine.steps.was_set_back()
    assert machine.steps.go_back(10 * MINUTE) == machine.clock - 10 * MINUTE


def test_a_window_reaches_over_a_step_forward_for_as_long_as_it_lasts() -> None:
    machine = Machine()
    machine.wait(MINUTE)
    machine.clock += HOUR
    assert machine.steps.go_back(10 * MINUTE) == machine.clock - 10 * MINUTE - HOUR
    machine.wait(9 * MINUTE)
    assert machine.steps.go_back(10 * MINUTE) <= BEGAN + MINUTE, "what came before the step is in it"
    machine.wait(2 * MINUTE)
    assert machine.steps.go_back(10 * MINUTE) == machine.clock - 10 * MINUTE
    assert not machine.steps.was_set_back()
