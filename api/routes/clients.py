"""Clients as administrators care for them (ROUTES, reviews and merge)."""

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from api import render
from api.door import Writing, router
from api.envelope import Answer, success
from api.schemas import WRITES, Asked, BookingView, Succeeded, WireId
from confiido_booking.ids import Id

administration = router("Administration", "/api/admin/clients")


class Merged(Asked):
    from_: Id = Field(alias="from", description="The client who goes")


class OneBooking(BaseModel):
    booking: BookingView


@administration.post(
    "/{id}/merge", response_model=Succeeded[OneBooking], responses=WRITES, summary="Join two clients who are one person"
)
async def merge_clients(writer: Writing, client_id: Annotated[WireId, Path(alias="id")], asked: Merged) -> Answer:
    """All that is `from`'s becomes this client's: sessions, history, invoices, payments, reviews, and whoever signs in
    as `from`. Repeatable; sessions that then overlap stay, flagged `conflict`."""
    confiido = writer.confiido
    document = await confiido.customers.merge(client_id, from_=asked.from_, actor=writer.actor)
    shown = render.booking(document, actor=writer.actor, now=confiido.clock(), minimal=writer.minimal)
    return success({"booking": shown}, "Clients merged successfully")
