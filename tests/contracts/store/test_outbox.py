"""The outbox: deliveries are added once, leased for an attempt, and end or become dead letters."""

from concurrent.futures import ThreadPoolExecutor

from ledger.store.interface import EventStore
from ledger.store.outbox import Delivery, NewDelivery

LEASE_MS = 60_000
ONE = NewDelivery("wh_1", "whe_a", 1)


def claim(store: EventStore, lease_ms: int = LEASE_MS, **room: int) -> list[Delivery]:
    return store.outbox.claim(room or {"whe_a": 9, "whe_b": 9}, lease_ms)


def ids(deliveries: list[Delivery]) -> list[str]:
    return sorted(delivery.delivery_id for delivery in deliveries)


def test_no_one_has_read_the_log_of_a_new_ledger(store: EventStore) -> None:
    assert store.outbox.cursor() is None


def test_deliveries_are_added_with_the_cursor(store: EventStore) -> None:
    assert store.outbox.add(None, 7, [ONE])
    assert store.outbox.cursor() == 7
    [claimed] = claim(store)
    assert claimed[:4] == ("wh_1", "whe_a", 1, 1)


def test_a_reader_who_comes_second_adds_nothing(store: EventStore) -> None:
    assert store.outbox.add(None, 7, [])
    assert not store.outbox.add(None, 7, [ONE])
    assert not store.outbox.add(6, 8, [ONE])
    assert claim(store) == []


def test_a_reader_is_forgotten_with_its_dead_letters_once_no_process_has_its_turn(store: EventStore) -> None:
    turn = store.outbox.begin_turn("forward:a", 0, LEASE_MS)
    assert turn is not None
    assert store.outbox.move(
        turn, 5, LEASE_MS, [NewDelivery("wh_1", "forward:a", 3, is_dead=True), NewDelivery("wh_2", "we_2", 4)]
    )
    assert store.outbox.forget_reader("forward:a") is False
    assert store.outbox.readers() == [("forward:a", 5, True)]
    store.outbox.end_turn(turn)
    assert store.outbox.forget_reader("forward:a") is True
    assert store.outbox.readers() == []
    assert store.outbox.tally() == (1, 0)


def test_of_many_readers_one_adds(store: EventStore) -> None:
    store.outbox.add(None, 1, [])
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda _: store.outbox.add(1, 2, [ONE]), range(8)))
    assert added.count(True) == 1
    assert ids(claim(store)) == ["wh_1"]


def test_a_claimed_delivery_is_not_claimed_again(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE])
    assert ids(claim(store)) == ["wh_1"]
    assert claim(store) == []


def test_many_claims_at_once_get_each_delivery_once(store: EventStore) -> None:
    store.outbox.add(None, 1, [NewDelivery(f"wh_{n}", "whe_a", 1) for n in range(20)])
    with ThreadPoolExecutor(4) as threads:
        claimed = [one for part in threads.map(lambda _: claim(store), range(8)) for one in part]
    assert len(claimed) == len(set(ids(claimed))) == 20


def test_a_delivery_whose_lease_ended_is_claimed_again_with_a_higher_attempt(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE])
    assert [one.attempts for one in claim(store, lease_ms=0)] == [1]
    assert [one.attempts for one in claim(store)] == [2]


def test_no_endpoint_gets_more_than_its_room(store: EventStore) -> None:
    new = [NewDelivery(f"wh_{name}{n}", f"whe_{name}", 1) for name in "ab" for n in range(5)]
    store.outbox.add(None, 1, new)
    assert ids(claim(store, whe_a=1, whe_b=2)) == ["wh_a0", "wh_b0", "wh_b1"]
    assert ids(claim(store, whe_b=9)) == ["wh_b2", "wh_b3", "wh_b4"]


def test_a_delivery_to_retry_waits(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE])
    store.outbox.retry(claim(store)[0], 60_000, 503)
    assert claim(store) == []


def test_a_retried_delivery_keeps_the_last_answer(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE])
    store.outbox.retry(claim(store)[0], 0, 503)
    assert [one.http_status for one in claim(store)] == [503]


def test_a_finished_delivery_is_gone(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE])
    store.outbox.finish(claim(store)[0])
    assert store.outbox.tally() == (0, 0)


def test_a_report_about_an_earlier_attempt_is_ignored(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE])
    [late] = claim(store, lease_ms=0)
    [current] = claim(store)
    for report in (store.outbox.finish, lambda one: store.outbox.retry(one, 0, None)):
        report(late)
        assert claim(store) == []
    store.outbox.give_up(late, None)
    assert store.outbox.tally() == (1, 0)
    store.outbox.finish(current)
    assert store.outbox.tally() == (0, 0)


def test_what_is_given_up_is_a_dead_letter_and_not_due(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE])
    store.outbox.give_up(claim(store)[0], 500)
    assert [(one.delivery_id, one.http_status) for one in store.outbox.dead_letters()] == [("wh_1", 500)]
    assert store.outbox.tally() == (0, 1)
    assert claim(store) == []


def test_a_dead_letter_can_be_sent_again_and_nothing_else(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE, NewDelivery("wh_2", "whe_a", 1, is_dead=True)])
    claim(store)
    assert store.outbox.send_again(["wh_1", "wh_2", "wh_3"]) == ["wh_2"]
    assert ids(claim(store)) == ["wh_2"]


def test_the_deliveries_of_a_deleted_endpoint_are_forgotten(store: EventStore) -> None:
    store.outbox.add(
        None, 1, [ONE, NewDelivery("wh_2", "whe_b", 1), NewDelivery("wh_3", "whe_a", 1, is_dead=True)]
    )
    store.outbox.forget(["whe_a"])
    assert store.outbox.tally() == (1, 0)


def test_the_outbox_leaves_no_trace_in_the_record(store: EventStore) -> None:
    before = store.head().size
    store.outbox.add(None, 1, [ONE])
    store.outbox.finish(claim(store)[0])
    assert store.head().size == before


def test_what_is_due_too_late_after_the_clock_was_set_back_is_brought_forward(store: EventStore) -> None:
    store.outbox.add(None, 1, [ONE, NewDelivery("wh_2", "whe_a", 1)])
    for delivery in claim(store):
        store.outbox.retry(delivery, 3_600_000, 503)
    assert claim(store) == []
    store.outbox.bring_forward(0)
    assert ids(claim(store)) == ["wh_1", "wh_2"]


def test_one_process_at_a_time_has_the_turn_at_a_reader(store: EventStore) -> None:
    turn = store.outbox.begin_turn("forward:a", 3, LEASE_MS)
    assert turn == ("forward:a", 3, 1)
    assert store.outbox.begin_turn("forward:a", 0, LEASE_MS) is None
    assert store.outbox.begin_turn("forward:b", 0, LEASE_MS) == ("forward:b", 0, 1)
    assert store.outbox.readers() == [("forward:a", 3, True), ("forward:b", 0, True)]


def test_of_many_processes_one_takes_the_turn(store: EventStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        turns = list(threads.map(lambda _: store.outbox.begin_turn("forward:a", 0, LEASE_MS), range(8)))
    assert [turn for turn in turns if turn] == [("forward:a", 0, 1)]


def test_a_turn_moves_its_reader_and_adds_dead_letters(store: EventStore) -> None:
    turn = store.outbox.begin_turn("forward:a", 0, LEASE_MS)
    assert turn
    dead = NewDelivery("wh_1", "forward:a", 4, is_dead=True, http_status=422)
    moved = store.outbox.move(turn, 5, LEASE_MS, [dead])
    assert moved == ("forward:a", 5, 1)
    assert store.outbox.readers() == [("forward:a", 5, True)]
    assert [(one.delivery_id, one.http_status) for one in store.outbox.dead_letters()] == [("wh_1", 422)]


def test_a_turn_that_ended_goes_to_another_process_with_the_position(store: EventStore) -> None:
    first = store.outbox.begin_turn("forward:a", 0, LEASE_MS)
    assert first
    store.outbox.move(first, 9, LEASE_MS)
    store.outbox.end_turn(first)
    assert store.outbox.readers() == [("forward:a", 9, False)]
    assert store.outbox.begin_turn("forward:a", 0, LEASE_MS) == ("forward:a", 9, 2)


def test_a_turn_that_was_lost_moves_nothing(store: EventStore) -> None:
    lost = store.outbox.begin_turn("forward:a", 0, 0)
    current = store.outbox.begin_turn("forward:a", 0, LEASE_MS)
    assert lost
    assert current
    assert store.outbox.move(lost, 9, LEASE_MS, [NewDelivery("wh_1", "forward:a", 1, is_dead=True)]) is None
    store.outbox.end_turn(lost)
    assert store.outbox.readers() == [("forward:a", 0, True)]
    assert store.outbox.dead_letters() == []


def test_a_turn_from_before_the_clock_was_set_back_ends(store: EventStore) -> None:
    assert store.outbox.begin_turn("forward:a", 0, 3_600_000)
    assert store.outbox.begin_turn("forward:a", 0, LEASE_MS) == ("forward:a", 0, 2)


def test_an_alert_is_added_once_also_after_it_was_delivered(store: EventStore) -> None:
    alert = NewDelivery("wh_1", "alert:a", 1, body='{"title":"held"}')
    store.outbox.put([alert, NewDelivery("wh_2", "alert:a", 1, body="{}")])
    first, second = claim(store, **{"alert:a": 9})
    assert store.outbox.body("wh_1") == '{"title":"held"}'
    store.outbox.finish(first)
    store.outbox.finish(second)
    store.outbox.put([alert])
    assert store.outbox.add(None, 1, [alert], "alerts")
    assert store.outbox.tally() == (0, 0)
    assert store.outbox.body("wh_3") is None


def test_each_cursor_moves_by_itself(store: EventStore) -> None:
    assert store.outbox.add(None, 7, [ONE])
    assert store.outbox.cursor("alerts") is None
    assert store.outbox.add(None, 3, [], "alerts")
    assert (store.outbox.cursor(), store.outbox.cursor("alerts")) == (7, 3)
