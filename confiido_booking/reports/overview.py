"""The first screen: money, sessions by their word, and what comes next (seed 1.17)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.billing import reading as invoices
from confiido_booking.billing.reading import InvoiceFilter
from confiido_booking.bookings import totals
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.dialects import in_sales_word
from confiido_booking.bookings.reading import SessionFilter, SessionPage, in_status, query_of
from confiido_booking.bookings.service import Bookings
from confiido_booking.bookings.stats import ADDITIVE
from confiido_booking.errors import NotAllowed
from confiido_booking.money import ZERO

MOST_UPCOMING = 10
Billed = Mapping[str, Mapping[str, Decimal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """``totals`` per currency: booked, paid, refunded, outstanding, invoiced, overdue. ``counts`` by sales word."""

    totals: Mapping[str, Mapping[str, Decimal]]
    counts: Mapping[str, int]
    upcoming: SessionPage


async def overview(
    bookings: Bookings, actor: Actor, *, from_: datetime | None, to: datetime | None, currency: str | None
) -> Overview:
    """Of everybody's sessions for staff, of the own for an expert.

    ``from_``, ``to``: sessions by their start, invoices by their date of issue. What an expert has invoiced and what of
    it is overdue is told by the own sessions alone, as invoices may hold those of others.

    Raises:
        NotAllowed: a client asks. Invalid: ``invalid_currency``.
    """
    if actor.role is Role.CLIENT:
        raise NotAllowed("Only experts and administrators have an overview")
    context = bookings.context
    now = context.clock()
    code = money.currency(currency) if currency is not None else None
    only = [] if code is None else [{"listing.currency": code}]
    wanted = SessionFilter(from_=from_, to=to, conditions=only)
    ahead = replace(
        wanted,
        from_=max(from_, now) if from_ else now,
        sort="startsAt",
        conditions=[*only, {"$or": [in_status("pending", now), in_status("confirmed", now)]}],
    )
    figures, upcoming, billed = await asyncio.gather(
        bookings.stats(actor=actor, filters=wanted),
        bookings.list(actor=actor, filters=ahead, limit=MOST_UPCOMING),
        _own_billed(context, actor, wanted, now) if actor.role is Role.EXPERT else _billed(context, actor, from_, to),
    )
    codes = [code] if code else sorted({*figures.sums, *billed})
    nothing: Mapping[str, Decimal] = {}
    return Overview(
        totals={
            code: {name: figures.sums.get(code, nothing).get(name, ZERO) for name in ADDITIVE}
            | {name: billed.get(code, nothing).get(name, ZERO) for name in ("invoiced", "overdue")}
            for code in codes
        },
        counts=figures.by_word,
        upcoming=upcoming,
    )


async def _billed(context: Context, actor: Actor, from_: datetime | None, to: datetime | None) -> Billed:
    sums = await invoices.totals_of(context, actor, InvoiceFilter(from_=from_, to=to))
    return {code: {"invoiced": of["issued"], "overdue": of["overdue"]} for code, of in sums.items()}


async def _own_billed(context: Context, actor: Actor, wanted: SessionFilter, now: datetime) -> Billed:
    held = replace(wanted, conditions=[*wanted.conditions, in_sales_word("invoiced", now)])
    query = await query_of(context, actor, held, now)
    entries = (
        await context.store.find("read invoiced", "service_sessions", query or {}, {"listing": 1}) if query else []
    )
    lines = {entry["listing"]["sessionId"]: totals.line(entry["listing"]) for entry in entries}
    owed = {session: totals.contribution(line)["outstanding"] for session, line in lines.items()}
    late = await invoices.overdue_among(context, [session for session, amount in owed.items() if amount > 0])
    billed: dict[str, dict[str, Decimal]] = {}
    for session, line in lines.items():
        mine = billed.setdefault(line.currency, {"invoiced": ZERO, "overdue": ZERO})
        mine["invoiced"] += line.price
        mine["overdue"] += owed[session] if session in late else ZERO
    return billed
