"""Old data in memory, and what becomes of it, with no database but where ``migrate`` writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from confiido_booking import Confiido
from confiido_booking.migration import Applied, Options, Verified, apply, load_profile, verify
from confiido_booking.migration.assembly import Client, assemble
from confiido_booking.migration.intake import Reading
from confiido_booking.migration.profile import Profile
from confiido_booking.migration.reading import read
from confiido_booking.migration.scratch import Scratch, decoded

Raw = dict[str, Any]
AS_OF = datetime(2026, 1, 15, 6, 0, tzinfo=UTC)
CLIENT, EXPERT = ObjectId("6897a1000000000000000001"), ObjectId("6897a1000000000000000002")
CREATED = datetime(2025, 9, 3, 10, 0, tzinfo=UTC)


@dataclass
class MemorySource:
    """Tables as lists; what a test may change between two runs."""

    data: dict[str, list[Any]]
    name: str = "memory"

    def tables(self) -> Sequence[str]:
        return sorted(self.data)

    def read(self, table: str) -> Iterator[Any]:
        return iter(list(self.data[table]))

    def count(self, table: str) -> int | None:
        return len(self.data[table])


def options(**changes: Any) -> Options:
    return Options(**{"as_of": AS_OF, **changes})


def flat(**changes: Any) -> Raw:
    """An era B document: past, completed and paid, at 10:00 in India. ``None`` leaves a field out."""
    document = {
        "_id": ObjectId(),
        "clientId": CLIENT,
        "clientUserId": "9062",
        "clientEmail": "ada@example.org",
        "expertId": EXPERT,
        "expertUserId": "1534",
        "expertEmail": "grace@example.org",
        "sessionType": "video",
        "duration": 60,
        "scheduledDate": datetime(2025, 9, 12, tzinfo=UTC),
        "startTime": "10:00",
        "endTime": "11:00",
        "status": "completed",
        "price": 750,
        "currency": "INR",
        "paymentStatus": "paid",
        "createdAt": CREATED,
        "updatedAt": CREATED + timedelta(hours=1),
        "__v": 0,
    }
    changed = {**document, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def nested(*sessions: Raw, **changes: Any) -> Raw:
    """A nested document of these sessions."""
    document = {
        "_id": ObjectId(),
        "clientId": CLIENT,
        "clientUserId": "9062",
        "clientEmail": "ada@example.org",
        "sessions": list(sessions),
        "totalSessions": 7,
        "totalSpent": 1,
        "createdAt": CREATED,
        "updatedAt": CREATED + timedelta(days=1),
    }
    changed = {**document, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def inner(**changes: Any) -> Raw:
    """A nested session, with an id that says when it was booked."""
    session = flat(**changes)
    for name in ("clientId", "clientUserId", "clientEmail", "createdAt", "updatedAt", "__v"):
        session.pop(name, None)
    return {"sessionId": ObjectId.from_datetime(CREATED), **session}


@dataclass
class Outcome:
    """What a dump becomes. ``quarantine``: (reason, original)."""

    clients: list[Client]
    quarantine: list[tuple[str, Raw]]
    flags: Mapping[str, int]
    coercions: Mapping[str, int]
    read: int
    reading: Reading = field(repr=False)

    @property
    def sessions(self) -> list[Raw]:
        return [session for client in self.clients for session in client.sessions]

    @property
    def session(self) -> Raw:
        assert len(self.sessions) == 1, (self.sessions, self.quarantine)
        return self.sessions[0]

    @property
    def reason(self) -> str:
        assert len(self.quarantine) == 1
        assert not self.sessions
        return self.quarantine[0][0]

    def flags_of(self, index: int = 0) -> list[str]:
        flags: list[str] = self.sessions[index]["legacy"]["flags"]
        return flags


def becomes(
    *bookings: Any,
    users: Sequence[Raw] = (),
    experts: Sequence[Raw] = (),
    profile: str | Profile = "confiido-flat",
    tables: Mapping[str, list[Raw]] | None = None,
    **changes: Any,
) -> Outcome:
    """What these documents become."""
    data = {"bookings": list(bookings), "users": list(users), "experts": list(experts), **(tables or {})}
    source = MemorySource({name: rows for name, rows in data.items() if rows})
    loaded = load_profile(profile) if isinstance(profile, str) else profile
    with Scratch.open() as scratch:
        reading = read(scratch, source, loaded, options(**changes))
        clients = [assemble(scratch, c, run_id="run", as_of=reading.options.as_of) for c in scratch.client_ids()]
        rows = scratch.all("SELECT reason, original FROM quarantine ORDER BY rowid")
        quarantine = [(reason, decoded(original)["record"]) for reason, original in rows]
    return Outcome(clients, quarantine, reading.flags, reading.coercions.counts, reading.read, reading)


async def migrate(confiido: Confiido, source: Any, *, profile: str = "confiido-flat", **changes: Any) -> Applied:
    run = {name: changes.pop(name) for name in ("run_id", "in_place", "now") if name in changes}
    now = run.pop("now", AS_OF)
    return await apply(confiido, source, load_profile(profile), options(profile=profile, **changes), now=now, **run)


async def verified(confiido: Confiido, source: Any, applied: Applied) -> Verified:
    return await verify(confiido.store, source, load_profile(applied.run.options.profile), applied.run)


COLLECTIONS = ("bookings", "booking_archive", "service_sessions", "calendars", "experts", "users", "legacy_ids")


async def everything(confiido: Confiido, *collections: str) -> dict[str, list[Raw]]:
    """Every document, run ids taken out."""
    found: dict[str, list[Raw]] = {}
    for name in collections or COLLECTIONS:
        documents = await confiido.store.find("read all", name, {}, sort=[("_id", 1)])
        found[name] = [without_run(document) for document in documents]
    for calendar in found.get("calendars", []):
        calendar["busy"].sort(key=lambda entry: entry["claimId"])
    return found


def without_run(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_run(item) for name, item in value.items() if name != "runId"}
    if isinstance(value, list):
        return [without_run(item) for item in value]
    return value
