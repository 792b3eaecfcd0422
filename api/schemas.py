"""The answers' shapes, for ``/openapi.json``. Answers are written from the store's documents, not from these."""

from typing import Annotated, Any

from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.alias_generators import to_camel

from confiido_booking.bookings.models import Booking, Session
from confiido_booking.errors import Invalid
from confiido_booking.ids import Id, object_id

SHOWN = ConfigDict(alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True)


def _wire_id(value: object) -> ObjectId:
    try:
        return object_id(value)
    except Invalid:
        raise ValueError("must be an id of 24 hexadecimal digits") from None


WireId = Annotated[
    ObjectId,
    PlainValidator(_wire_id),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{24}$", "examples": ["68b61bd7a4c0bf9eaab38ee7"]}),
]
"""An id in a path or a query."""


class Asked(BaseModel):
    """A request body. What a route does not know is ignored: frontends send more than is needed."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True, extra="ignore"
    )


class WrongField(BaseModel):
    type: str = Field("field", examples=["field"])
    msg: str = Field(examples=["Session ID is required"])
    path: str = Field(examples=["sessionId"])
    location: str = Field(examples=["body"])


class Refusal(BaseModel):
    """Every refusal. ``error`` is a sentence for people, ``code`` is stable and meant for programs."""

    success: bool = Field(examples=[False])
    error: str = Field(examples=["This time slot is already booked"])
    code: str = Field(examples=["slot_taken"])
    details: dict[str, Any] | None = Field(None, examples=[{"nextStarts": ["2025-08-29T08:00:00.000Z"]}])
    errors: list[WrongField] | None = None


class Reply(BaseModel):
    """A success without more to say than its sentence."""

    success: bool = Field(examples=[True])
    message: str | None = None
    data: dict[str, Any] | None = None


class Succeeded[T](BaseModel):
    success: bool = Field(examples=[True])
    message: str | None = None
    data: T


class SessionView(Session):
    """A session as the caller may see it: ``internalNotes`` only for staff, ``expertNotes`` not for clients."""

    id: Id = Field(description="Equal to sessionId, or the session's older id; both name it")
    claim_id: Id | None = Field(None, exclude=True)
    event_rev: int | None = Field(None, exclude=True)
    request_key: str | None = Field(None, exclude=True)
    ledger: None = Field(None, exclude=True)
    scheduled_date: str | None = Field(None, description="The local date", examples=["2025-08-29"])  # type: ignore[assignment]


class ActionableSession(SessionView):
    allowed_actions: list[str] = Field(
        description="What the caller could do to it now", examples=[["cancel", "confirm", "patch", "reschedule"]]
    )


class BookingView(Booking):
    """The client's document. An expert sees the own sessions in it and no sums."""

    id: Id  # type: ignore[assignment]
    revision_id: None = Field(None, exclude=True)
    sessions: list[SessionView] = Field(default_factory=list)  # type: ignore[assignment]
    abandoned_claims: list[Id] = Field(default_factory=list, exclude=True)


class ChangedSession(BaseModel):
    model_config = SHOWN

    booking: BookingView
    session: ActionableSession


class Pagination(BaseModel):
    """Counts sessions. ``nextCursor`` is absent on the last page."""

    model_config = SHOWN

    page: int
    limit: int
    total: int
    pages: int
    next_cursor: str | None = None


_SENTENCES = {
    400: "The body is not JSON",
    401: "No token, or one that is forged, expired or incomplete",
    402: "Money was claimed but not shown",
    403: "Seen, but not theirs to do",
    404: "Not there, or not theirs to see",
    409: "The state or the place says no; `details` holds the status or the next free starts",
    412: "The session has changed since it was read (If-Match)",
    413: "The body is larger than 1 MiB",
    415: "The body is not application/json",
    422: "The input is not valid; `errors` names the fields",
    429: "Too many requests; see Retry-After",
    500: "A fault of ours",
    503: "The store or a provider does not answer",
}
_ALWAYS = (401, 422, 429, 500, 503)
_WRITES = (*_ALWAYS, 400, 403, 404, 409, 413, 415)

Responses = dict[int | str, dict[str, Any]]


def refusals(*statuses: int) -> Responses:
    return {status: {"model": Refusal, "description": _SENTENCES[status]} for status in sorted(set(statuses))}


READS = refusals(*_ALWAYS, 404)
WRITES = refusals(*_WRITES)
SESSION_WRITES = refusals(*_WRITES, 412)
