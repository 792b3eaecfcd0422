"""All of one client, put together as the core would have stored it: the booking, its archive, its service sessions.

Nothing here reads a clock or a database, so the same records give the same documents, byte for byte, whatever the
run; ``legacy.runId`` is the one difference. Reading an unmigrated client through the live app uses the same function.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import bson
from bson import Decimal128, ObjectId

from confiido_booking import money
from confiido_booking.bookings import totals
from confiido_booking.bookings.book import claim_of
from confiido_booking.bookings.guards import MAX_BYTES, weight
from confiido_booking.bookings.statuses import ACTIVE, FINISHED
from confiido_booking.calendar import claims
from confiido_booking.calendar.claims import Claim
from confiido_booking.database.documents import to_mongo
from confiido_booking.migration.amounts import exact
from confiido_booking.migration.intake import old_id
from confiido_booking.migration.options import LIVE_SESSIONS, derived_id, derived_reference
from confiido_booking.migration.scratch import Document, Scratch, decoded
from confiido_booking.migration.shared import is_shared, order_of, seat_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROOM = MAX_BYTES * 2 // 3  # what an import fills of a document, so that its client can go on booking


@dataclass(slots=True)
class Person:
    """What is known of the client: the newest value that is there."""

    number: str | None = None
    email: str | None = None
    name: str | None = None

    def learn(self, facts: Document) -> None:
        self.number = facts.get("number") or self.number
        self.email = facts.get("email") or self.email
        self.name = facts.get("name") or self.name

    def fields(self) -> Document:
        named = (("clientUserId", self.number), ("clientEmail", self.email), ("clientName", self.name))
        return {name: value for name, value in named if value}


@dataclass(slots=True)
class Client:
    """One client, ready to be written. ``live`` and ``history`` in the order of booking."""

    id: ObjectId
    booking: Document
    live: list[Document]
    history: list[Document]
    claims: list[Claim] = field(default_factory=list)
    legacy_ids: list[Document] = field(default_factory=list)
    seats: list[tuple[ObjectId, Document | None]] = field(default_factory=list)  # in events that many share
    orders: list[Document] = field(default_factory=list)
    exported: bool = False

    @property
    def sessions(self) -> list[Document]:
        return [*self.live, *self.history]

    def stands_in(self, booking_id: ObjectId) -> None:
        """The client has a document already: old ids lead there, and so does the one it would have had."""
        made, self.booking["_id"] = self.booking["_id"], booking_id
        for entry in self.legacy_ids:
            entry["bookingId"] = booking_id
        if "legacy" in self.booking:
            run = self.booking["legacy"]["runId"]
            led = {"_id": made, "kind": "booking", "bookingId": booking_id, "clientId": self.id, "runId": run}
            self.legacy_ids.append(led)


def assemble(scratch: Scratch, client_id: ObjectId, *, run_id: str, as_of: datetime) -> Client:
    """The client of the scratch's rows."""
    rows = list(
        scratch.all(
            "SELECT doc, facts, old, era, order_key, conflict, session, priority, booked FROM sessions "
            "WHERE client = ? AND lost = 0 ORDER BY booked, session",
            client_id.binary,
        )
    )
    if rows and rows[0][3] == "exported":
        return _exported(client_id, rows, run_id, as_of)
    person, sessions, seats = Person(), list[Document](), list[tuple[ObjectId, Document | None]]()
    ordered: dict[ObjectId, list[Document]] = {}
    order: dict[str, list[tuple[Document, Document]]] = {}
    documents = list(
        scratch.all(
            "SELECT booking, old, created, updated, nested, facts FROM documents WHERE client = ? "
            "ORDER BY nested DESC, created, booking",
            client_id.binary,
        )
    )
    for document in documents:
        person.learn(decoded(document[5]))
    for doc, facts, _, _, order_key, conflict, *_ in rows:
        session, known = decoded(doc), decoded(facts)
        person.learn(known)
        session["legacy"] = {"runId": run_id, **session["legacy"]}
        if conflict:
            session["legacy"]["flags"].append("conflict")
            if session["status"] in ACTIVE:
                session["conflict"] = True
        if order_key is not None:
            session["orderId"] = derived_id("order", order_key)
            ordered.setdefault(session["orderId"], []).append(session)
            if "orderTotal" in known:
                order.setdefault(order_key, []).append((session, known))
        if "event" in known:
            session["legacy"]["eventId"] = known["event"]["eventId"]
            if is_shared(known["event"]):
                session["serviceSessionId"], session["seat"] = derived_id("event", known["event"]["eventId"]), True
                seats.append((session["serviceSessionId"], seat_of(session, client_id)))
        sessions.append(session)
    for parts in order.values():
        _share(parts)
    for session in sessions:
        said = {name: value for name, value in session["legacy"].items() if name != "runId"}
        session["legacy"]["bytes"] = weight(said, session["addOns"])
    _mark_client_overlaps(sessions)
    client = _client(client_id, sessions, documents, person, run_id)
    client.seats = seats
    client.orders = [order_of(order_id, client_id, parts, run_id) for order_id, parts in ordered.items()]
    _claim(client, as_of)
    client.legacy_ids = _legacy_ids(client, rows, documents, run_id)
    return client


def _client(
    client_id: ObjectId, sessions: list[Document], documents: Sequence[tuple[Any, ...]], person: Person, run_id: str
) -> Client:
    nested = [ObjectId(row[0]) for row in documents]
    booking_id = nested[0] if nested else derived_id("booking", client_id)
    times = [moment for session in sessions for moment in (session["createdTime"], session["updatedTime"])]
    times += [_EPOCH + timedelta(milliseconds=ms) for row in documents for ms in (row[2], row[3]) if ms is not None]
    live, history = _divided(sessions)
    sums = totals.of(map(_line, history))
    booking: Document = {
        "_id": booking_id,
        "clientId": client_id,
        **person.fields(),
        "bookingReference": derived_reference(client_id),
        "sessions": live,
        "archived": {"sessions": len(history), "sums": _stored(sums)},
    }
    if sessions:
        booking["currency"] = sessions[0]["currency"]
    computed = totals.of(map(_line, live), sums)
    spent = computed.get(booking.get("currency", ""), {}).get("booked", money.ZERO)
    booking |= {"totalSessions": len(sessions), "totalSpent": exact(spent), "totals": _stored(computed)}
    booking["abandonedClaims"] = []
    booking["createdAt"] = min(times, default=_EPOCH)
    booking["updatedAt"] = max(times, default=_EPOCH)
    booking["schemaVersion"] = 1
    booking["legacy"] = {"runId": run_id}
    return Client(client_id, booking, live, history)


def _stored(sums: Mapping[str, Mapping[str, Decimal]]) -> Document:
    return {currency: {name: exact(amount) for name, amount in of.items()} for currency, of in sums.items()}


def _line(session: Document) -> totals.Line:
    """``totals.line`` of an import, with few amounts made exact many times."""
    due = session.get("refundDue")
    return totals.Line(
        session["status"],
        session["paymentStatus"],
        session["currency"],
        _exact(session["price"].bid),
        _exact(session["paidAmount"].bid),
        _exact(session["refundAmount"].bid),
        _exact(due.bid) if due is not None else None,
    )


@lru_cache(maxsize=4096)
def _exact(bid: bytes) -> Decimal:
    return Decimal128.from_bid(bid).to_decimal()


def _divided(sessions: list[Document]) -> tuple[list[Document], list[Document]]:
    """HISTORY 20: what stays in the document, and what goes straight to the archive: the oldest finished ones,
    beyond a count and beyond two thirds of the document's room."""
    finished = [session for session in sessions if session["status"] in FINISHED]
    if len(finished) <= LIVE_SESSIONS and len(sessions) * 1_500 < _ROOM:
        return sessions, []
    room = _ROOM - sum(len(bson.encode(session)) for session in sessions if session["status"] not in FINISHED)
    kept: set[ObjectId] = set()
    for session in sorted(
        finished, key=lambda s: (s.get("startsAt") or s["createdTime"], s["sessionId"]), reverse=True
    ):
        room -= len(bson.encode(session))
        if room < 0 or len(kept) == LIVE_SESSIONS:
            break
        kept.add(session["sessionId"])
    live = [s for s in sessions if s["status"] not in FINISHED or s["sessionId"] in kept]
    return live, [s for s in sessions if s["status"] in FINISHED and s["sessionId"] not in kept]


def _mark_client_overlaps(sessions: Iterable[Document]) -> None:
    """L4 exempts what an import could not keep apart; the session booked first is not marked."""
    standing: list[Document] = []
    for session in sessions:
        if session["status"] not in ACTIVE or "startsAt" not in session:
            continue
        if any(other["startsAt"] < session["endsAt"] and other["endsAt"] > session["startsAt"] for other in standing):
            session["conflict"] = True
            session["legacy"]["flags"].append("client_overlap")
        else:
            standing.append(session)


def _claim(client: Client, as_of: datetime) -> None:
    """The minutes that active sessions to come need. Who lost them to an earlier booking is marked, not refused."""
    for session in client.live:
        if not is_to_come(session, as_of) or "serviceSessionId" not in session or session.get("seat"):
            continue
        if "expertId" not in session:
            session["legacy"]["flags"].append("expert_unclaimed")
        elif is_double_booking(session):
            mark_conflict(session)
        else:
            client.claims.append(
                claim_of(session, session["expertId"], client.id, session["createdTime"], claim_id=session["claimId"])
            )


def is_to_come(session: Document, as_of: datetime) -> bool:
    """Active, and not over: what its expert's minutes are for, and what a person can still settle."""
    return session["status"] in ACTIVE and "endsAt" in session and session["endsAt"] > as_of


def is_double_booking(session: Document) -> bool:
    """The expert had another session then, booked earlier (HISTORY 11), whether past or to come."""
    return "conflict" in (session.get("legacy") or {}).get("flags", ())


def mark_conflict(session: Document) -> None:
    """No minutes for it: kept, exempt from L4, listed for a person to settle."""
    session["conflict"] = True
    if not is_double_booking(session):
        session["legacy"]["flags"].append("conflict")


def _share(parts: list[tuple[Document, Document]]) -> None:
    """SPEC 9: a course was paid once; each session carries its exact share of the order's price."""
    total: Decimal = parts[0][1]["orderTotal"].to_decimal()
    if any(session["price"].to_decimal() for session, _ in parts):
        return
    parts.sort(key=lambda part: ((part[1].get("event") or {}).get("sequence") or 0, part[0]["createdTime"]))
    shares = money.split(total, [Decimal(1)] * len(parts), parts[0][0]["currency"])
    for (session, _), share in zip(parts, shares, strict=True):
        session["price"] = Decimal128(share)
        if session["paymentStatus"] == "not_required" and share:
            session["paymentStatus"] = "paid"
        if session["paymentStatus"] == "paid":
            session["paidAmount"] = Decimal128(share)
        session["legacy"]["flags"] = [f for f in session["legacy"]["flags"] if f != "price_missing_as_zero"]


def service_sessions(client: Client) -> list[Document]:
    """The service session of each session that has one to itself, and the entry of each that shares one (SPEC 2)."""
    return [
        {"_id": claims.entry_id(session), "rev": session["version"], **claims.service_session(session, client.id)}
        for session in client.sessions
    ]


def _legacy_ids(
    client: Client, rows: Sequence[tuple[Any, ...]], documents: Sequence[tuple[Any, ...]], run_id: str
) -> list[Document]:
    """Every id of old that is no longer the id of the same thing, and what it became."""
    common = {"bookingId": client.booking["_id"], "clientId": client.id, "runId": run_id}
    found: dict[Any, Document] = {}
    for row in documents:
        if row[1] and row[4] and old_id(row[1]) != client.booking["_id"]:
            found[old_id(row[1])] = {"_id": old_id(row[1]), "kind": "booking", **common}
    for _, _, old, _, _, _, session, priority, _ in rows:
        if priority and old == f"oid:{session.hex()}":
            continue
        for text in filter(None, old.split("\n")):
            named = old_id(text)
            if priority == 0 or named != ObjectId(session):
                found[named] = {"_id": named, "kind": "session", "sessionId": ObjectId(session), **common}
    return list(found.values())


def _exported(client_id: ObjectId, rows: Sequence[tuple[Any, ...]], run_id: str, as_of: datetime) -> Client:
    """What ``export`` wrote, back as it was, but for the run that brought it."""
    live: list[Document] = []
    history: list[Document] = []
    facts = decoded(rows[0][1])
    for doc, own, *_ in rows:
        (history if decoded(own)["head"]["archived"] else live).append(decoded(doc))
    head = facts["head"]
    for document in (*live, *history, head):
        if "legacy" in document:
            document["legacy"] = {**document["legacy"], "runId": run_id}
    sums = totals.of(map(_line, history))
    computed = totals.of(map(_line, live), sums)
    spent = computed.get(head["currency"], {}).get("booked", money.ZERO)
    booking: Document = {
        "_id": head["bookingId"],
        "clientId": client_id,
        **{name: facts[name] for name in ("clientUserId", "clientEmail", "clientName") if facts.get(name)},
        "bookingReference": head["bookingReference"],
        "sessions": live,
        "archived": {"sessions": len(history), "sums": to_mongo(sums)},
        "currency": head["currency"],
        "totalSessions": len(live) + len(history),
        "totalSpent": Decimal128(spent),
        "totals": to_mongo(computed),
        "abandonedClaims": [],
        "createdAt": head["createdAt"],
        "updatedAt": head["updatedAt"],
        "schemaVersion": 1,
        **({"legacy": head["legacy"]} if "legacy" in head else {}),
    }
    client = Client(client_id, booking, live, history, exported=True)
    client.seats = [(s["serviceSessionId"], seat_of(s, client_id)) for s in client.sessions if s.get("seat")]
    heads = [decoded(row[1])["head"] for row in rows]
    client.orders = list({head["order"]["_id"]: head["order"] for head in heads if "order" in head}.values())
    for session in live:
        if (
            is_to_come(session, as_of)
            and not session.get("conflict")
            and not session.get("seat")
            and "expertId" in session
        ):
            made = session.get("createdTime") or head["createdAt"]
            client.claims.append(claim_of(session, session["expertId"], client_id, made, claim_id=session["claimId"]))
    return client
