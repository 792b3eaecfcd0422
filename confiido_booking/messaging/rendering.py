"""A message as subject, text and HTML. Templates are Jinja2; an operator's own of the same name come first.

``<kind>.txt`` begins with the line of the subject; ``<kind>.html`` is escaped. Both know the names of :func:`facts`.
What people wrote is only ever a value in a template, never a template.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PackageLoader, select_autoescape

from confiido_booking import money, times
from confiido_booking.billing.reading import Statement, pay_link
from confiido_booking.bookings import rules
from confiido_booking.messaging.rules import Kind
from confiido_booking.settings import Settings

Raw = Mapping[str, Any]
_MEDIUM = {"video": "Video call", "audio": "Audio call", "chat": "Chat", "in-person": "In person"}
_MOST_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Page:
    """What is sent. ``subject`` is one line."""

    subject: str
    text: str
    html: str


def render(kind: Kind, known: Mapping[str, object], folder: Path | None) -> Page:
    """Raises jinja2's TemplateError where an operator's template is wrong."""
    templates = _templates(folder)
    subject, _, text = templates.get_template(f"{kind}.txt").render(known).partition("\n")
    html = templates.get_template(f"{kind}.html").render(known)
    return Page(" ".join(subject.split())[:_MOST_SUBJECT] or "Your session", text.strip() + "\n", html)


@lru_cache(maxsize=8)
def _templates(folder: Path | None) -> Environment:
    own: list[BaseLoader] = [FileSystemLoader(folder)] if folder else []
    built_in = PackageLoader("confiido_booking.messaging", "templates")
    return Environment(
        loader=ChoiceLoader([*own, built_in]),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def facts(
    message: Raw,
    *,
    settings: Settings,
    now: datetime,
    name: str | None,
    zone: str,
    session: Raw | None = None,
    other: str | None = None,
    statement: Statement | None = None,
) -> dict[str, object]:
    """What templates know: ``to`` (client or expert), ``name``, ``other`` (the other one's name), ``seller``,
    ``session``, ``quote``, ``previous``, ``invoice``, ``pay_url``, ``hours``, and ``subject`` and ``body`` of a custom
    message. Times are by the recipient's clock."""
    known: dict[str, object] = {
        "to": message["to"],
        "name": name or "",
        "other": other or "",
        "seller": settings.seller_name,
        "hours": message.get("hours"),
        "subject": message.get("subject", ""),
        "body": message.get("text", ""),
    }
    if session is not None:
        known["session"] = _session(session, zone, now)
        known["pay_url"] = _session_link(session, settings)
        if quote := rules.current_quote(session):
            known["quote"] = _quote(quote, session, zone)
        if moves := session.get("rescheduleHistory"):
            known["previous"] = _when(moves[-1]["previousStartsAt"], None, zone)
    if statement is not None:
        known["invoice"] = _invoice(statement)
        known["pay_url"] = pay_link(statement, settings)
    return known


def _session(session: Raw, zone: str, now: datetime) -> dict[str, object]:
    currency = session["currency"]
    price, paid, refunded = (money.exact(session.get(name)) for name in ("price", "paidAmount", "refundAmount"))
    confirmed, link = rules.status_now(session, now) == "confirmed", session.get("meetingLink") or ""
    owed = max(price - paid + refunded, money.ZERO)
    shown: dict[str, object] = {
        "title": session.get("title") or "Session",
        "medium": _MEDIUM.get(session.get("sessionType") or "", ""),
        "duration": session.get("duration"),
        "location": session.get("location") or "",
        "link": link if confirmed and link.startswith(("https://", "http://")) else "",
        "status": rules.status_now(session, now),
        "price": money.shown(price, currency) if price else "",
        "paid": money.shown(paid, currency) if paid else "",
        "owed": money.shown(owed, currency) if owed else "",
        "reason": session.get("cancellationReason") or "",
    }
    if session.get("startsAt") is not None:
        shown |= _when(session["startsAt"], session.get("endsAt"), zone)
    return shown


def _when(starts_at: datetime, ends_at: datetime | None, zone: str) -> dict[str, str]:
    tz = times.zone(zone)
    start = starts_at.astimezone(tz)
    until = f" to {ends_at.astimezone(tz):%H:%M}" if ends_at is not None else ""
    offset = f"{start:%z}"
    return {
        "date": f"{start:%A}, {start.day} {start:%B %Y}",
        "time": f"{start:%H:%M}{until}",
        "starts": f"{start:%H:%M}",
        "zone": f"{zone} (UTC{offset[:3]}:{offset[3:]})" if zone != "UTC" else "UTC",
    }


def _quote(quote: Raw, session: Raw, zone: str) -> dict[str, object]:
    currency = quote.get("currency") or session["currency"]
    add_ons = [
        {"name": each["name"], "price": money.shown(money.exact(each["price"]), currency)}
        for each in quote.get("addOns") or []
    ]
    deadline = quote.get("expiresAt")
    return {
        "total": money.shown(money.exact(quote["total"]), currency),
        "amount": money.shown(money.exact(quote["amount"]), currency),
        "add_ons": add_ons,
        "text": quote.get("text") or "",
        "expires": _when(deadline, None, zone) if deadline is not None else None,
    }


def _invoice(statement: Statement) -> dict[str, object]:
    invoice, currency = statement.invoice, statement.invoice.currency
    owed = statement.balance.outstanding
    return {
        "number": invoice.number or "",
        "total": money.shown(invoice.total, currency),
        "paid": money.shown(statement.balance.paid, currency),
        "owed": money.shown(owed, currency) if owed else "",
        "outstanding": money.shown(statement.balance.outstanding, currency),
        "due": f"{invoice.due_date.day} {invoice.due_date:%B %Y}" if invoice.due_date else "",
        "lines": [
            {"description": line.description, "total": money.shown(line.total, currency)} for line in invoice.lines
        ],
    }


def _session_link(session: Raw, settings: Settings) -> str:
    """Where the client answers a quote, or pays for a session."""
    if not settings.public_url:
        return ""
    return f"{settings.public_url.rstrip('/')}/pay/sessions/{session['sessionId']}"
