"""What ``plan`` says is what ``apply`` does: the same counts, by the same rules; how far it is, and how fast it may."""

from datetime import UTC, datetime, timedelta
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
from bson import ObjectId
from rich.console import Console

from confiido_booking import Confiido
from confiido_booking.migration import apply as apply_run
from confiido_booking.migration import load_profile, plan
from confiido_booking.migration.pace import Pace
from confiido_booking.migration.plan import Plan
from confiido_booking.migration.report import show_plan
from tests.builders import Clock
from tests.migration.harness import AS_OF, CREATED, MemorySource, flat, migrate, options, verified
from tests.migration.test_profiles import COMING, PRACTITIONERS, SERVICES, WORKSHOP, estuary, event

FUTURE = datetime(2026, 3, 9, tzinfo=UTC)


def planned(source: MemorySource, profile: str = "confiido-flat", **changes: Any) -> Plan:
    return plan(source, load_profile(profile), options(profile=profile, **changes))


def of(number: int, **changes: Any) -> dict[str, Any]:
    """A client's own booking, later than those of lower numbers."""
    return flat(
        clientId=ObjectId(f"{number:024x}"),
        clientEmail=f"client{number}@example.org",
        createdAt=CREATED + timedelta(minutes=number),
        **changes,
    )


async def test_plan_and_apply_count_the_same_double_bookings_and_list_those_to_come(confiido: Confiido) -> None:
    coming = {"status": "confirmed", "scheduledDate": FUTURE}
    rows = [of(1), of(2), of(3, status="confirmed"), of(4, **coming), of(5, **coming), of(6, expertId=None, **coming)]
    source = MemorySource({"bookings": rows})

    made = planned(source)
    applied = await migrate(confiido, source)

    assert (made.double_bookings, made.double_bookings_to_come) == (3, 1)
    assert (applied.counts["double_bookings"], applied.counts["double_bookings_to_come"]) == (3, 1)
    assert applied.conflicts == [rows[4]["_id"]] == [ObjectId(d.session) for d in made.doubles if d.to_come]
    unclaimed = {finding.name: finding.cases for finding in made.irregularities}["expert_unclaimed"]
    assert applied.counts["expert_unclaimed"] == unclaimed == 1
    assert (await confiido.doctor.examine()).findings == []


async def test_past_double_bookings_are_counted_and_nothing_is_to_settle(confiido: Confiido) -> None:
    source = MemorySource({"bookings": [of(1), of(2), of(3, status="confirmed")]})

    applied = await migrate(confiido, source)

    assert (applied.counts["double_bookings"], applied.conflicts) == (planned(source).double_bookings, [])
    assert applied.counts["double_bookings"] == 2


async def test_workshops_to_come_are_counted_alike_too(confiido: Confiido, clock: Clock) -> None:
    rows = [estuary(id=n, user_id=n, order_id=n, service_session_id=10 + n) for n in (1, 2, 3)]
    events = [event(id=n, **WORKSHOP, **COMING) for n in (11, 12)] + [event(id=13, **COMING)]
    tables = {"bookings": rows, "service_sessions": events, "services": SERVICES, "practitioners": PRACTITIONERS}
    source = MemorySource(tables)

    made = planned(source, "estuary", as_of=clock.now)
    applied = await migrate(confiido, source, profile="estuary", as_of=clock.now, now=clock.now)

    assert (made.double_bookings, made.double_bookings_to_come) == (2, 2)
    assert (applied.counts["double_bookings"], applied.counts["double_bookings_to_come"]) == (2, 2)
    assert {str(identifier) for identifier in applied.conflicts} == {double.session for double in made.doubles}


async def test_a_seat_that_the_old_system_gave_back_or_moved_follows_at_the_next_run(
    confiido: Confiido, clock: Clock
) -> None:
    later = {name: moment + timedelta(days=1) for name, moment in COMING.items()}
    rows = [estuary(id=n, user_id=n, order_id=n) for n in (1, 2, 3)]
    events = [event(id=11, **WORKSHOP, **COMING), event(id=12, **WORKSHOP, **later)]
    tables = {"bookings": rows, "service_sessions": events, "services": SERVICES, "practitioners": PRACTITIONERS}
    source = MemorySource(tables)
    when = {"profile": "estuary", "as_of": clock.now, "now": clock.now}
    rows.append(estuary(id=4, user_id=4, order_id=4, service_session_id=12))
    await migrate(confiido, source, **when)
    assert (await confiido.doctor.examine()).findings == []
    source.data["bookings"] = [
        {**rows[0], "status": "canceled"},
        {**rows[1], "service_session_id": 12},
        {**rows[2], "price_charged_cents": 5000},
        rows[3],
    ]

    applied = await migrate(confiido, source, **when)

    stored = await confiido.store.find("read", "service_sessions", {"visibility": "public"}, sort=[("startsAt", 1)])
    bookings = await confiido.store.find("read", "bookings", {})
    claims = {session["claimId"] for booking in bookings for session in booking["sessions"]}
    assert applied.counts["taken_over"] == 3
    assert [found["currentParticipants"] for found in stored] == [1, 2]
    assert {seat["claimId"] for found in stored for seat in found["seats"]} <= claims
    assert (await confiido.doctor.examine()).findings == []
    assert (await verified(confiido, source, applied)).differences == []


async def test_a_limit_holds_for_the_quarantine_too_and_the_rest_comes_without_it(confiido: Confiido) -> None:
    rows = [of(1), of(1, status="zombie"), of(2), of(2, status="zombie"), flat(clientId=None, status="zombie")]
    source = MemorySource({"bookings": rows})

    made = planned(source, limit=1)
    first = await migrate(confiido, source, run_id="first", limit=1)
    sound = await verified(confiido, source, first)
    rest = await migrate(confiido, source, run_id="rest")

    assert (made.clients, made.quarantined) == (first.counts["clients"], first.counts["quarantined"]) == (1, 1)
    assert (sound.differences, sound.quarantined) == ([], 1)
    assert rest.counts["quarantined"] == 2
    assert (await verified(confiido, source, rest)).differences == []


async def test_an_original_that_no_document_can_hold_is_quarantined_with_its_size(confiido: Confiido) -> None:
    source = MemorySource({"bookings": [flat(), flat(notes="x" * 15_500_000)]})

    applied = await migrate(confiido, source)

    (kept,) = await confiido.store.find("read", "migration_quarantine", {})
    assert kept["reason"] == "too_large"
    assert kept["original"]["bytes"] > 15_500_000
    assert (await verified(confiido, source, applied)).is_sound


def test_a_plan_lists_the_clients_whose_oldest_sessions_go_to_the_archive() -> None:
    rows = [flat(createdAt=CREATED + timedelta(minutes=n)) for n in range(205)]

    made = planned(MemorySource({"bookings": [*rows, of(1)]}))

    assert made.large_clients == [(str(rows[0]["clientId"]), 205)]
    assert made.archived == 5


def test_ids_of_double_bookings_are_whole_in_a_narrow_terminal() -> None:
    made, shown = planned(MemorySource({"bookings": [of(1), of(2)]})), StringIO()

    show_plan(made, Console(width=80, file=shown))

    (double,) = made.doubles
    assert all(text in shown.getvalue() for text in (double.expert, double.stands, double.session, double.starts_at))
    assert "HISTORY" not in shown.getvalue()


async def test_a_pace_waits_just_as_long_as_the_rate_demands() -> None:
    now, waited = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    pace = Pace(50, clock=lambda: now[0], sleep=sleep)
    await pace.keep(100)
    await pace.keep(100)
    now[0] += 10
    await pace.keep(500)
    await pace.keep(700)

    assert waited == [2, 2]
    await Pace(None, clock=lambda: now[0], sleep=sleep).keep(10_000)
    assert waited == [2, 2]


async def test_apply_keeps_the_pace_and_tells_how_far_it_is(
    confiido: Confiido, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces, told = list[Pace](), list[tuple[int, int | None]]()
    monkeypatch.setattr("confiido_booking.migration.writing.CLIENTS_A_BATCH", 1)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def paced(rate: float | None) -> Pace:
        paces.append(Pace(rate, clock=lambda: 0, sleep=sleep))
        return paces[-1]

    slept: list[float] = []
    monkeypatch.setattr(import_module("confiido_booking.migration.apply"), "Pace", paced)
    source = MemorySource({"bookings": [*(of(n) for n in range(1, 6)), of(7, status="zombie")]})

    def watch(stage: str, done: int, total: int | None = None) -> None:
        if stage == "written":
            told.append((done, total))

    profile = load_profile("confiido-flat")
    await apply_run(confiido, source, profile, options(), now=AS_OF, rate=2, progress=watch)

    assert [pace.rate for pace in paces] == [2]
    assert slept
    assert max(slept) <= 5 / 2
    assert {total for _, total in told} == {5}
    assert max(done for done, _ in told) == 5
