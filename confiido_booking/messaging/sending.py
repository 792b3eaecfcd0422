"""Sending what is due: claim, hold against the session as it is now, render, send, note (see ``service.py``)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.addresses import Person, is_address
from confiido_booking.billing import reading as invoices
from confiido_booking.billing.models import InvoiceStatus
from confiido_booking.bookings import finding
from confiido_booking.bookings.context import Context
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Unavailable
from confiido_booking.experts.models import Expert
from confiido_booking.messaging import rules
from confiido_booking.messaging.rules import To
from confiido_booking.messaging.service import BATCH, COMMUNICATIONS

PAUSES = [  # after each failed attempt; then it has failed
    *(timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1)),
    *(timedelta(hours=3), timedelta(hours=6), timedelta(hours=12), timedelta(hours=24)),
]
CLAIMED = timedelta(minutes=2)
TRIES = 3  # failures in a row after which the mail server seems to be down


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Who gets it, and what it is about."""

    to: Person
    zone: str
    session: Document | None = None
    other: str | None = None
    statement: invoices.Statement | None = None


class _Dropped(Exception):
    """It no longer holds, or there is nobody to send it to."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    context: Context

    async def run(self) -> int:
        """Send all that is due. How many were sent."""
        if self.context.settings.smtp_url is None:
            return 0
        sent = failed = 0
        while due := await self._due():
            for message in due:
                outcome = await self._handle(message)
                sent += outcome is True
                failed = failed + 1 if outcome is False else 0
                if failed == TRIES:
                    return sent
        return sent

    async def _due(self) -> list[Document]:
        query = {"state": "queued", "dueAt": {"$lte": self.context.clock()}}
        return await self.context.store.find(
            "find messages", COMMUNICATIONS, query, sort=[("dueAt", 1), ("createdAt", 1)], limit=BATCH
        )

    async def _handle(self, message: Document) -> bool | None:
        """True: sent. False: the server does not take it now. None: another's, dropped, or refused for good."""
        now = self.context.clock()
        claimed = await self.context.store.find_and_update(
            "claim message",
            COMMUNICATIONS,
            {
                "_id": message["_id"],
                "state": "queued",
                "attempts": message["attempts"],
                "dueAt": {"$lte": now},
            },
            {"$set": {"dueAt": now + CLAIMED}, "$inc": {"attempts": 1}},
        )
        if claimed is None:
            return None
        outgoing = _libraries()
        try:
            about = await self._about(claimed, now)
            await outgoing.send(await outgoing.composed(claimed, about, self.context.settings, now), self._url())
        except _Dropped as dropped:
            await self._note(claimed, {"state": "dropped", "reason": str(dropped)})
            return None
        except outgoing.Undeliverable as refused:
            await self._note(claimed, {"state": "failed", "reason": str(refused)})
            return None
        except outgoing.TryLater as error:
            await self._note(claimed, _after_failure(claimed, now, str(error)))
            return False
        await self._note(claimed, {"state": "sent", "sentAt": now})
        return True

    def _url(self) -> str:
        assert self.context.settings.smtp_url is not None
        return self.context.settings.smtp_url.get_secret_value()

    async def _note(self, message: Document, fields: Document) -> None:
        mine = {"_id": message["_id"], "state": "queued", "attempts": message["attempts"]}
        await self.context.store.update("note message", COMMUNICATIONS, mine, {"$set": fields})

    async def _about(self, message: Document, now: datetime) -> About:
        about = await (self._invoice(message) if "invoiceId" in message else self._session(message, now))
        if not is_address(about.to.email):
            raise _Dropped("There is no e-mail address")
        return about

    async def _session(self, message: Document, now: datetime) -> About:
        try:
            change = await finding.find_session(self.context, message["sessionId"], Actor.system())
        except Unavailable:
            raise
        except BookingError:
            raise _Dropped("The session is gone") from None
        session, booking = change.raw_session, change.document
        if why := rules.why_not(message, session, now):
            raise _Dropped(why)
        expert = await self._expert(session.get("expertId"))
        client = Person(booking.get("clientEmail"), booking.get("clientName"))
        if message["to"] == To.CLIENT:
            return About(to=client, zone=session["timezone"], session=session, other=expert.name if expert else None)
        to = Person((expert.email if expert else None) or session.get("expertEmail"), expert.name if expert else None)
        zone = expert.timezone if expert else session["timezone"]
        return About(to=to, zone=zone, session=session, other=client.name)

    async def _expert(self, expert_id: ObjectId | None) -> Expert | None:
        if expert_id is None:
            return None
        try:
            return await self.context.experts.get(expert_id)
        except Unavailable:
            raise
        except BookingError:
            return None

    async def _invoice(self, message: Document) -> About:
        try:
            statement = await invoices.find(self.context, message["invoiceId"], Actor.system())
        except Unavailable:
            raise
        except BookingError:
            raise _Dropped("The invoice is gone") from None
        if statement.balance.status is InvoiceStatus.VOID:
            raise _Dropped("The invoice is void")
        client = statement.invoice.client
        to = Person(client.email, client.name)
        return About(to=to, zone=self.context.settings.timezone, statement=statement)


def _libraries() -> Any:
    """What needs the libraries of the extra ``messaging``. Raises Unavailable without them."""
    try:
        from confiido_booking.messaging import composing
    except ModuleNotFoundError as error:
        sentence = f"Mail needs confiido-booking[messaging] ({error.name} is missing)"
        raise Unavailable(sentence, code="provider_not_configured") from None
    return composing


def _after_failure(message: Document, now: datetime, error: str) -> Document:
    attempts = message["attempts"]
    if attempts > len(PAUSES):
        return {"state": "failed", "reason": error}
    return {"dueAt": now + PAUSES[attempts - 1], "reason": error}
