"""What the doctor looks at in the ledger: whether entries, sessions and invoices say the same of all money (L7)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking.billing.models import Allocation as InvoiceAllocation
from confiido_booking.bookings.models import CURRENT
from confiido_booking.database.store import Document
from confiido_booking.ledger import rules
from confiido_booking.ledger.locating import openings
from confiido_booking.ledger.models import COLLECTION, Entry, EntryKind, Place
from confiido_booking.ledger.service import Ledger
from confiido_booking.money import ZERO

BATCH = 200
Cure = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Complaint:
    """What does not fit. Without a ``cure`` a person has to settle it."""

    kind: str
    subject: ObjectId
    sentence: str
    cure: Cure | None = None


def of_sessions(sessions: Sequence[Document]) -> list[Complaint]:
    """Sessions on which less money is than their postings say."""
    return [
        Complaint("ledger", session["sessionId"], "Entries say of more money than is on the session")
        for session in sessions
        if min(rules.unexplained(session)) < 0
    ]


def unopened(ledger: Ledger, document: Document) -> list[Cure]:
    """Money from before the ledger, on the sessions of a booking: no fault, but an entry can be made of it."""
    return [
        _opening(ledger, document, session)
        for session in document["sessions"]
        if max(rules.unexplained(session)) > 0 and openings(session, document)
    ]


def _opening(ledger: Ledger, document: Document, session: Document) -> Cure:
    entry = openings(session, document)[0]
    return lambda: ledger.applying.located(entry)


async def open_archived(ledger: Ledger, kept: Document) -> int:
    """The same for an archived session, in its copy. How many entries were made."""
    session = kept["session"]
    document = {"_id": kept.get("bookingId"), "clientId": kept["clientId"], "createdAt": session.get("createdTime")}
    if max(rules.unexplained(session)) <= 0 or document["createdAt"] is None:
        return 0
    wanted = [each for each in openings(session, document) if not rules.posting_of(session, each.id)]
    stored = [await ledger.entries.insert(each) for each in wanted]
    as_read = {"_id": kept["_id"], "version": kept["version"], "session.ledger": session.get("ledger")}
    opened = {"$set": {"session.ledger": rules.opened(session, stored)}}
    if not await ledger.context.store.update("open archived ledger", "booking_archive", as_read, opened):
        return 0
    for entry in stored:
        await ledger.applying.opening_noted(entry)
    return len(stored)


async def of_entries(ledger: Ledger) -> AsyncIterator[Complaint]:
    """Entries that are not finished, do not sum to their amount, or of which their session or invoice says else."""
    batch: list[Entry] = []
    async for document in ledger.context.store.walk(COLLECTION, {}):
        entry = Entry.model_validate(document)
        if entry.due_at is not None and entry.due_at <= ledger.context.clock():
            yield Complaint("unapplied_payment", entry.id, "An entry was not applied", _finishing(ledger, entry))
        if entry.applied_at is None:
            continue
        if sum((part.amount for part in entry.allocations), ZERO) != entry.amount:
            yield Complaint("ledger", entry.id, "The allocations do not sum to the amount")
        batch.append(entry)
        if len(batch) == BATCH:
            for complaint in await _of_places(ledger, batch):
                yield complaint
            batch = []
    for complaint in await _of_places(ledger, batch):
        yield complaint


def _finishing(ledger: Ledger, entry: Entry) -> Cure:
    return lambda: ledger.finish(entry)


async def _of_places(ledger: Ledger, entries: Sequence[Entry]) -> list[Complaint]:
    said: dict[tuple[ObjectId, ObjectId], Decimal] = {}
    for entry in entries:
        for part in entry.allocations:
            if part.to in (Place.SESSION, Place.INVOICE) and part.id is not None:
                said[entry.id, part.id] = said.get((entry.id, part.id), ZERO) + part.amount
    if not said:
        return []
    there = await _on_sessions(ledger, entries) | await _on_invoices(ledger, entries)
    sentence = "The entry says of another amount than its session or invoice"
    return [
        Complaint("ledger", entry_id, sentence)
        for (entry_id, place), amount in said.items()
        if there.get((entry_id, place), ZERO) != amount
    ]


async def _on_sessions(ledger: Ledger, entries: Sequence[Entry]) -> dict[tuple[ObjectId, ObjectId], Decimal]:
    ids = _named(entries, Place.SESSION)
    store, query = ledger.context.store, {"clientId": {"$in": [each.client_id for each in entries if each.client_id]}}
    columns = {"sessions.sessionId": 1, "sessions.ledger": 1}
    found = await store.find("walk", "bookings", {**query, **CURRENT}, columns)
    sessions = {each["sessionId"]: each for booking in found for each in booking["sessions"]}
    missing = [each for each in ids if each not in sessions]
    for kept in await store.find("walk", "booking_archive", {"_id": {"$in": missing}}) if missing else []:
        sessions[kept["_id"]] = kept["session"]
    for moved in [each for each in missing if each not in sessions]:  # its client was merged into another
        listed = {"listing.sessionId": moved}
        event = await store.find_one("find session", "service_sessions", listed, {"listing.clientId": 1})
        owner = {"clientId": event["listing"]["clientId"], **CURRENT} if event else None
        booking = await store.find_one("read booking", "bookings", owner, columns) if owner else None
        sessions |= {each["sessionId"]: each for each in (booking or {}).get("sessions", [])}
    return {
        (posting.id, session_id): posting.amount
        for session_id, session in sessions.items()
        for posting in rules.postings(session)
    }


async def _on_invoices(ledger: Ledger, entries: Sequence[Entry]) -> dict[tuple[ObjectId, ObjectId], Decimal]:
    ids = _named(entries, Place.INVOICE)
    query: dict[str, Any] = {"_id": {"$in": ids}}
    found = await ledger.context.store.find("walk", "invoices", query, {"allocations": 1}) if ids else []
    kinds = {str(each.id): (each.id, -1 if each.kind is not EntryKind.PAYMENT else 1) for each in entries}
    there = {}
    for invoice in found:
        for stored in invoice.get("allocations", []):
            allocation = InvoiceAllocation.model_validate(stored)
            if allocation.payment_id in kinds:
                entry_id, sign = kinds[allocation.payment_id]
                there[entry_id, invoice["_id"]] = sign * allocation.amount
    return there


def _named(entries: Sequence[Entry], place: Place) -> list[ObjectId]:
    return [part.id for entry in entries for part in entry.allocations if part.to is place and part.id is not None]
