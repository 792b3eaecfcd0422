"""The words other families of routes have for a session's state (SPEC 4, "Dialects").

The sales workflow has one word per session: ``cancelled``, ``draft``, ``request``, ``quoted`` as they are; else
``invoiced`` where an invoice holds it; else ``paid``; else ``completed``, ``no-show``; else ``booked``. The words
partition all sessions, so that tabs made of them never overlap.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from confiido_booking.bookings import rules
from confiido_booking.bookings.reading import in_status
from confiido_booking.bookings.statuses import FINISHED, SessionStatus

SALES_WORDS = ("request", "quoted", "draft", "booked", "paid", "invoiced", "completed", "no-show", "cancelled")

_AS_THEY_ARE = {"cancelled": "cancelled", "draft": "draft", "requested": "request", "quoted": "quoted"}
_STORED = {word: status for status, word in _AS_THEY_ARE.items()}
SETTLED = ("paid", "not_required")
_SALES_SPELLINGS = {"requested": "request", "confirmed": "booked", "pending": "booked", "pending-payment": "booked"}


def sales_spelled(word: str) -> str:
    """A sales word from any spelling of it or of SPEC 4's own."""
    folded = word.strip().casefold().replace("_", "-").replace(" ", "-")
    folded = {"canceled": "cancelled", "noshow": "no-show"}.get(folded, folded)
    return _SALES_SPELLINGS.get(folded, folded)


def sales_word(session: Mapping[str, Any], now: datetime) -> str:
    """The word for a session as the store keeps it."""
    status = rules.status_now(session, now)
    return word_of(status, is_paid=is_paid(session), is_invoiced=bool(session.get("invoiceIds")))


def is_paid(session: Mapping[str, Any]) -> bool:
    """Seed 1.7's ``paid``: nothing is left to pay, or nothing ever was."""
    return session.get("paymentStatus") in SETTLED


def word_of(status: str, *, is_paid: bool, is_invoiced: bool) -> str:
    if status in _AS_THEY_ARE:
        return _AS_THEY_ARE[status]
    if is_invoiced:
        return "invoiced"
    if is_paid:
        return "paid"
    return status if status in FINISHED else "booked"


def in_sales_word(word: str, now: datetime) -> dict[str, Any]:
    """The condition on listing entries that :func:`sales_word` answers with ``word``."""
    if word in _STORED:
        return in_status(_STORED[word], now)
    open_money = {"listing.invoiced": {"$ne": True}, "listing.paymentStatus": {"$nin": list(SETTLED)}}
    if word in ("completed", "no-show"):
        return {"listing.status": word, **open_money}
    live = in_status(SessionStatus.PENDING, now)
    if word == "booked":
        return {"$or": [live, {"listing.status": "confirmed"}], **open_money}
    placed = {"$or": [live, {"listing.status": {"$in": ["confirmed", "completed", "no-show"]}}]}
    if word == "invoiced":
        return {**placed, "listing.invoiced": True}
    return {**placed, "listing.invoiced": {"$ne": True}, "listing.paymentStatus": {"$in": list(SETTLED)}}


_SEAT_WORDS = {"requested": "draft", "quoted": "draft", "pending": "pending_payment", "cancelled": "canceled"}


def seat_word(status: str) -> str:
    """Seed 004's word for a session's status: draft, pending_payment, confirmed or canceled."""
    return _SEAT_WORDS.get(status, "draft" if status == SessionStatus.DRAFT else "confirmed")
