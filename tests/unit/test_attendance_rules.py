"""What rooms and visits say, without a database (seed 004: how they work together)."""

from datetime import timedelta
from functools import reduce
from itertools import permutations

import pytest

from confiido_booking.attendance import rules
from confiido_booking.attendance.rules import Room, Visit
from tests.builders import MONDAY

END = MONDAY + timedelta(hours=1)


def at(minutes: float) -> object:
    return MONDAY + timedelta(minutes=minutes)


def room(started: float | None, finished: float | None, sid: str = "RM_1") -> Room:
    begin = None if started is None else MONDAY + timedelta(minutes=started)
    end = None if finished is None else MONDAY + timedelta(minutes=finished)
    return Room(sid=sid, started_at=begin, finished_at=end)


@pytest.mark.parametrize(
    ("rooms", "status", "began", "ended"),
    [
        ([], "scheduled", None, None),
        ([room(-20, None)], "in_progress", -20, None),
        ([room(-20, -10)], "scheduled", None, None),
        ([room(-20, -10), room(-2, None, "RM_2")], "in_progress", -2, None),
        ([room(1, 50)], "completed", 1, 50),
        ([room(None, 50)], "completed", None, 50),
        ([room(1, 20), room(30, None, "RM_2")], "in_progress", 1, None),
        ([room(1, 20), room(30, 59, "RM_2")], "completed", 1, 59),
        ([room(1, 50), room(61, None, "RM_2")], "completed", 1, 50),
        ([room(61, None)], "in_progress", 61, None),
        ([room(1, 80)], "completed", 1, 80),
    ],
)
def test_a_course_is_what_all_openings_say(
    rooms: list[Room], status: str, began: float | None, ended: float | None
) -> None:
    said = rules.course(rooms, MONDAY, END)

    expected = [None if minutes is None else at(minutes) for minutes in (began, ended)]
    assert [said.status, said.began, said.ended] == [status, *expected]


def test_facts_of_rooms_come_in_any_order_and_twice() -> None:
    facts = [room(-20, None), room(None, -10), room(1, None, "RM_2"), room(None, 50, "RM_2"), room(None, 50, "RM_2")]

    ends = {tuple(reduce(rules.learned, order, list[Room]())) for order in permutations(facts)}

    assert ends == {(room(-20, -10), room(1, 50, "RM_2"))}


def visit(joined: float | None, left: float | None) -> Visit:
    begin = None if joined is None else MONDAY + timedelta(minutes=joined)
    return Visit(joined_at=begin, left_at=None if left is None else MONDAY + timedelta(minutes=left))


@pytest.mark.parametrize(
    ("visits", "minutes", "came"),
    [
        ([], 0, False),
        ([visit(0, 10), visit(20, 50)], 40, True),
        ([visit(-20, -10)], 10, False),
        ([visit(-20, 0)], 20, True),
        ([visit(5, None)], 55, True),
        ([visit(None, 30)], 0, True),
        ([visit(30, 5)], 0, True),
        ([Visit(joined_at=MONDAY - timedelta(minutes=30), checked_in=True)], 0, True),
    ],
)
def test_visits_are_added_up(visits: list[Visit], minutes: int, came: bool) -> None:
    seen = rules.presence(visits, MONDAY, END)

    assert (seen.seconds, seen.came) == (minutes * 60, came)


def test_who_came_back_and_is_there_has_not_left() -> None:
    assert rules.presence([visit(0, 10), visit(20, None)], MONDAY, END).left_at is None
    assert rules.presence([visit(0, 10), visit(20, 30)], MONDAY, END).left_at == at(30)


@pytest.mark.parametrize(
    ("status", "came", "expected"),
    [("confirmed", True, True), ("confirmed", False, False), ("completed", False, True), ("no-show", True, False)],
)
def test_what_a_person_said_goes_before_what_the_room_saw(status: str, came: bool, expected: bool) -> None:
    assert rules.attended(status, rules.Presence(came=came)) is expected


def test_nothing_finished_has_no_rate() -> None:
    assert [rules.rate(0, 0), rules.rate(0, 3), rules.rate(2, 3)] == [None, 0, 66.67]
