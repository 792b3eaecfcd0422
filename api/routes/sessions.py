"""Sessions one by one, in the words of the sales workflow (SPEC 4, "Dialects")."""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, Field

from api import render
from api.answers import etag, pagination, payment_stats
from api.door import Asking, Caller, router
from api.envelope import Answer, success
from api.routes.bookings import PaymentStats
from api.routes.queries import ListQuery
from api.schemas import READS, SHOWN, Pagination, SessionView, Succeeded, WireId
from confiido_booking.bookings.dialects import SALES_WORDS, in_sales_word, sales_spelled, sales_word
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.ids import Id

api = router("Sessions", "/api/sessions")


class ListedSession(SessionView):
    """``status`` is a word of the sales workflow."""

    status: str = Field(examples=["booked"])  # type: ignore[assignment]
    booking_id: Id
    client: dict[str, Any]


class SessionList(BaseModel):
    model_config = SHOWN

    sessions: list[ListedSession]
    stats: PaymentStats
    pagination: Pagination


class SalesSession(ListedSession):
    """One session, with what the caller could do to it."""

    allowed_actions: list[str] = Field(examples=[["cancel", "patch"]])


class OneSalesSession(BaseModel):
    session: SalesSession


@api.get("", response_model=Succeeded[SessionList], responses=READS, summary="The sessions within reach")
async def list_sessions(caller: Asking, query: Annotated[ListQuery, Query()]) -> Answer:
    """`status` is one of request, quoted, draft, booked, paid, invoiced, completed, no-show, cancelled."""
    confiido, now = caller.confiido, caller.confiido.clock()
    word = _sales_word(query.status)
    wanted = query.filter(confiido.settings, status=None, conditions=[in_sales_word(word, now)] if word else [])
    page = await confiido.bookings.list(
        actor=caller.actor, filters=wanted, page=query.page, limit=query.limit, cursor=query.cursor
    )
    data = {
        "sessions": [_listed(caller, booking, session) for booking, session in page.sessions],
        "stats": payment_stats(await confiido.bookings.stats(actor=caller.actor), confiido.settings.currency),
        "pagination": pagination(page),
    }
    return success(data)


@api.get("/{id}", response_model=Succeeded[OneSalesSession], responses=READS, summary="One session, with its ETag")
async def find_session(caller: Asking, session_id: Annotated[WireId, Path(alias="id")]) -> Answer:
    change = await caller.confiido.bookings.find_session(session_id, actor=caller.actor)
    return success({"session": shown_session(caller, change)}, headers={"ETag": etag(change.raw_session["version"])})


def shown_session(caller: Caller, change: Change) -> render.Wire:
    """``data.session``: in the words of the sales workflow, with what the caller could do to it."""
    session, now = change.raw_session, caller.confiido.clock()
    actions = render.session_with_actions(session, actor=caller.actor, now=now)["allowedActions"]
    return {**_listed(caller, change.document, session), "allowedActions": actions}


def _listed(caller: Caller, booking: Document, session: Document) -> render.Wire:
    now = caller.confiido.clock()
    return {
        **render.session(session, actor=caller.actor, now=now),
        "status": sales_word(session, now),
        "bookingId": booking["_id"],
        "client": render.client(booking),
    }


def _sales_word(given: str | None) -> str | None:
    if not given:
        return None
    word = sales_spelled(given)
    if word not in SALES_WORDS:
        wrong = FieldError("status", f"must be one of {', '.join(SALES_WORDS)}", "query")
        raise Invalid(f"status {wrong.message}", errors=[wrong])
    return word
