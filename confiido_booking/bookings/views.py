"""What commands and queries give back."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property

from bson import ObjectId

from confiido_booking.bookings.models import Booking, Session
from confiido_booking.database.store import Document
from confiido_booking.events import outbox

HEAD = (
    "clientId",
    "clientUserId",
    "clientEmail",
    "clientName",
    "bookingReference",
    "archived",
    "totalSessions",
    "totalSpent",
    "currency",
    "totals",
    "createdAt",
    "updatedAt",
    "schemaVersion",
)


class View(Enum):
    """How much of the client's document a command brings back with its session."""

    WHOLE = "whole"  # every current session
    HEAD = "head"  # the document without its other sessions


@dataclass(frozen=True)
class Change:
    """A command's outcome: the client's document as the deciding write left it, and the session it changed.

    ``document`` is raw, as the store keeps it (camelCase, UTC instants, Decimal128); ``booking`` and ``session`` are
    its models, built when asked for. ``repeated`` says that the command had been done before under the same key.
    """

    document: Document
    session_id: ObjectId
    repeated: bool = False

    @property
    def booking_id(self) -> ObjectId:
        """What the next command on this session asks for, beside its ``session_id``."""
        booking_id: ObjectId = self.document["_id"]
        return booking_id

    @property
    def raw_session(self) -> Document:
        return next(session for session in self.document["sessions"] if session["sessionId"] == self.session_id)

    @cached_property
    def session(self) -> Session:
        return Session.model_validate(self.raw_session)

    @cached_property
    def booking(self) -> Booking:
        booking: Booking = Booking.model_validate(self.document)
        return booking


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRef:
    """For whom an admin or a service books (SPEC 6)."""

    client_id: ObjectId
    client_user_id: str | None = None
    client_email: str | None = None
    client_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A start as callers give it: an instant with an offset, or a wall clock in a zone."""

    starts_at: datetime | str | None = None
    scheduled_date: object = None
    start_time: object = None
    timezone: str | None = None


def projection(view: View, session_id: ObjectId) -> dict[str, object]:
    if view is View.WHOLE:
        return dict.fromkeys(outbox.FIELDS, 0)
    return {**dict.fromkeys(HEAD, 1), "sessions": {"$elemMatch": {"sessionId": session_id}}}
