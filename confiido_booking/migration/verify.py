"""``confiido migrate verify``: the source is read once more and compared with what is stored, client by client."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import batched
from typing import Any

from bson import ObjectId

from confiido_booking.bookings import totals
from confiido_booking.database.store import Document, Store
from confiido_booking.migration.assembly import Client, assemble
from confiido_booking.migration.collecting import few_collections
from confiido_booking.migration.companions import led_to
from confiido_booking.migration.intake import Progress, Reading, no_progress, old_id
from confiido_booking.migration.profile import Profile
from confiido_booking.migration.quarantine import quarantined
from confiido_booking.migration.reading import read
from confiido_booking.migration.runs import Run
from confiido_booking.migration.scratch import Scratch
from confiido_booking.migration.sources import Source

_BATCH = 100
SHOWN = 1000
Sums = dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class Difference:
    """``kind``: missing_session, price, totals, missing_quarantine, unresolved_id, unresolved_reference, count,
    changed_in_both. ``subject``: what it is about."""

    kind: str
    subject: str
    sentence: str


@dataclass(slots=True, kw_only=True)
class Verified:
    """In = out + quarantined (+ matched: rows of two tables that are one session), and Σ price per currency.

    ``changed``: sessions that were changed in the new system since they came; their price is theirs now.
    ``dangling``: references that led nowhere in the source already; no fault of the migration.
    """

    read: int = 0
    found: int = 0
    quarantined: int = 0
    matched: int = 0
    clients: int = 0
    ids: int = 0
    changed: int = 0
    dangling: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    price_in: Sums = field(default_factory=dict)
    price_out: Sums = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    count_of_differences: int = 0

    @property
    def is_sound(self) -> bool:
        return not self.count_of_differences

    def differ(self, kind: str, subject: object, sentence: str) -> None:
        self.count_of_differences += 1
        if len(self.differences) < SHOWN:
            self.differences.append(Difference(kind, str(subject), sentence))


async def verify(
    store: Store, source: Source, profile: Profile, run: Run, *, progress: Progress = no_progress
) -> Verified:
    """Prove that nothing was lost or changed. Writes nothing."""
    result = Verified()
    with few_collections(), Scratch.open() as scratch:
        reading = read(scratch, source, profile, run.options, progress)
        result.read, result.matched = reading.read, reading.matched
        batch: list[Client] = []
        last: ObjectId | None = None
        for number, client_id in enumerate(scratch.client_ids()):
            if run.options.limit is not None and number >= run.options.limit:
                break
            last = client_id
            batch.append(assemble(scratch, client_id, run_id=run.id, as_of=run.options.as_of))
            if len(batch) == _BATCH:
                await _compare(store, batch, result)
                progress("verified", result.found, result.read)
                batch = []
        await _compare(store, batch, result)
        await _quarantine(store, reading, last, result)
        await _references(store, reading, result)
    if run.options.limit is None and result.read != result.found + result.quarantined + result.matched:
        sentence = f"{result.read} in, {result.found} out, {result.quarantined} quarantined, {result.matched} matched"
        if not result.count_of_differences:
            result.differ("count", "all", sentence)
    if result.price_in != result.price_out:
        result.differ("price", "all", f"Σ price in {_shown(result.price_in)}, out {_shown(result.price_out)}")
    return result


async def _compare(store: Store, clients: Sequence[Client], result: Verified) -> None:
    if not clients:
        return
    query = {"clientId": {"$in": [client.id for client in clients]}}
    bookings: dict[ObjectId, Document] = {
        document["clientId"]: document for document in await store.find("verify", "bookings", query)
    }
    history = [session["sessionId"] for client in clients for session in client.sessions]
    archive: dict[ObjectId, Document] = {}
    if any(booking["archived"]["sessions"] for booking in bookings.values()):
        found = await store.find("verify archive", "booking_archive", {"_id": {"$in": history}})
        archive = {document["_id"]: document["session"] for document in found}
    ids = [entry["_id"] for client in clients for entry in client.legacy_ids]
    known = await store.find("verify ids", "legacy_ids", {"_id": {"$in": ids}}, {"sessionId": 1, "clientId": 1})
    resolving = {document["_id"]: document for document in known}
    for client in clients:
        result.clients += 1
        booking = bookings.get(client.id)
        if booking is None:
            result.differ("missing_booking", client.id, f"The client's {len(client.sessions)} sessions are not there")
        else:
            _client(client, booking, archive, result)
        for entry in client.legacy_ids:
            result.ids += 1
            stored = resolving.get(entry["_id"])
            if stored is None or stored.get("sessionId") != entry.get("sessionId"):
                result.differ("unresolved_id", entry["_id"], "The old id does not lead to its session")


def _client(client: Client, booking: Document, archive: dict[ObjectId, Document], result: Verified) -> None:
    stored = {session["sessionId"]: session for session in booking["sessions"]}
    expected: Sums = {}
    actual: Sums = {}
    for session in client.sessions:
        own = stored.get(session["sessionId"]) or archive.get(session["sessionId"])
        _add(expected, session)
        if own is None:
            result.differ("missing_session", session["sessionId"], f"Not in the document of client {client.id}")
            continue
        result.found += 1
        if _is_changed(own):
            result.changed += 1
        _add(actual, own)
        if _digest(own) != _digest(session):
            result.differ("changed_in_both", session["sessionId"], "The source says something else than what came")
    if expected != actual:
        result.differ("price", client.id, f"Σ price in {_shown(expected)}, out {_shown(actual)}")
    for sums, part in ((result.price_in, expected), (result.price_out, actual)):
        for currency, amount in part.items():
            sums[currency] = sums.get(currency, Decimal(0)) + amount
    computed = totals.of(map(totals.line, booking["sessions"]), booking["archived"]["sums"])
    kept = {c: {name: value.to_decimal() for name, value in sums.items()} for c, sums in booking["totals"].items()}
    if computed != kept or booking["totalSessions"] != len(booking["sessions"]) + booking["archived"]["sessions"]:
        result.differ("totals", booking["_id"], "The totals are not those of the sessions")


def _is_changed(session: Document) -> bool:
    return [entry.get("action") for entry in session.get("history", [])] != ["import"]


def _digest(session: Document) -> Any:
    return (session.get("legacy") or {}).get("digest")


def _add(sums: Sums, session: Document) -> None:
    currency = session["currency"]
    sums[currency] = sums.get(currency, Decimal(0)) + session["price"].to_decimal()


async def _quarantine(store: Store, reading: Reading, last: ObjectId | None, result: Verified) -> None:
    which = quarantined(reading, last)
    rows = reading.scratch.all(f"SELECT id, reason FROM quarantine WHERE {which} ORDER BY id")  # noqa: S608
    for batch in batched(rows, 500, strict=False):
        part = {ObjectId(identifier): reason for identifier, reason in batch}
        query = {"_id": {"$in": list(part)}}
        found = await store.find("verify quarantine", "migration_quarantine", query, {"reason": 1})
        there = {document["_id"] for document in found}
        for identifier, reason in part.items():
            if identifier in there:
                result.quarantined += 1
                result.reasons[reason] += 1
            else:
                result.differ("missing_quarantine", identifier, f"A record that was refused ({reason}) is not kept")


async def _references(store: Store, reading: Reading, result: Verified) -> None:
    """Reviews and invoices that pointed at old ids: each names its session, or led nowhere before."""
    for batch in batched(reading.scratch.all("SELECT name, key, target FROM refs ORDER BY id"), 500, strict=False):
        by_name: dict[str, list[tuple[Any, str, ObjectId | None]]] = {}
        for name, key, target in batch:
            found = led_to(reading, target)
            if found is None and reading.options.client is not None:
                continue
            by_name.setdefault(name, []).append((old_id(key), target, found[0] if found else None))
        for name, references in by_name.items():
            ids = [identifier for identifier, _, _ in references]
            stored = await store.find("verify references", name, {"_id": {"$in": ids}}, {"sessionId": 1})
            there = {document["_id"]: document.get("sessionId") for document in stored}
            for identifier, target, session_id in references:
                result.ids += bool(target)
                if identifier not in there:
                    result.differ("unresolved_reference", f"{name} {identifier}", "It is not there")
                elif session_id is not None and there[identifier] != session_id:
                    sentence = f"It does not name the session {session_id}, which its old id leads to"
                    result.differ("unresolved_reference", f"{name} {identifier}", sentence)
                elif target and session_id is None:
                    _dangling(reading, name, target, result)


def _dangling(reading: Reading, name: str, target: str, result: Verified) -> None:
    result.dangling += 1
    if any(reading.scratch.one("SELECT 1 FROM quarantine WHERE key = ?", part) for part in target.split("\n")):
        result.reasons[f"reference of {name} to a quarantined record"] += 1


def _shown(sums: Sums) -> str:
    return ", ".join(f"{amount} {currency}" for currency, amount in sorted(sums.items())) or "nothing"
