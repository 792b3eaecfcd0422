"""What bookings ask of documents that an old system left beside theirs (seed 2.15, docs/migration.md).

They are shown by reads and converted by commands; who does it is ``migration/live.py``, which knows their shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bson import Decimal128, ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings import totals
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.money import ZERO

SHOWN = "migration_shown"  # of clients whose documents are not converted: what lists show, and what claims stand on it


@dataclass(frozen=True, slots=True)
class Shown:
    """A client's document as converting would make it. ``archived``: the sessions that would lie in the archive."""

    document: Document
    archived: Sequence[Document]

    def session(self, session_id: ObjectId) -> Document | None:
        every = (*self.document["sessions"], *self.archived)
        return next((session for session in every if session_id in (session["sessionId"], session.get("_id"))), None)


@dataclass(frozen=True, slots=True)
class Led:
    """Where an id of old leads. ``shown``: the client as it would be, where it is not converted."""

    client_id: ObjectId
    booking_id: ObjectId
    session_id: ObjectId | None = None
    shown: Shown | None = None

    def shown_session(self, session_id: ObjectId) -> Document | None:
        """The session that is meant, where it is not converted."""
        return self.shown.session(self.session_id or session_id) if self.shown else None


class Unconverted(Protocol):
    known: bool | None  # whether there are any, as far as this process has looked; None = it never has

    async def any(self) -> bool:
        """Look whether there are any, and remember it."""
        ...

    async def of_clients(self, client_ids: Sequence[ObjectId]) -> dict[ObjectId, Shown]:
        """What these clients' old documents show."""
        ...

    async def named(self, *ids: ObjectId) -> Led | None:
        """Where the first of these ids leads that is the id of an old document, of a session in one, or of one that
        was converted."""
        ...

    async def show(self, *, actor: Actor, client_id: ObjectId | None, expert_id: ObjectId | None) -> None:
        """Let lists find what this actor, who names these, reaches."""
        ...

    async def convert(self, client_id: ObjectId) -> bool:
        """Convert a client's old documents; whether there were any."""
        ...


class NoneUnconverted:
    """Where there are none, or nobody looks."""

    known: bool | None = False

    async def any(self) -> bool:
        return False

    async def of_clients(self, client_ids: Sequence[ObjectId]) -> dict[ObjectId, Shown]:
        return {}

    async def named(self, *ids: ObjectId) -> Led | None:
        return None

    async def show(self, *, actor: Actor, client_id: ObjectId | None, expert_id: ObjectId | None) -> None:
        return None

    async def convert(self, client_id: ObjectId) -> bool:
        return False


def stitched(document: Document, shown: Shown) -> Document:
    """A client's document, and beside its sessions those of the client that are not converted yet."""
    own = {session["sessionId"] for session in document["sessions"]}
    live = [session for session in shown.document["sessions"] if session["sessionId"] not in own]
    lines = map(totals.line, [*document["sessions"], *live, *shown.archived])
    sums = totals.of(lines, document["archived"]["sums"])
    currency = document.get("currency") or shown.document.get("currency", "")
    return {
        **document,
        "currency": currency,
        "sessions": [*document["sessions"], *live],
        "totalSessions": document["totalSessions"] + len(live) + len(shown.archived),
        "totalSpent": Decimal128(sums.get(currency, {}).get("booked", ZERO)),
        "totals": to_mongo(sums),
    }
