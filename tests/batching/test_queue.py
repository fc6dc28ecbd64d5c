"""The order of service and the choice of company, as plain data."""

from __future__ import annotations

import math
import random

import pytest

from mmpipe.batching.options import BatchOptions, Priority
from mmpipe.batching.queue import BULK_TURN, FairQueue, QueueEntry

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


def entry(item, *, cost=1.0, group=None, session=None, priority=INTERACTIVE, deadline_s=math.inf):
    return QueueEntry(item, cost, group, session, priority, deadline_s, withdraw=lambda entry: None)


def queue_of(*entries, now_s=0.0, **options):
    queue = FairQueue(BatchOptions(**options))
    for each in entries:
        queue.push(each, now_s)
    return queue


def take_all(queue, max_cost=math.inf):
    batches = []
    while batch := queue.take(max_cost):
        batches.append("".join(each.item for each in batch))
    return batches


def test_sessions_take_turns():
    items = [entry(item, session=item.lower()) for item in "aaaabbc"]
    assert take_all(queue_of(*items, max_items=1)) == list("abcabaa")


def test_a_session_that_comes_late_is_served_in_the_next_round_not_after_the_whole_queue():
    queue = queue_of(*(entry("a", session="a") for _ in range(5)), max_items=1)
    assert [each.item for each in queue.take(math.inf)] == ["a"]
    queue.push(entry("b", session="b"), 0.0)
    assert take_all(queue) == list("abaaa")


def test_a_session_that_was_idle_has_saved_no_turns():
    queue = queue_of(entry("b", session="b"), *(entry("a", session="a") for _ in range(4)), max_items=1)
    assert [queue.take(math.inf)[0].item for _ in range(3)] == list("baa")
    for _ in range(2):
        queue.push(entry("b", session="b"), 0.0)
    assert take_all(queue) == list("abab")


def test_a_cancelled_item_costs_its_session_no_turn():
    a = [entry(item, session="a") for item in "1234"]
    b = [entry(item, session="b") for item in "wxyz"]
    queue = queue_of(*a, *b, max_items=1)
    queue.withdraw(a[1])
    queue.withdraw(a[2])
    assert take_all(queue) == list("1wx4yz")  # "4" has moved up from the fourth round to the second


def test_interactive_goes_before_bulk():
    queue = queue_of(entry("b", priority=BULK), entry("i"), entry("j"), max_items=1)
    assert take_all(queue) == list("ijb")


def test_bulk_gets_one_batch_in_eight_while_interactive_items_keep_coming():
    queue = queue_of(*(entry("b", priority=BULK) for _ in range(3)), max_items=1)
    served = ""
    for _ in range(3 * BULK_TURN):
        queue.push(entry("i"), 0.0)
        served += queue.take(math.inf)[0].item
    assert served == ("i" * (BULK_TURN - 1) + "b") * 3


def test_bulk_items_never_lengthen_an_interactive_batch():
    queue = queue_of(entry("i"), entry("b", priority=BULK), entry("j"), max_items=8)
    assert take_all(queue) == ["ij", "b"]


def test_a_batch_holds_one_group_and_others_keep_their_place():
    queue = queue_of(entry("a", group=1), entry("x", group=2), entry("b", group=1), entry("y", group=2))
    assert take_all(queue) == ["ab", "xy"]


def test_a_batch_is_bounded_by_count():
    assert take_all(queue_of(*map(entry, "abcde"), max_items=2)) == ["ab", "cd", "e"]


def test_a_batch_is_bounded_by_cost_and_a_deferred_item_heads_the_next():
    queue = queue_of(entry("a", cost=5), entry("B", cost=6), entry("c", cost=5), entry("d", cost=5), max_cost=10)
    assert take_all(queue, max_cost=10) == ["ac", "B", "d"]


def test_a_single_item_over_the_cost_learnt_from_memory_runs_alone():
    assert take_all(queue_of(entry("a", cost=5), entry("b", cost=5)), max_cost=2) == ["a", "b"]


def test_costs_in_a_batch_stay_within_the_spread_of_each_other_not_just_of_the_head():
    queue = queue_of(entry("a", cost=10), entry("b", cost=6), entry("c", cost=19), entry("d", cost=11), max_spread=2)
    assert take_all(queue) == ["abd", "c"]


def test_an_infinite_spread_ignores_the_lengths():
    queue = queue_of(entry("a", cost=0), entry("b", cost=100), entry("c", cost=1), max_spread=math.inf)
    assert take_all(queue) == ["abc"]


def test_items_that_cost_nothing_share_a_batch():
    assert take_all(queue_of(entry("a", cost=0), entry("b", cost=0), entry("c", cost=1))) == ["ab", "c"]


def test_bulk_company_is_the_nearest_in_length_but_the_head_is_always_served():
    costs = {"a": 10, "b": 15, "c": 11, "d": 16, "e": 10.5}
    queue = queue_of(*(entry(item, cost=cost, priority=BULK) for item, cost in costs.items()), max_items=3)
    assert take_all(queue) == ["aec", "bd"]


def test_interactive_company_is_whose_turn_it_is_even_if_others_are_nearer_in_length():
    flood = [entry("a", cost=10, session="a") for _ in range(3)]
    queue = queue_of(*flood, entry("b", cost=15, session="b"), max_items=2)
    assert take_all(queue) == ["ab", "aa"]


@pytest.mark.parametrize("priority", Priority)
def test_an_odd_item_is_not_starved_by_a_flood_of_items_that_suit_each_other(priority):
    queue = queue_of(max_items=4)
    sessions = "abcde"
    for number in range(40):
        queue.push(entry("flood", session=sessions[number % 5], priority=priority), 0.0)
    queue.push(entry("odd", session="odd", group="odd", cost=99, priority=priority), 0.0)
    for batches in range(1, 20):
        batch = [each.item for each in queue.take(math.inf)]
        if batch == ["odd"]:
            break
        for number, _ in enumerate(batch):  # what was served comes back at once, from every session
            queue.push(entry("flood", session=sessions[(batches + number) % 5], priority=priority), 0.0)
    assert batches <= 1 + len(sessions)


def test_under_a_random_load_every_item_is_served_once_and_every_batch_keeps_its_bounds():
    rng = random.Random(7)
    queue = queue_of(max_items=4, max_cost=20, max_spread=2, max_queue=10_000)
    served = []
    for number in range(2000):
        queue.push(
            entry(
                number,
                cost=rng.uniform(0.5, 20),
                group=rng.randrange(3),
                session=rng.randrange(5),
                priority=rng.choice(list(Priority)),
            ),
            0.0,
        )
        if rng.random() < 0.4 or number == 1999:
            while batch := queue.take(20):
                costs = [each.cost for each in batch]
                assert len(batch) <= 4
                assert sum(costs) <= 20
                assert max(costs) <= 2 * min(costs)
                assert len({(each.group, each.priority) for each in batch}) == 1
                served += [each.item for each in batch]
                if rng.random() < 0.5 and number < 1999:
                    break
    assert sorted(served) == list(range(2000))


def test_nothing_waits_longer_for_company_than_max_wait_or_half_the_time_to_its_deadline():
    queue = queue_of(entry("a"), now_s=100.0, max_wait_s=2)
    assert queue.due_s == 102.0
    queue.push(entry("b", deadline_s=101.5), 100.5)
    assert queue.due_s == 101.0
    assert not queue.ready(100.9, math.inf)
    assert queue.ready(101.0, math.inf)


def test_a_full_batch_of_any_group_is_a_reason_to_start():
    queue = queue_of(entry("a", group=1), entry("x", group=2), max_items=2, max_wait_s=1)
    assert not queue.ready(0.0, math.inf)
    queue.push(entry("y", group=2), 0.0)
    assert queue.ready(0.0, math.inf)
    assert take_all(queue) == ["a", "xy"]  # and the head goes first, instead of waiting for the others as well


@pytest.mark.parametrize(("third", "full"), [(4.0, True), (1.5, True), (1.0, False)])
def test_a_batch_is_full_when_its_cost_is_reached_or_somebody_no_longer_fits(third, full):
    queue = queue_of(*(entry(str(c), cost=c) for c in (2.0, 2.5, third)), max_wait_s=1, max_cost=6, max_spread=9)
    assert queue.ready(0.0, 6.0) is full


def test_late_items_leave_the_queue():
    queue = queue_of(entry("a", deadline_s=5), entry("b"), entry("c", deadline_s=6, priority=BULK))
    assert [each.item for each in queue.remove_late(5.0)] == ["a"]
    assert [each.item for each in queue.remove_late(6.0)] == ["c"]
    assert take_all(queue) == ["b"]
    assert queue.due_s == math.inf


def test_each_priority_has_its_own_room():
    queue = queue_of(entry("a", priority=BULK), entry("b", priority=BULK), max_queue=2)
    assert not queue.has_room(BULK)
    assert queue.has_room(INTERACTIVE)
