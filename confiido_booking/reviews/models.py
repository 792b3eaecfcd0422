"""What is stored of reviews. One written here has its session's id as ``_id``: that makes it the only one."""

from typing import Annotated

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from confiido_booking.bookings.models import HistoryEntry
from confiido_booking.database.documents import Embedded, Instant
from confiido_booking.ids import Id

MAX_HISTORY = 20
INDEXES = [
    IndexModel([("expertId", ASCENDING), ("createdAt", DESCENDING)], name="expert"),
    IndexModel([("sessionId", ASCENDING)], name="session", sparse=True),
    IndexModel([("clientId", ASCENDING)], name="client", sparse=True),
]


class Review(Embedded):
    """What a client says of a completed session. ``rating``: 1 to 5; a migrated one may have halves.

    ``author``: the client's first name, as the public reads it.
    """

    id: Id | str
    session_id: Id | None = None  # a migrated review may lead to no session
    client_id: Id | None = None
    expert_id: Id | None = None
    rating: Annotated[float, Field(ge=1, le=5)]
    comment: str | None = None
    author: str | None = None
    hidden: bool = False
    hidden_reason: str | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None
    request_key: str | None = None
    history: list[HistoryEntry] = Field(default_factory=list)
