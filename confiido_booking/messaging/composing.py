"""What is sent: the page, the calendar file, the invoice, put together. Needs the extra ``messaging``."""

import asyncio
from datetime import datetime
from email.message import EmailMessage

from jinja2 import TemplateError

from confiido_booking.addresses import Person
from confiido_booking.billing.reading import Statement
from confiido_booking.calendar import ics
from confiido_booking.database.store import Document
from confiido_booking.messaging import mail, rendering
from confiido_booking.messaging.mail import Attachment, TryLater, Undeliverable, send
from confiido_booking.messaging.rules import Kind, To
from confiido_booking.messaging.sending import About
from confiido_booking.settings import Settings

__all__ = ["TryLater", "Undeliverable", "composed", "send"]

_METHODS: dict[Kind, ics.Method] = {
    Kind.BOOKING_CONFIRMED: "REQUEST",
    Kind.SESSION_RESCHEDULED: "REQUEST",
    Kind.SESSION_CANCELLED: "CANCEL",
}


async def composed(message: Document, about: About, settings: Settings, now: datetime) -> EmailMessage:
    """The mail of a message. Raises Undeliverable where an operator's template is wrong."""
    known = rendering.facts(
        message,
        settings=settings,
        now=now,
        name=about.to.name,
        zone=about.zone,
        session=about.session,
        other=about.other,
        statement=about.statement,
    )
    if message["to"] == To.EXPERT:
        known.pop("pay_url", None)
    try:
        page = rendering.render(Kind(message["kind"]), known, settings.mail_templates)
    except TemplateError as error:
        raise Undeliverable(f"The template is wrong: {type(error).__name__}") from error
    from_ = mail.sender(settings)
    attached = [*_calendar(message, about, from_, now), *await _invoice(about.statement, settings)]
    return mail.compose(page, message_id=message["_id"], to=about.to, from_=from_, at=now, attached=attached)


def _calendar(message: Document, about: About, from_: Person, now: datetime) -> list[Attachment]:
    method, session = _METHODS.get(Kind(message["kind"])), about.session
    if method is None or session is None or not ics.has_time(session):
        return []
    confirmed = session["status"] == "confirmed"
    event = ics.event(session, now=now, zone=about.zone, with_link=confirmed, organizer=from_, attendee=about.to)
    return [Attachment("session.ics", ics.file([event], method=method), "calendar", method)]


async def _invoice(statement: Statement | None, settings: Settings) -> list[Attachment]:
    """The invoice as a page, where the extra ``pdf`` is installed; the mail says all of it anyway."""
    if statement is None:
        return []
    try:
        from confiido_booking.billing import pdf
    except ModuleNotFoundError:
        return []
    page = await asyncio.to_thread(pdf.render, statement, settings)
    return [Attachment(f"{statement.invoice.number}.pdf", page, "pdf")]
