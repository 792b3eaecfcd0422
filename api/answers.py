"""What the routes of a booking answer with: one changed session, one page of sessions."""

from collections.abc import Mapping
from decimal import Decimal

from api import render
from api.door import Caller, Writer
from api.envelope import Answer, success
from confiido_booking.actors import Actor
from confiido_booking.bookings.reading import SessionPage
from confiido_booking.bookings.stats import Stats
from confiido_booking.bookings.views import Change
from confiido_booking.payments.listing import TransactionStats

Wire = dict[str, object]


def etag(version: int) -> str:
    """The same for every viewer, though they do not see the same of it."""
    return f'"{version}"'


def changed(writer: Writer, change: Change, message: str, *, status: int = 200) -> Answer:
    """The answer to a session's write: ``data {booking, session}`` and its ``ETag``."""
    now = writer.confiido.clock()
    headers = {"ETag": etag(change.raw_session["version"])}
    if writer.minimal:
        headers["Preference-Applied"] = "return=minimal"
    data = {
        "booking": render.booking(change.document, actor=writer.actor, now=now, minimal=writer.minimal),
        "session": render.session_with_actions(change.raw_session, actor=writer.actor, now=now),
    }
    return success(data, message, status=status, headers=headers)


def one_session(caller: Caller, change: Change) -> Answer:
    session = render.session_with_actions(change.raw_session, actor=caller.actor, now=caller.confiido.clock())
    data = {"bookingId": change.document["_id"], "session": session}
    return success(data, headers={"ETag": etag(change.raw_session["version"])})


async def booking_page(caller: Caller, page: SessionPage, *, viewer: Actor, with_experts: bool) -> list[Wire]:
    """``data.bookings`` of a list: populated as FRONTEND 1 has it, each with its sessions of the page."""
    now = caller.confiido.clock()
    shown = [
        {**render.booking(document, actor=viewer, now=now), "clientId": render.client(document)}
        for document in page.bookings
    ]
    if not with_experts:
        return shown
    experts = {session["expertId"] for _, session in page.sessions if "expertId" in session}
    profiles = await caller.confiido.experts.many(list(experts))
    return [render.with_experts(booking, profiles) for booking in shown]


def pagination(page: SessionPage) -> Wire:
    counts: Wire = {"page": page.page, "limit": page.limit, "total": page.total, "pages": page.pages}
    return counts if page.next_cursor is None else {**counts, "nextCursor": page.next_cursor}


def payment_stats(stats: Stats, currency: str) -> Wire:
    """Counts of sessions by payment; ``totalSpent`` is money received less refunds (SPEC 8)."""
    by_payment = {word: stats.by_payment.get(word, 0) for word in ("paid", "pending", "failed", "refunded")}
    return {"total": stats.total, **by_payment, "totalSpent": received(stats, currency), "received": stats.received}


def expert_stats(stats: Stats, currency: str) -> Wire:
    by_status = stats.by_status
    return {
        "totalEarnings": received(stats, currency),
        "received": stats.received,
        "totalSessions": stats.total,
        "totalBookings": stats.bookings,
        "completedSessions": by_status.get("completed", 0),
        "paidSessions": stats.by_payment.get("paid", 0),
        "pendingSessions": by_status.get("pending", 0),
        "confirmedSessions": by_status.get("confirmed", 0),
        "cancelledSessions": by_status.get("cancelled", 0),
        "noShowSessions": by_status.get("no-show", 0),
    }


def received(stats: Stats | TransactionStats, currency: str) -> Decimal:
    """One number where frontends want one: of the marketplace's currency, or of the only one there is."""
    sums: Mapping[str, Decimal] = stats.received
    if len(sums) == 1:
        return next(iter(sums.values()))
    return sums.get(currency, Decimal(0))
