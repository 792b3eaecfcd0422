"""Every trace that the protocol's model prints for a rule left out, as a fixed test (PROTOCOL, to be tested: 3).

Each steps processes exactly as the trace does; with the rule in place the laws hold. What concerns workshops, seats and
late payments comes with their issues. Named after the rules of PROTOCOL.md.
"""

import asyncio
from datetime import timedelta

from confiido_booking.bookings.archive import Archive
from tests.builders import an_admin
from tests.concurrency.world import LATER, NOON, OVERLAPPING, Builder
from tests.laws.check import check_laws
from tests.processes import outcome, processes

OLD = timedelta(seconds=61)


async def test_undo_claims_the_minutes_again(world: Builder) -> None:
    """undo_claim: completed, the minutes archived away from the calendar, undone, then booked by another."""
    here = await world("completed")
    await here.confiido.store.collection("calendars").update_many({}, {"$set": {"busy": []}})

    undone = await outcome(here.do(here.confiido, "undo"))
    second = await outcome(here.book(here.confiido, here.bo, OVERLAPPING))

    assert (undone, second) == ("ok", "slot_taken")
    await check_laws(here.confiido)


async def test_undo_is_refused_where_the_client_is_busy(world: Builder) -> None:
    """undo_claim: while it was completed the client booked another at the time."""
    here = await world("completed")
    await here.book(here.confiido, here.ada, OVERLAPPING, expert=here.other_expert)

    undone = await outcome(here.do(here.confiido, "undo"))

    assert undone == "client_busy"
    await check_laws(here.confiido)


async def test_undo_of_what_has_ended_is_refused_where_the_client_was_busy(world: Builder) -> None:
    """undo_claim in the past: nothing to claim, and still no two active sessions of one client (L4)."""
    here = await world("completed")
    await here.book(here.confiido, here.ada, OVERLAPPING, expert=here.other_expert)
    here.clock.now = NOON + timedelta(minutes=31)
    other = next(s for s in await here.sessions() if s["sessionId"] != here.session_id)
    await here.confiido.store.collection("bookings").update_one(
        {"_id": here.booking_id, "sessions.sessionId": other["sessionId"]}, {"$unset": {"sessions.$.timeoutAt": ""}}
    )

    undone = await outcome(here.do(here.confiido, "undo"))

    assert undone == "client_busy"
    await check_laws(here.confiido, settled=False)


async def test_the_doctor_makes_the_service_session_a_crash_left_out(world: Builder) -> None:
    """svc_proj: 2b done, 2a never."""
    here = await world("nothing")
    async with processes(here.confiido, "booking") as (booking,):
        await booking.start(here.book(booking.confiido, here.ada, NOON))
        await booking.run_to(4, last="insert service session")
        assert "push" in booking.trace
        assert "insert service session" not in booking.trace
        await booking.die()
        here.clock.advance(seconds=OLD.total_seconds())

        await here.confiido.doctor.repair()

        await check_laws(here.confiido)


async def test_a_completed_session_stands_on_its_claim(world: Builder) -> None:
    """stand_done: another client's booking must not heal it away before its end."""
    here = await world("completed")

    booked = await outcome(here.book(here.confiido, here.bo, NOON))

    assert booked == "slot_taken"
    assert {claim["sessionId"] for claim in await here.claims()} == {here.session_id}


async def test_a_fenced_claim_takes_no_push(world: Builder) -> None:
    """push_fence: asleep before its push, while another client's booking heals the claim away."""
    here = await world("an empty booking")
    async with processes(here.confiido, "sleeper") as (sleeper,):
        await sleeper.start(here.book(sleeper.confiido, here.ada, NOON))
        await sleeper.run_to_step("insert service session")
        await sleeper.step()
        here.clock.advance(seconds=OLD.total_seconds())
        second = await outcome(here.book(here.confiido, here.bo, OVERLAPPING))

        first = await sleeper.finish()

        assert (first, second) == ("try_again", "ok")
        await check_laws(here.confiido)


async def test_a_fence_holds_where_the_client_had_no_document(world: Builder) -> None:
    """fence_missing, fence_client: the fence makes the document it is written in, addressed by the client."""
    here = await world("nothing")
    async with processes(here.confiido, "sleeper") as (sleeper,):
        await sleeper.start(here.book(sleeper.confiido, here.ada, NOON))
        await sleeper.run_to_step("insert service session")
        here.clock.advance(seconds=OLD.total_seconds())
        second = await outcome(here.book(here.confiido, here.bo, OVERLAPPING))

        first = await sleeper.finish()

        assert (first, second) == ("try_again", "ok")
        assert len(await here.confiido.store.collection("bookings").find().to_list()) == 2
        await check_laws(here.confiido)


async def test_a_push_between_the_read_and_the_fence_stands(world: Builder) -> None:
    """fence_atomic: the healer has read that nothing stands there, then the push comes, then the fence."""
    here = await world("an empty booking")
    async with processes(here.confiido, "sleeper", "healer") as (sleeper, healer):
        await sleeper.start(here.book(sleeper.confiido, here.ada, NOON))
        await sleeper.run_to_step("insert service session")
        here.clock.advance(seconds=OLD.total_seconds())
        await healer.start(here.book(healer.confiido, here.bo, OVERLAPPING))
        await healer.run_to_step("fence")

        answers = [await sleeper.finish(), await healer.finish()]

        assert answers == ["ok", "slot_taken"]
        await check_laws(here.confiido)


async def test_a_session_that_came_and_moved_before_the_fence_is_not_buried(world: Builder) -> None:
    """HEAL 3 reads after the fence: the healer's first read knows nothing of a session that now stands elsewhere."""
    here = await world("an empty booking")
    async with processes(here.confiido, "sleeper", "healer", "mover") as (sleeper, healer, mover):
        await sleeper.start(here.book(sleeper.confiido, here.ada, NOON))
        await sleeper.run_to_step("insert service session")
        here.clock.advance(seconds=OLD.total_seconds())
        await healer.start(here.book(healer.confiido, here.bo, NOON))
        await healer.run_to_step("fence")
        await sleeper.finish()
        here.session_id = sleeper.result.session_id
        await mover.start(here.move(mover.confiido, LATER))
        await mover.run_to_step("release")

        await healer.finish()
        await mover.finish()

        await check_laws(here.confiido)


async def test_a_cancel_says_canceled_before_it_frees_the_minutes(world: Builder) -> None:
    """svc_first: asleep between the two, no other service session may be scheduled on the minutes."""
    here = await world("confirmed")
    async with processes(here.confiido, "canceller") as (canceller,):
        await canceller.start(here.do(canceller.confiido, "cancel"))
        for _ in range(3):
            await here.book(here.confiido, here.bo, LATER + timedelta(hours=len(await here.sessions())))
            await outcome(here.book(here.confiido, here.bo, NOON))
            await check_laws(here.confiido, settled=False)
            if not canceller.is_done:
                await canceller.step()


async def test_a_lapsed_hold_in_the_way_is_expired_before_the_push(world: Builder) -> None:
    """l4_pending: a confirm from before the deadline may still come to the lapsed hold."""
    here = await world("pending")
    async with processes(here.confiido, "confirmer") as (confirmer,):
        await confirmer.start(here.do(confirmer.confiido, "confirm"))
        here.clock.advance(minutes=31)
        booked = await outcome(here.book(here.confiido, here.ada, OVERLAPPING, expert=here.other_expert))

        confirmed = await confirmer.finish()

        assert (booked, confirmed) == ("ok", "transition_refused")
        await check_laws(here.confiido)


async def test_a_move_looks_at_the_client_s_other_sessions(world: Builder) -> None:
    """l4_resched: moved away, booked elsewhere at the old time, moved back."""
    here = await world("confirmed")
    await here.move(here.confiido, LATER)
    await here.book(here.confiido, here.ada, OVERLAPPING, expert=here.other_expert)

    moved = await outcome(here.move(here.confiido, NOON))

    assert moved == "client_busy"
    await check_laws(here.confiido)


async def test_a_cancel_releases_the_claim_that_the_deciding_update_returned(world: Builder) -> None:
    """release_ret: moved between a cancel's begin and its decision."""
    here = await world("confirmed")
    async with processes(here.confiido, "canceller") as (canceller,):
        await canceller.start(here.do(canceller.confiido, "cancel"))
        await here.move(here.confiido, LATER)

        await canceller.finish()

        assert await here.claims() == []
        await check_laws(here.confiido)


async def test_of_two_moves_from_one_version_the_one_that_came_second_moves_what_the_first_had_moved(
    world: Builder,
) -> None:
    """resched_ver: both have claimed; the second that decides gives its claim back, reads anew and decides again."""
    here = await world("confirmed")
    later_still = NOON + timedelta(hours=4)
    async with processes(here.confiido, "first", "second") as (first, second):
        await first.start(here.move(first.confiido, later_still))
        await second.start(here.move(second.confiido, LATER))
        await first.run_to_step("reschedule")
        await second.run_to_step("reschedule")

        answers = [await second.finish(), await first.finish()]

        assert answers == ["ok", "ok"]
        assert (await here.session())["rescheduleHistory"][-1]["previousStartsAt"] == LATER
        assert (await here.session())["startsAt"] == later_still
        assert len(await here.claims()) == 1
        await check_laws(here.confiido)


async def test_an_archive_copy_of_an_older_version_does_not_win(world: Builder) -> None:
    """arch_ver: asleep with an old copy, while the session is undone, completed and archived again."""
    here = await world("old")
    async with processes(here.confiido, "archiver") as (archiver,):
        await archiver.start(here.do(archiver.confiido, "archive"))
        await archiver.run_to_step("archive copy")
        await here.do(here.confiido, "undo")
        await here.do(here.confiido, "complete")
        here.clock.advance(days=40)
        await here.do(here.confiido, "archive")

        await archiver.finish()

        assert (await here.session())["version"] == 5
        await check_laws(here.confiido)


async def test_an_archive_pulls_only_the_version_it_copied(world: Builder) -> None:
    """arch_pull: undone between copy and pull, the session stays."""
    here = await world("old")
    async with processes(here.confiido, "archiver") as (archiver,):
        await archiver.start(here.do(archiver.confiido, "archive"))
        await archiver.run_to_step("archive pull")
        await here.do(here.confiido, "undo")

        await archiver.finish()

        assert [s["status"] for s in await here.sessions()] == ["confirmed"]
        await check_laws(here.confiido)


async def test_a_cancelled_session_stays_where_its_key_is_looked_for_for_a_day(world: Builder) -> None:
    """arch_key: expired and swept at once, then the same key again."""
    here = await world("nothing")
    first = await here.book(here.confiido, here.ada, NOON, key="one")
    here.clock.advance(minutes=31)
    await here.confiido.chores.expire_holds()
    await Archive(here.confiido.store).client(first.document["clientId"], now=here.clock(), older_than=timedelta(0))

    again = await here.book(here.confiido, here.ada, NOON, key="one")

    assert again.session_id == first.session_id
    await check_laws(here.confiido)


async def test_a_reader_between_copy_and_pull_and_after_sees_the_session(world: Builder) -> None:
    """read_order: the booking first, then the archive."""
    here = await world("old")
    async with processes(here.confiido, "archiver", "reader") as (archiver, reader):
        await archiver.start(here.do(archiver.confiido, "archive"))
        await archiver.run_to_step("archive pull")
        await reader.start(reader.confiido.bookings.find_session(here.session_id, actor=an_admin()))
        await reader.run_to_step("read booking")
        await archiver.finish()

        found = await reader.finish()

        assert found == "ok"


async def test_a_repeat_finds_its_own_key_before_it_is_refused(world: Builder) -> None:
    """key_first: the first has succeeded; the minutes are its own."""
    here = await world("nothing")
    first = await here.book(here.confiido, here.ada, NOON, key="one")

    again = await here.book(here.confiido, here.ada, NOON, key="one")

    assert again.session_id == first.session_id
    assert again.repeated


async def test_two_payments_count_once(world: Builder) -> None:
    """pay_dedupe."""
    here = await world("pending")

    await asyncio.gather(here.do(here.confiido, "pay"), here.do(here.confiido, "pay"))

    assert (await here.session())["paidAmount"] == (await here.session())["price"]
    await check_laws(here.confiido)


async def test_a_healed_claim_s_service_session_says_canceled_before_the_minutes_are_free(world: Builder) -> None:
    """abandon_upsert: died between 2a and 2b; the ghost is canceled when another takes the minutes."""
    here = await world("nothing")
    async with processes(here.confiido, "dead", "second") as (dead, second):
        await dead.start(here.book(dead.confiido, here.ada, NOON))
        await dead.run_to(2)
        await dead.die()
        here.clock.advance(seconds=OLD.total_seconds())
        await second.start(here.book(second.confiido, here.bo, OVERLAPPING))
        while not second.is_done:
            await second.step()
            await check_laws(here.confiido, settled=False)

        assert second.outcome == "ok"
        await check_laws(here.confiido)


async def test_healing_a_move_leaves_the_session_s_service_session_at_its_present_time(world: Builder) -> None:
    """heal_moves: the move has decided and died; who takes the old minutes first writes the session's new time."""
    here = await world("confirmed")
    async with processes(here.confiido, "dead", "second") as (dead, second):
        await dead.start(here.move(dead.confiido, LATER))
        await dead.run_to_step("project")
        await dead.die()
        here.clock.advance(seconds=OLD.total_seconds())
        await second.start(here.book(second.confiido, here.bo, NOON))
        while not second.is_done:
            await second.step()
            await check_laws(here.confiido, settled=False)

        assert second.outcome == "ok"
        await check_laws(here.confiido)


async def test_what_is_archived_claims_nothing(world: Builder) -> None:
    """arch_claim: a cancel died before its release; archived, its minutes are free."""
    here = await world("confirmed")
    async with processes(here.confiido, "dead") as (dead,):
        await dead.start(here.do(dead.confiido, "cancel"))
        await dead.run_to_step("release")
        await dead.die()
        here.clock.advance(hours=25)

        await here.do(here.confiido, "archive")

        assert await here.sessions() == []
        assert await here.claims() == []


async def test_a_move_ignores_its_own_old_claim_only(world: Builder) -> None:
    """resched_excl: a quarter of an hour later overlaps only itself; another's minutes stay another's."""
    here = await world("confirmed")
    await here.book(here.confiido, here.bo, LATER)

    moves = [await outcome(here.move(here.confiido, OVERLAPPING)), await outcome(here.move(here.confiido, LATER))]

    assert moves == ["ok", "slot_taken"]
    await check_laws(here.confiido)
