"""From a request to a place: quote, accept, decline, book (SPEC 4; MONEY, "Sessions").

A quote holds no time; accept and book claim it (``placing.py``). Of two that answer one quote, one decides: the
session's version, which every try stands on, names the quote it was read with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking import money, times
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import rules, snapshots
from confiido_booking.bookings.book import check_pair
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command, fresh_key, weight
from confiido_booking.bookings.models import ActorStamp, AddOn, CancellationPolicy, Policy, Quote
from confiido_booking.bookings.placing import place, replanned
from confiido_booking.bookings.requesting import (
    Asked,
    Particulars,
    about,
    add,
    check_texts,
    learned,
    repeated,
    unplaced,
    wished,
)
from confiido_booking.bookings.statuses import PaymentStatus, SessionStatus, TimeoutStatus
from confiido_booking.bookings.transitions import Found, Plan, cancellation, transition
from confiido_booking.bookings.views import Change, ClientRef, View
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Conflict, Invalid, NotAllowed, NotFound, wrong_field
from confiido_booking.experts.models import Expert
from confiido_booking.experts.service import offer

MOST_ADD_ONS = 20
MOST_QUOTES = 20  # that a session keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is offered: ``amount`` and add-ons, until ``expires_at``. ``currency`` None: the session's own."""

    amount: object
    currency: str | None = None
    add_ons: Sequence[AddOn] = ()
    expires_at: datetime | str | None = None
    text: str | None = None


async def quote(
    context: Context,
    booking_id: ObjectId,
    session_id: ObjectId,
    command: Command,
    view: View,
    terms: Terms,
    particulars: Particulars,
) -> Change:
    """Offer an existing session, or offer it anew: the new quote replaces the old one, the history keeps both."""

    async def planned(found: Found) -> Plan:
        fields = await _completed(context, found, command, particulars)
        offered = _offered(terms, found.session | fields, command)
        return Plan(
            to=SessionStatus.QUOTED,
            fields=fields | _as_stored(offered, found.session.get("quotes", [])),
            facts={"quoteId": offered.quote_id},
            grows=True,
        )

    return await replanned(context, booking_id, session_id, command, view, planned)


async def quote_new(
    context: Context,
    asked: Asked,
    terms: Terms,
    *,
    actor: Actor,
    key: str | None,
    view: View,
) -> Change:
    """Offer somebody a session that is not in the system yet (seed 1.4): by an admin, or by the expert.

    Raises:
        NotAllowed: an expert offers another's time.
        NotFound: ``client_not_found``: an expert names a client's id with whom they have no session.
    """
    now = context.clock()
    if actor.role not in rules.TRANSITIONS["quote"].roles:
        raise rules.not_allowed("quote")
    if asked.client is None:
        raise Invalid("clientId or clientEmail is needed to make somebody an offer", code="client_required")
    check_texts(asked)
    command = Command(action="quote", actor=actor, now=now, key=key or fresh_key())
    try:
        particulars = replace(asked.particulars, expert=own_time(asked.particulars.expert, actor))
        await _check_acquainted(context, asked.client, actor)
        fields = await learned(context, particulars, {}, actor, asked.client.client_id, now)
        offered = _offered(terms, {"currency": context.settings.currency} | fields, command)
    except BookingError:
        done = await repeated(context, asked.client, key, view) if key else None
        if done is None:
            raise
        return done  # L9: what was done is not judged again by a later clock
    session = unplaced(
        context,
        SessionStatus.QUOTED,
        command,
        fields | about(asked) | _as_stored(offered, []),
        facts={"quoteId": offered.quote_id},
    )
    return await add(context, session, asked.client, command, view)


def own_time(expert: str | ObjectId | None, actor: Actor) -> str | ObjectId | None:
    """Whose time an actor may offer: an expert only the own, named or not.

    Who an expert is was learned by ``experts.identify``. Raises NotAllowed.
    """
    if actor.role is not Role.EXPERT:
        return expert
    if actor.expert_id is None:
        raise NotAllowed("Only experts and administrators can make an offer")
    if expert not in (None, actor.expert_id, str(actor.expert_id), actor.id, str(actor.id), actor.user_id):
        raise NotAllowed("You can offer only your own time")
    return actor.expert_id


async def _check_acquainted(context: Context, client: ClientRef, actor: Actor) -> None:
    """L10: an expert names a client by e-mail, or by the id of one with whom they have a session."""
    if actor.role is not Role.EXPERT or client.client_email is not None:
        return
    shared = {"expertId": actor.own_expert_id, "listing.clientId": client.client_id}
    if await context.store.find_one("find session", "service_sessions", shared, {"_id": 1}) is None:
        raise NotFound("Client not found", code="client_not_found")


async def accept(
    context: Context,
    booking_id: ObjectId,
    session_id: ObjectId,
    command: Command,
    view: View,
    *,
    quote_id: ObjectId | None,
) -> Change:
    """The client takes the quote: pending, with a hold where payment is due. ``quote_id`` None: the one there is now.

    Raises:
        Conflict: ``quote_replaced``, ``quote_expired``; SlotTaken, ClientBusy: the time is not free any more.
        Invalid: ``incomplete``: the quote says no time, or not with whom.
    """
    meant = quote_id

    async def planned(found: Found) -> Plan:
        nonlocal meant
        session = found.session
        current = rules.current_quote(session)
        if current is None:
            raise Conflict("There is no amount yet that could be accepted", code="no_quote")
        if meant not in (None, current["quoteId"]):
            sentence = "The quote has been replaced by another"
            raise Conflict(sentence, code="quote_replaced", details={"quoteId": str(current["quoteId"])})
        meant = current["quoteId"]
        expert = await context.experts.get(session["expertId"])
        check_pair(expert, found.document["clientId"])
        price = money.exact(current["total"])
        hold = snapshots.held_until(price, expert, context.settings, command.now)
        held = {"timeoutAt": hold, "timeoutStatus": TimeoutStatus.ACTIVE.value} if hold else {}
        policy = snapshots.policy(expert, "quote", await _of_service(context, session))
        fields = _placed(session, expert, price, session["currency"], policy, command.now) | held
        return Plan(to=SessionStatus.PENDING, fields=fields, grows=True)

    return await place(context, booking_id, session_id, command, view, planned)


async def book_requested(
    context: Context,
    booking_id: ObjectId,
    session_id: ObjectId,
    command: Command,
    view: View,
    particulars: Particulars,
    *,
    price: object,
) -> Change:
    """Confirm what was requested or quoted, with what was still to be said of it (seed 1.13).

    The price: ``price``, else the quote's (expired or not), else what the expert takes for such a session.
    """

    async def planned(found: Found) -> Plan:
        session = found.session | await _completed(context, found, command, particulars)
        refusal = rules.incomplete(session)
        if refusal is not None:
            raise refusal
        expert = await context.experts.get(session["expertId"])
        check_pair(expert, found.document["clientId"])
        amount, currency, source = _price(session, expert, price, command.actor)
        policy = snapshots.policy(expert, source, await _of_service(context, session))
        fields = _placed(session, expert, amount, currency, policy, command.now)
        changed = {name: value for name, value in session.items() if found.session.get(name) != value}
        return Plan(to=SessionStatus.CONFIRMED, fields=changed | fields | {"confirmedAt": command.now}, grows=True)

    return await place(context, booking_id, session_id, command, view, planned)


async def decline(context: Context, booking_id: ObjectId, session_id: ObjectId, command: Command, view: View) -> Change:
    """No to a request (expert, admin) or to a quote (client, admin)."""
    return await transition(context, booking_id, session_id, command, view, cancellation(command))


async def _completed(context: Context, found: Found, command: Command, given: Particulars) -> Document:
    """What is newly said of an existing session."""
    if given == Particulars():
        return {}
    if given.expert is not None:
        given = replace(given, expert=own_time(given.expert, command.actor))
    client_id = found.document["clientId"]
    return await learned(context, given, found.session, command.actor, client_id, command.now)


def _offered(terms: Terms, session: Document, command: Command) -> Quote:
    """The quote, checked against the session it is for."""
    currency = money.currency(terms.currency or session["currency"])
    if len(terms.add_ons) > MOST_ADD_ONS:
        raise wrong_field("addOns", f"must be at most {MOST_ADD_ONS}")
    add_ons = [_add_on(each, f"addOns.{place}", currency) for place, each in enumerate(terms.add_ons)]
    amount = money.amount(terms.amount, currency)
    total = money.amount(sum((each.price for each in add_ons), amount), currency)
    _check_length(session.get("duration") or 0, [each.minutes for each in add_ons])
    expires_at = times.parse_instant(terms.expires_at, field="expiresAt") if terms.expires_at is not None else None
    if expires_at is not None and expires_at <= command.now:
        raise wrong_field("expiresAt", "must lie in the future")
    return Quote(
        quote_id=ObjectId(),
        amount=amount,
        add_ons=add_ons,
        total=total,
        currency=currency,
        expires_at=expires_at,
        text=rules.text(terms.text, "text") if terms.text is not None else None,
        quoted_at=command.now,
        quoted_by=ActorStamp(role=command.actor.role, id=command.actor.id),
    )


def _add_on(given: AddOn, field: str, currency: str) -> AddOn:
    if not given.name.strip():
        raise wrong_field(f"{field}.name", "is needed")
    if isinstance(given.minutes, bool) or not 0 <= given.minutes <= times.MAX_DURATION:
        raise wrong_field(f"{field}.minutes", f"must be from 0 to {times.MAX_DURATION}")
    name = rules.text(given.name, f"{field}.name", limit=100)
    return AddOn(name=name, price=money.amount(given.price, currency, field=f"{field}.price"), minutes=given.minutes)


def _check_length(duration: int, extra: Sequence[int]) -> int:
    whole = duration + sum(extra)
    if whole > times.MAX_DURATION:
        raise wrong_field("addOns", f"make the session longer than {times.MAX_DURATION} minutes")
    return whole


def _as_stored(offered: Quote, before: Sequence[Document]) -> Document:
    stored: Document = to_mongo(offered)
    quotes = [*before, stored][-MOST_QUOTES:]
    return {
        "quotes": quotes,
        "quoteBytes": weight(quotes, stored["addOns"]),
        "quoteAmount": stored["total"],
        "addOns": stored["addOns"],
        "quotedAt": offered.quoted_at,
        "currency": offered.currency,
    }


def _price(session: Document, expert: Expert, given: object, actor: Actor) -> tuple[Decimal, str, str]:
    """(price, currency, who set it)."""
    currency = session["currency"]
    if given is not None:
        return money.amount(given, currency, field="price"), currency, actor.role.value
    current = rules.current_quote(session)
    if current is not None:
        return money.exact(current["total"]), currency, "quote"
    offered = offer(expert, session["sessionType"], session["duration"])
    return offered.price, offered.currency, "expert"


async def _of_service(context: Context, session: Document) -> CancellationPolicy | None:
    """What the service that was asked for says of cancelling, if it says anything."""
    if session.get("serviceId") is None:
        return None
    columns = {"cancellationPolicy": 1}
    service = await context.store.find_one("read service", "services", {"_id": session["serviceId"]}, columns)
    stored = (service or {}).get("cancellationPolicy")
    return CancellationPolicy.model_validate(stored) if stored else None


def _placed(
    session: Document, expert: Expert, price: Decimal, currency: str, policy: Policy, now: datetime
) -> dict[str, Any]:
    """What every session has that got its place: the price, the add-ons' minutes, the rules as they are now."""
    duration = _check_length(session["duration"], [each.get("minutes", 0) for each in session.get("addOns") or []])
    return {
        **snapshots.of_expert(expert),
        **wished(session["startsAt"], duration, session["timezone"]),
        "duration": duration,
        "title": session.get("title") or snapshots.title(session["sessionType"], expert),
        "price": Decimal128(price),
        "currency": currency,
        "paymentStatus": (PaymentStatus.NOT_REQUIRED if price == 0 else PaymentStatus.PENDING).value,
        "policy": to_mongo(policy),
        "clientCancelUntil": rules.client_cancel_until(policy.cancellation, session["startsAt"]),
        "bookedAt": now,
    }
