import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from confiido_booking.calendar.availability import MAX_PERIODS, AvailabilityException, Period
from confiido_booking.calendar.service import MAX_BUSY
from confiido_booking.calendar.slots import Slot
from confiido_booking.database.store import Store
from confiido_booking.errors import Conflict, Invalid, NotAllowed, NotFound, SlotTaken
from confiido_booking.experts.models import Expert
from tests.builders import MONDAY, Clock, a_client, an_admin, an_expert, make_expert
from tests.hours import period, slot

if TYPE_CHECKING:
    from confiido_booking.client import Confiido

WEEK = [slot(day, "09:00", "12:00") for day in range(7)]
TOMORROW = date(2026, 3, 3)


def a_period(
    *slots: dict[str, object], start: str | None = None, end: str | None = None, active: bool = True
) -> Period:
    return Period.model_validate(period(*slots, start=start, end=end, active=active))


async def with_hours(confiido: "Confiido", **overrides: object) -> Expert:
    """An expert in UTC who works from 9 to 12 every day."""
    availability = {"periods": [period(*WEEK)]}
    return await make_expert(confiido, **{"timezone": "UTC", "availability": availability, **overrides})


def free(found: list[Slot]) -> list[str]:
    return [f"{one.starts_at:%H:%M}" for one in found if one.available]


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, 3, hour, minute, tzinfo=UTC)


async def test_an_expert_adds_replaces_and_removes_a_period(confiido: "Confiido", clock: Clock) -> None:
    actor = an_expert(await make_expert(confiido))
    added = (await confiido.calendar.add_period(actor, a_period(*WEEK, start="2026-03-01"))).periods[0]
    clock.advance(hours=1)

    replaced = (
        await confiido.calendar.replace_period(actor, str(added.id), a_period(slot(1, "9:00", "10:00")))
    ).periods
    left = await confiido.calendar.remove_period(actor, added.id)

    assert [(one.id, one.created_at, len(one.time_slots)) for one in replaced] == [(added.id, MONDAY, 1)]
    assert left.periods == []
    assert await confiido.calendar.availability(actor) == left


async def test_a_period_fits_into_the_gap_between_two_others(confiido: "Confiido") -> None:
    actor = an_expert(await make_expert(confiido))
    await confiido.calendar.add_period(actor, a_period(start="2026-03-01", end="2026-03-31"))
    await confiido.calendar.add_period(actor, a_period(start="2026-05-01"))

    kept = await confiido.calendar.add_period(actor, a_period(start="2026-04-01", end="2026-04-30"))

    assert len(kept.periods) == 3


@pytest.mark.parametrize(
    "wanted",
    [
        a_period(start="2026-03-31", end="2026-04-01"),
        a_period(end="2026-03-01"),
        a_period(start="2026-06-01"),
        a_period(),
    ],
)
async def test_a_period_over_another_active_one_is_refused(confiido: "Confiido", wanted: Period) -> None:
    actor = an_expert(await make_expert(confiido))
    await confiido.calendar.add_period(actor, a_period(start="2026-03-01", end="2026-03-31"))
    await confiido.calendar.add_period(actor, a_period(start="2026-05-01"))
    await confiido.calendar.add_period(actor, a_period(active=False))

    with pytest.raises(Conflict) as refused:
        await confiido.calendar.add_period(actor, wanted)

    assert refused.value.code == "period_overlaps"


async def test_a_period_can_be_put_over_itself_but_not_over_another(confiido: "Confiido") -> None:
    actor = an_expert(await make_expert(confiido))
    await confiido.calendar.add_period(actor, a_period(start="2026-03-01", end="2026-03-31"))
    april = (await confiido.calendar.add_period(actor, a_period(start="2026-04-01", end="2026-04-30"))).periods[1]

    await confiido.calendar.replace_period(actor, april.id, a_period(start="2026-04-10", end="2026-05-10"))
    with pytest.raises(Conflict) as refused:
        await confiido.calendar.replace_period(actor, april.id, a_period(start="2026-03-10"))
    kept = await confiido.calendar.replace_period(actor, april.id, a_period(start="2026-03-10", active=False))

    assert refused.value.code == "period_overlaps"
    assert [one.is_active for one in kept.periods] == [True, False]


async def test_of_overlapping_periods_added_at_once_one_gets_in_and_of_others_all(confiido: "Confiido") -> None:
    actor = an_expert(await make_expert(confiido))
    wanted = [a_period(start="2026-03-01")] * 5 + [
        a_period(start=f"2026-02-0{n}", end=f"2026-02-0{n}") for n in range(1, 6)
    ]

    outcomes = await asyncio.gather(
        *(confiido.calendar.add_period(actor, one) for one in wanted), return_exceptions=True
    )

    refused = [one for one in outcomes if isinstance(one, BaseException)]
    assert [type(one) for one in refused] == [Conflict] * 4
    assert len((await confiido.calendar.availability(actor)).periods) == 6


async def test_there_is_room_for_fifty_periods(confiido: "Confiido", store: Store) -> None:
    full = [period(start=f"{2030 + n}-01-01", end=f"{2030 + n}-12-31") for n in range(MAX_PERIODS)]
    actor = an_expert(await make_expert(confiido, availability={"periods": full}))

    with pytest.raises(Conflict) as refused:
        await confiido.calendar.add_period(actor, a_period(start="2026-01-01", end="2026-12-31"))

    assert refused.value.code == "too_many_periods"


async def test_a_date_is_closed_once_and_opened_again(confiido: "Confiido") -> None:
    expert = await with_hours(confiido)
    actor = an_expert(expert)
    closed = AvailabilityException.model_validate({"date": "2026-03-03", "reason": "Holiday"})

    kept = await confiido.calendar.add_exception(actor, closed)
    with pytest.raises(Conflict) as refused:
        await confiido.calendar.add_exception(actor, closed)
    while_closed = await confiido.calendar.slots(str(expert.id), TOMORROW)
    await confiido.calendar.remove_exception(actor, kept.exceptions[0].id)

    assert refused.value.code == "exception_exists"
    assert while_closed == []
    assert len(await confiido.calendar.slots(str(expert.id), TOMORROW)) == 12


async def test_what_is_not_there_cannot_be_changed(confiido: "Confiido") -> None:
    actor = an_expert(await with_hours(confiido))
    nowhere = ObjectId()

    for command, code in [
        (confiido.calendar.remove_period(actor, nowhere), "period_not_found"),
        (confiido.calendar.replace_period(actor, nowhere, a_period()), "period_not_found"),
        (confiido.calendar.remove_exception(actor, nowhere), "exception_not_found"),
        (confiido.calendar.unblock(actor, nowhere), "block_not_found"),
    ]:
        with pytest.raises(NotFound) as missing:
            await command
        assert missing.value.code == code
    with pytest.raises(Invalid):
        await confiido.calendar.remove_period(actor, '{"$ne": null}')


async def test_only_the_expert_and_staff_change_hours(confiido: "Confiido") -> None:
    expert, other = await make_expert(confiido), await make_expert(confiido)

    by_admin = await confiido.calendar.add_period(an_admin(), a_period(*WEEK), expert=str(expert.id))
    by_key = await confiido.calendar.availability(an_expert(expert), expert=expert.expert_user_id)

    assert by_key == by_admin
    for actor in (a_client(), an_expert(other)):
        with pytest.raises(NotAllowed):
            await confiido.calendar.add_period(actor, a_period(), expert=str(expert.id))
        with pytest.raises(NotAllowed):
            await confiido.calendar.block(actor, at(9), at(10), expert=str(expert.id))
    with pytest.raises(NotAllowed):
        await confiido.calendar.availability(an_admin())


async def test_blocked_minutes_are_not_offered_and_not_booked(confiido: "Confiido") -> None:
    expert = await with_hours(confiido)
    actor = an_expert(expert)

    block = await confiido.calendar.block(actor, at(9, 30), at(11, 30), "Dentist")
    offered = free(await confiido.calendar.consecutive_slots(expert.user_id, TOMORROW, 30))
    with pytest.raises(SlotTaken) as taken:
        await confiido.bookings.book(
            actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=at(10)
        )
    listed = await confiido.calendar.blocks(actor)
    await confiido.calendar.unblock(actor, block.claim_id)

    assert offered == ["09:00", "11:30"]
    assert taken.value.next_starts[0] == at(11, 30)
    assert [(one.claim_id, one.reason) for one in listed] == [(block.claim_id, "Dentist")]
    assert await confiido.calendar.blocks(actor) == []


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (at(10), at(10)),
        (at(10), at(9)),
        (at(10), at(10) + timedelta(days=367)),
        (at(10) - timedelta(days=9), at(10) - timedelta(days=8)),
        (datetime(2026, 3, 3, 10), at(12)),
    ],
)
async def test_a_block_that_makes_no_sense_is_refused(confiido: "Confiido", start: datetime, end: datetime) -> None:
    actor = an_expert(await make_expert(confiido))

    with pytest.raises(Invalid) as refused:
        await confiido.calendar.block(actor, start, end)

    assert refused.value.code == "invalid_time"


async def test_a_full_calendar_takes_blocks_again_when_entries_are_past(
    confiido: "Confiido", store: Store, clock: Clock
) -> None:
    expert = await make_expert(confiido)
    entry = {"owner": "block", "from": at(10), "until": at(11), "claimedAt": MONDAY}
    full = [{**entry, "claimId": ObjectId()} for _ in range(MAX_BUSY)]
    await store.update("fill", "calendars", {"_id": expert.id}, {"$set": {"busy": full}})

    with pytest.raises(Conflict) as refused:
        await confiido.calendar.block(an_expert(expert), at(12), at(13))
    clock.advance(days=2)
    await confiido.calendar.block(an_expert(expert), at(12) + timedelta(days=3), at(13) + timedelta(days=3))

    assert refused.value.code == "calendar_full"
    assert len(await confiido.calendar.blocks(an_expert(expert))) == 1


async def test_unblocking_never_frees_a_sessions_minutes(confiido: "Confiido") -> None:
    expert = await with_hours(confiido)
    booked = await confiido.bookings.book(
        actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=at(10)
    )

    with pytest.raises(NotFound):
        await confiido.calendar.unblock(an_expert(expert), booked.session.claim_id or "")

    assert "10:00" not in free(await confiido.calendar.slots(expert.user_id, TOMORROW))


async def test_every_slot_offered_is_booked_and_every_other_start_is_refused(confiido: "Confiido") -> None:
    expert = await with_hours(confiido, buffer_before=10, buffer_after=20)
    await confiido.bookings.book(
        actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=at(10)
    )

    found = await confiido.calendar.consecutive_slots(expert.user_id, TOMORROW, 30)

    assert free(found) == ["09:00", "11:00", "11:15", "11:30"]
    for one in found:
        if not one.available:
            with pytest.raises(SlotTaken) as taken:
                await confiido.bookings.book(
                    actor=a_client(), expert=expert.user_id, session_type="video", duration=30, starts_at=one.starts_at
                )
            assert taken.value.next_starts[0] in (at(9), at(11))
    for start in (at(9), at(11, 30)):
        await confiido.bookings.book(
            actor=a_client(), expert=expert.user_id, session_type="video", duration=30, starts_at=start
        )


async def test_a_lapsed_hold_is_offered_before_anything_has_swept_it(confiido: "Confiido", clock: Clock) -> None:
    expert = await with_hours(confiido)
    await confiido.bookings.book(
        actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=at(10)
    )
    held = free(await confiido.calendar.slots(expert.user_id, TOMORROW))
    clock.advance(minutes=31)

    assert "10:00" not in held
    assert "10:00" in free(await confiido.calendar.slots(expert.user_id, TOMORROW))


async def test_the_minutes_of_the_session_that_is_moved_are_offered_to_it_with_its_own_buffers(
    confiido: "Confiido",
) -> None:
    expert = await with_hours(confiido)
    booked = await confiido.bookings.book(
        actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=at(10)
    )
    await confiido.bookings.book(
        actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=at(11)
    )
    longer = {"$set": {"bufferAfter": 30}}
    await confiido.store.update("lengthen buffers", "experts", {"_id": expert.id}, longer)

    moved = await confiido.calendar.consecutive_slots(
        expert.user_id, TOMORROW, 30, exclude_session=str(booked.session_id)
    )
    fresh = await confiido.calendar.consecutive_slots(expert.user_id, TOMORROW, 30)

    assert free(moved) == ["09:00", "09:15", "09:30", "09:45", "10:00", "10:15", "10:30", "11:30"]
    assert free(fresh) == ["09:00", "11:30"]


async def test_slots_cost_three_reads_however_many_sessions_there_are(confiido: "Confiido", store: Store) -> None:
    expert = await with_hours(confiido)
    for start in (at(9), at(10), at(11)):
        await confiido.bookings.book(
            actor=a_client(), expert=str(expert.id), session_type="video", duration=30, starts_at=start
        )
    before = store.commands

    await confiido.calendar.slots(expert.user_id, TOMORROW)

    assert store.commands - before == 3


async def test_who_set_no_hours_or_is_not_active_offers_no_slots(confiido: "Confiido") -> None:
    anytime = await make_expert(confiido)
    gone = await with_hours(confiido, is_active=False)

    assert await confiido.calendar.slots(anytime.user_id, TOMORROW) == []
    assert await confiido.calendar.slots(gone.user_id, TOMORROW) == []
    with pytest.raises(NotFound):
        await confiido.calendar.slots("0000", TOMORROW)


@pytest.mark.parametrize("duration", [0, 4, 1441])
async def test_slots_of_an_impossible_length_are_refused(confiido: "Confiido", duration: int) -> None:
    expert = await with_hours(confiido)

    with pytest.raises(Invalid):
        await confiido.calendar.consecutive_slots(expert.user_id, TOMORROW, duration)


async def test_next_starts_pass_over_what_is_taken(confiido: "Confiido") -> None:
    expert = await with_hours(confiido)
    await confiido.calendar.block(an_expert(expert), at(9), at(11, 20))

    found = await confiido.calendar.next_starts(expert, at(9), 30)

    assert found == [at(11, 30), at(9) + timedelta(days=1), at(9, 15) + timedelta(days=1)]
