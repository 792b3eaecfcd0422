"""Calendar files and feeds (ROUTES): iCalendar for whoever has the address, or one event of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.door import Asking, Writing, library, router
from api.envelope import Answer, success
from api.routes.service_sessions import EventId
from api.schemas import READS, WRITES, Succeeded, refusals
from confiido_booking.calendar import feeds, ics

own = router("Calendar", "/api/v1/calendar")
files = router("Calendar", "/api/v1/service-sessions")
public = APIRouter(prefix="/api/feeds", tags=["Calendar"])

_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/calendar": {}}, "description": "An iCalendar file"},
}
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed since"}}


class FeedAddress(BaseModel):
    url: str = Field(description="To subscribe to; whoever has it can read it")


@own.post(
    "/feed",
    status_code=201,
    response_model=Succeeded[FeedAddress],
    responses=WRITES,
    summary="A secret address to subscribe to the own sessions",
)
async def open_feed(request: Request, writer: Writing) -> Answer:
    """Shown this once. The address before is worth nothing from now on."""
    secret = await writer.confiido.feeds.open(actor=writer.actor)
    return success({"url": f"{request.base_url}api/feeds/{secret}.ics"}, "Calendar feed created", status=201)


@own.delete("/feed", responses=WRITES, summary="Revoke the address")
async def close_feed(writer: Writing) -> Answer:
    await writer.confiido.feeds.close(actor=writer.actor)
    return success({}, "Calendar feed revoked")


@files.get("/{id}.ics", response_class=Response, responses=READS | _FILE, summary="One service session as a file")
async def read_file(caller: Asking, event_id: EventId) -> Response:
    content = await caller.confiido.feeds.one(event_id, actor=caller.actor)
    return Response(content, media_type=ics.MEDIA_TYPE)


@public.get(
    "/{secret}.ics",
    response_class=Response,
    responses=refusals(404, 422, 429, 500, 503) | _FILE | _UNCHANGED,
    summary="What the owner of the address sees",
)
async def read_feed(request: Request, secret: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Sessions of the last 30 days and the next year; what was cancelled is struck out."""
    feed = await library(request).feeds.read(secret)
    headers = {"ETag": feed.etag, "Cache-Control": "private, no-cache"}
    if not feeds.has_changed(feed.etag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(feed.file, media_type=ics.MEDIA_TYPE, headers=headers)
