"""The log of events, for administrators (MONEY, Events; docs/events.md)."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from api.door import Asking, router
from api.envelope import Answer, success
from api.schemas import READS, SHOWN, Succeeded, WireId, refusals
from confiido_booking.events.log import MAX_LIMIT, MAX_SEQ

api = router("Administration", "/api/admin/events")


class ShownActor(BaseModel):
    role: str = Field(examples=["client"])
    id: WireId | None = None


class ShownEvent(BaseModel):
    """What happened. ``data`` has ids, statuses, instants and amounts, by the type."""

    model_config = SHOWN

    id: WireId
    seq: int = Field(description="Its number: 1, 2, 3 … without a gap")
    type: str = Field(examples=["session.confirmed"])
    at: str = Field(examples=["2026-03-02T09:00:00.000Z"])
    actor: ShownActor
    client_id: WireId | None = None
    session_id: WireId | None = None
    data: dict[str, Any] = Field(examples=[{"status": "confirmed", "from": "pending", "version": 2}])


class ShownEvents(BaseModel):
    model_config = SHOWN

    events: list[ShownEvent]
    next_cursor: int = Field(description="The `after` of the next request, also where there was nothing new")


@api.get(
    "", response_model=Succeeded[ShownEvents], responses=READS | refusals(403), summary="What happened, in its order"
)
async def list_events(
    caller: Asking,
    after: Annotated[int, Query(ge=0, le=MAX_SEQ, description="`nextCursor` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
) -> Answer:
    """Events appear here once the worker has numbered them; each exactly once, and one client's in their order."""
    page = await caller.confiido.events.page(actor=caller.actor, after=after, limit=limit)
    return success({"events": [shown(event) for event in page.events], "nextCursor": page.next_cursor})


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    names = ("seq", "type", "at", "actor", "clientId", "sessionId", "data")
    return {"id": event["_id"], **{name: event[name] for name in names if name in event}}
