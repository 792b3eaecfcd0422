"""What stands beside the bookings: experts with their calendars, users with seed 003's statistics, and whatever
pointed at an old id (reviews, invoices, messages), which now also names the session."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from bson import Decimal128, ObjectId
from pymongo import UpdateOne

from confiido_booking.bookings.statuses import Medium
from confiido_booking.customers.rules import email_key
from confiido_booking.database.store import Document, Store
from confiido_booking.migration.coercions import Refusal, folded
from confiido_booking.migration.intake import Reading, old_id
from confiido_booking.migration.people import number
from confiido_booking.migration.runs import Run
from confiido_booking.migration.scratch import decoded
from confiido_booking.migration.writing import LISTED, insert_missing

_BATCH = 500
_COMMENTS = ("comment", "text", "review", "content")
_LINKED = ("sessionId", "clientId", "legacy", "expertId", "rating", "comment", "createdAt")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Companions:
    """Each document is made once: what is there already, from an earlier run or from the live app, stays."""

    store: Store
    reading: Reading
    run: Run

    async def experts(self) -> int:
        query = "SELECT id, key, user, number, email, name, doc FROM experts ORDER BY id"
        made = 0
        for rows in _batches(self.reading.scratch.all(query)):
            experts = [self._expert(*row) for row in rows]
            if self.run.in_place:
                made += await self._convert(experts)
            else:
                made += await self._make("experts", experts)
            await self._make("calendars", [{"_id": expert["_id"], "busy": []} for expert in experts])
        return made

    def _expert(self, *row: Any) -> Document:
        identifier, key, user, own, email, name, doc = row
        coercions = self.reading.coercions
        facts = decoded(doc)
        if "whole" in facts:
            return self._brought(facts["whole"])
        user_key = coercions.object_id(user) if user else None
        kept = dict(facts.get("unmapped") or {})
        currency = _quiet(lambda: coercions.currency(facts.get("currency"))) or self.reading.options.currency
        offers = self._offers(facts.get("sessionTypes"), currency, kept)
        created = _quiet(lambda: coercions.moment(facts.get("createdAt"))) or _birth(identifier, key)
        expert: Document = {"_id": ObjectId(identifier), "userId": user_key or ObjectId(identifier)}
        named = (("expertUserId", number(own)), ("email", email), ("name", name or ""), ("title", facts.get("title")))
        expert |= {field: value for field, value in named if value is not None}
        return expert | {
            "timezone": self.reading.options.timezone,  # HISTORY 5: the stored "UTC" is nobody's choice
            "sessionTypes": offers,
            "bufferBefore": 0,
            "bufferAfter": 0,
            "minNotice": 0,
            "horizon": 365,
            "payment": "upfront",
            "cancellationPolicy": {"tiers": [], "clientUntilHoursBefore": 0},
            "isActive": kept.get("isActive") is not False,
            "createdAt": created,
            "updatedAt": created,
            "legacy": {"runId": self.run.id, "source": self.reading.source.name, **({"fields": kept} if kept else {})},
        }

    def _brought(self, document: Document) -> Document:
        """What ``export`` wrote, but for the run that brings it."""
        return document | ({"legacy": {**document["legacy"], "runId": self.run.id}} if "legacy" in document else {})

    def _offers(self, given: Any, currency: str, kept: Document) -> list[Document]:
        """What can be sold; the first of a kind and length stands, what cannot be read is kept aside."""
        coercions = self.reading.coercions
        offers: dict[tuple[str, int], Document] = {}
        for entry in given if isinstance(given, list) else []:
            try:
                medium = str(entry.get("sessionType") or entry.get("type"))
                minutes, own = coercions.minutes(entry.get("duration")), coercions.currency(entry.get("currency"))
                price = coercions.money(entry.get("price"), own or currency)
            except (Refusal, AttributeError):
                minutes = price = None
            if minutes is None or price is None or minutes < 5 or folded(medium) not in map(folded, Medium):
                kept.setdefault("sessionTypes", []).append(entry)
                continue
            medium = next(word for word in Medium if folded(word) == folded(medium))
            offer = {"sessionType": medium, "duration": minutes, "price": Decimal128(price[0])}
            offers.setdefault((medium, minutes), {**offer, "currency": own or currency})
        return list(offers.values())

    async def _convert(self, experts: list[Document]) -> int:
        """In place: the profile keeps its ``_id`` and gets the fields it lacks; the original is kept aside."""
        ids = [expert["_id"] for expert in experts]
        query = {"_id": {"$in": ids}, "legacy.runId": {"$exists": False}, "cancellationPolicy": {"$exists": False}}
        originals = await self.store.find("read experts", "experts", query)
        await self._make("experts_flat_backup", originals)
        unconverted = {original["_id"] for original in originals}
        writes = [
            UpdateOne({"_id": expert["_id"], "legacy.runId": {"$exists": False}}, {"$set": _without_id(expert)})
            for expert in experts
            if expert["_id"] in unconverted
        ]
        if writes:
            await self.store.run("convert experts", lambda: self.store.collection("experts").bulk_write(writes))
        return len(writes)

    async def users(self) -> int:
        """Users, and seed 3.20's statistics: how many bookings, Σ finalAmount, the first, the last."""
        if self.run.in_place:
            return await self._reach()
        made = 0
        statistics = self.reading.profile.parameters.get("users") == "create"
        query = "SELECT id, key, number, email, name, created, doc FROM users ORDER BY id"
        for rows in _batches(self.reading.scratch.all(query)):
            users = [self._user(*row, statistics=statistics) for row in rows]
            made += await self._make("users", users)
            if statistics:
                await self._refresh(users)
        return made

    def _user(self, *row: Any, statistics: bool) -> Document:
        identifier, key, own, email, name, created, doc = row
        facts = decoded(doc)
        if "whole" in facts:
            return self._brought(facts["whole"])
        born = _EPOCH + timedelta(milliseconds=created) if created is not None else _birth(identifier, key)
        named = (
            ("userId", number(own)),
            ("email", email),
            ("name", name),
            ("firstName", facts.get("firstName")),
            ("lastName", facts.get("lastName")),
            ("phone", facts.get("phone")),
        )
        user: Document = {"_id": ObjectId(identifier), **{field: value for field, value in named if value is not None}}
        if email is not None:
            user |= {"emailKey": email_key(email), "provisional": self._is_provisional(identifier, key, email)}
        if statistics:
            user |= self._statistics(identifier)
        return user | {"createdAt": born, "legacy": {"runId": self.run.id, "source": self.reading.source.name}}

    def _is_provisional(self, identifier: bytes, key: str, email: str) -> bool:
        """Whether the verified owner of the address takes them over: nobody can sign in under an id that was derived.

        Of two who share an address neither is: who is who only an administrator can say.
        """
        is_derived = key != str(ObjectId(identifier))
        return is_derived and self.reading.scratch.count("SELECT count(*) FROM users WHERE email = ?", email) == 1

    async def _reach(self) -> int:
        """In place: those who are there are met by their address too; nothing else of them is touched."""
        reached = 0
        query = "SELECT id, email FROM users WHERE email IS NOT NULL ORDER BY id"
        for rows in _batches(self.reading.scratch.all(query)):
            writes = [
                UpdateOne(
                    {"_id": ObjectId(identifier), "emailKey": {"$exists": False}},
                    {"$set": {"emailKey": email_key(email), "emailKeyRun": self.run.id}},
                )
                for identifier, email in rows
            ]
            result = await self.store.run("reach users", partial(self.store.collection("users").bulk_write, writes))
            reached += result.modified_count
        return reached

    def _statistics(self, client: bytes) -> Document:
        query = "SELECT currency, price, booked FROM sessions WHERE client = ? AND lost = 0 ORDER BY booked, session"
        rows = list(self.reading.scratch.all(query, client))
        if not rows:
            return {"totalBookings": 0}
        spent: dict[str, Decimal] = {}
        for currency, price, _ in rows:
            spent[currency] = spent.get(currency, Decimal(0)) + Decimal(price)
        return {
            "totalBookings": len(rows),
            "totalSpent": Decimal128(spent[rows[0][0]]),
            "spent": {currency: Decimal128(amount) for currency, amount in spent.items()},
            "firstBookingDate": _EPOCH + timedelta(milliseconds=rows[0][2]),
            "lastBookingDate": _EPOCH + timedelta(milliseconds=rows[-1][2]),
        }

    async def _refresh(self, users: list[Document]) -> None:
        """Catch-up: the statistics of a user who is there already."""
        names = ("totalBookings", "totalSpent", "spent", "firstBookingDate", "lastBookingDate")
        writes = [
            UpdateOne(
                {"_id": user["_id"], "totalBookings": {"$ne": user["totalBookings"]}},
                {"$set": {name: user[name] for name in names if name in user}},
            )
            for user in users
        ]
        await self.store.run("refresh users", lambda: self.store.collection("users").bulk_write(writes, ordered=False))

    async def references(self) -> tuple[int, int, list[str]]:
        """Write what pointed at old ids, with ``sessionId``; how many point at nothing, and the first of those."""
        made, lost = 0, 0
        dangling: list[str] = []
        for rows in _batches(self.reading.scratch.all("SELECT name, key, target, doc FROM refs ORDER BY id")):
            by_name: dict[str, list[Document]] = {}
            for name, key, target, doc in rows:
                found = led_to(self.reading, target)
                if found is None and self.reading.options.client is not None:
                    continue  # of another client
                if target and found is None:
                    lost += 1
                    if len(dangling) < LISTED:
                        dangling.append(f"{name} {key} → {target.replace(chr(10), ', ')}")
                document = {**decoded(doc), "_id": old_id(key)}
                if found is not None:
                    document |= {"sessionId": found[0], "clientId": found[1]}
                if name == "reviews":
                    document |= self._review(document)
                document["legacy"] = {"runId": self.run.id, "source": self.reading.source.name}
                by_name.setdefault(name, []).append(document)
            for name, documents in by_name.items():
                if self.run.in_place:
                    made += await self._link(name, documents, {"legacy.runId": {"$exists": False}})
                else:
                    there = await insert_missing(self.store, name, documents)
                    made += len(documents) - len(there)
                    known = [document for document in documents if document["_id"] in there]
                    made += await self._link(
                        name, known, {"legacy": {"$exists": True}, "sessionId": {"$exists": False}}
                    )
        return made, lost, dangling

    def _review(self, document: Document) -> Document:
        """What the reviews room reads: whose expert's, a rating that is a number, the comment and the moment."""
        coercions, read = self.reading.coercions, dict[str, Any]()
        if "sessionId" in document:
            named = document["sessionId"].binary
            row = self.reading.scratch.one("SELECT expert FROM sessions WHERE session = ? AND lost = 0", named)
            if row is not None and row[0] is not None:
                read["expertId"] = ObjectId(row[0])
        rating = _quiet_number(document.get("rating"))
        if rating is not None:
            read["rating"] = rating
        comment = next((text for name in _COMMENTS if (text := coercions.text(document.get(name)))), None)
        if comment is not None:
            read["comment"] = comment
        written = document.get("createdAt", document.get("created_at"))
        own = document["_id"]
        born = own.generation_time if isinstance(own, ObjectId) else self.reading.options.as_of
        return read | {"createdAt": _quiet(lambda: coercions.moment(written)) or born}

    async def _link(self, name: str, documents: list[Document], unlinked: Document) -> int:
        """The document is there, in place or from a run that did not have its session: it gets the session's id."""
        writes = [
            UpdateOne(
                {"_id": document["_id"], **unlinked},
                {"$set": {field: document[field] for field in _LINKED if field in document}},
            )
            for document in documents
            if "sessionId" in document
        ]
        if not writes:
            return 0
        result = await self.store.run(f"link {name}", lambda: self.store.collection(name).bulk_write(writes))
        return result.modified_count

    async def _make(self, collection: str, documents: list[Document]) -> int:
        return len(documents) - len(await insert_missing(self.store, collection, documents))


def led_to(reading: Reading, target: str) -> tuple[ObjectId, ObjectId] | None:
    """(sessionId, clientId) of a reference: the first of its old ids, one a line, that leads anywhere."""
    return next((found for part in target.split("\n") if part and (found := resolved(reading, part))), None)


def resolved(reading: Reading, reference: str) -> tuple[ObjectId, ObjectId] | None:
    """Where an old id leads: a session's own id, the id or key its record had, the document it lay in."""
    scratch = reading.scratch
    named = old_id(reference)
    if isinstance(named, ObjectId):
        row = scratch.one("SELECT session, client FROM sessions WHERE session = ? AND lost = 0", named.binary)
        if row is not None:
            return ObjectId(row[0]), ObjectId(row[1])
    row = scratch.one("SELECT seq, session, client, lost FROM sessions WHERE old = ?", reference)
    row = row or scratch.one("SELECT seq, session, client, lost FROM sessions WHERE match_key = ?", reference)
    while row is not None and row[3]:
        row = scratch.one("SELECT seq, session, client, lost FROM sessions WHERE seq = ?", row[3])
    if row is not None:
        return ObjectId(row[1]), ObjectId(row[2])
    row = scratch.one("SELECT client FROM documents WHERE old = ?", reference)
    if row is not None:
        sessions = list(scratch.all("SELECT session FROM sessions WHERE client = ? AND lost = 0 LIMIT 2", row[0]))
        if len(sessions) == 1:
            return ObjectId(sessions[0][0]), ObjectId(row[0])
    return None


def _quiet_number(value: Any) -> int | float | None:
    try:
        rating = float(str(value))
    except ValueError:
        return None
    return (int(rating) if rating == int(rating) else rating) if 1 <= rating <= 5 else None


def _quiet[T](read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Refusal:
        return None


def _birth(identifier: bytes, key: str) -> datetime:
    """The time in an id that is the source's own; one derived from another key has none."""
    own = ObjectId(identifier)
    born = own.generation_time if key == str(own) else _EPOCH
    return born if 2005 < born.year < 2100 else _EPOCH


def _without_id(document: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if name != "_id"}


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
