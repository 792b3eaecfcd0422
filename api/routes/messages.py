"""Messages that administrators write (ROUTES)."""

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from api.door import Writing, router
from api.envelope import Answer, success
from api.schemas import WRITES, Asked, Succeeded, WireId, refusals
from confiido_booking.messaging.service import MOST_SUBJECT, MOST_TEXT

api = router("Sessions", "/api/sessions")


class MessageAsked(Asked):
    """Either a template or a subject and a text."""

    template: str | None = Field(None, max_length=50, examples=["booking_confirmed"])
    subject: str | None = Field(None, max_length=MOST_SUBJECT, examples=["Before we meet"])
    text: str | None = Field(None, max_length=MOST_TEXT, examples=["Please have your papers at hand."])


class QueuedMessage(BaseModel):
    id: WireId
    state: Literal["queued", "sent", "failed", "dropped"]


class OneMessage(BaseModel):
    message: QueuedMessage


@api.post(
    "/{id}/email",
    response_model=Succeeded[OneMessage],
    responses=WRITES | refusals(503),
    summary="Write to the client of a session",
)
async def email_client(writer: Writing, session_id: Annotated[WireId, Path(alias="id")], asked: MessageAsked) -> Answer:
    """The worker sends it. A template is refused where what it says is not so."""
    message = await writer.confiido.messages.send(
        session_id,
        actor=writer.actor,
        template=asked.template,
        subject=asked.subject,
        text=asked.text,
        request_key=writer.request_key,
    )
    return success({"message": {"id": message["_id"], "state": message["state"]}}, "The message is queued")
