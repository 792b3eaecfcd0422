"""What a purchase will give, before any of it is taken: the order, the sessions or their places, and their shares.

individual: one session at a time of the client's. workshop: one place. course: a place in each of its events. package,
bundle: a draft for each child, to be scheduled later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from bson import ObjectId

from confiido_booking import money
from confiido_booking.bookings import snapshots
from confiido_booking.bookings.book import check_pair
from confiido_booking.bookings.context import Context, wall_fields
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.models import ActorStamp, Policy, Session
from confiido_booking.bookings.rules import client_cancel_until
from confiido_booking.bookings.statuses import PaymentStatus, SessionStatus, TimeoutStatus
from confiido_booking.bookings.views import ClientRef, When
from confiido_booking.calendar import rules as calendar_rules
from confiido_booking.calendar.seats import Place
from confiido_booking.catalog import rules as catalog_rules
from confiido_booking.catalog.models import HAS_CHILDREN, PartialCancel, Service, ServiceType
from confiido_booking.catalog.service import Catalog
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, FieldError, Invalid
from confiido_booking.experts.models import Expert
from confiido_booking.ids import new_claim_id, new_reference
from confiido_booking.orders.models import Claimed, Order
from confiido_booking.workshops import commanding
from confiido_booking.workshops.rules import not_found as event_not_found
from confiido_booking.workshops.seating import Sale

MAX_SESSIONS = 200  # of one order


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to buy. ``event_id``: of a workshop; ``when``: of an individual service."""

    service_id: ObjectId
    event_id: ObjectId | None = None
    when: When | None = None
    client: ClientRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """``sessions`` stand on nothing (drafts) or on minutes (individual); ``places`` get theirs once they are taken,
    each at its share of ``shares``."""

    order: Order
    service: Service
    expert: Expert
    status: SessionStatus
    sessions: list[Document] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    shares: list[Decimal] = field(default_factory=list)

    def sale(self, share: Decimal) -> Sale:
        """What the session of one place keeps of the sale."""
        order = self.order
        return Sale(
            service=self.service,
            expert=self.expert,
            price=share,
            status=self.status,
            held_until=order.timeout_at,
            order_id=order.id,
        )


async def prepare(
    context: Context, catalog: Catalog, wish: Wish, client: ClientRef, command: Command, key: str | None
) -> Purchase:
    """Everything that can be refused without taking a place is refused here.

    Raises:
        NotFound: ``service_not_found``, ``service_session_not_found``. Conflict: ``service_inactive``,
            ``expert_inactive``, ``nothing_scheduled``, and what the expert's hours say of the time.
        Invalid: ``time_required``, ``service_session_required``, ``starts_in_past``, ``invalid_time``,
            ``self_booking``.
    """
    service = await _on_sale(catalog, wish.service_id, command)
    expert = await context.experts.get(service.expert_id)
    check_pair(expert, client.client_id, command.actor)
    order = _order(context, service, expert, client, command, key)
    status = SessionStatus.PENDING if service.price else SessionStatus.CONFIRMED
    _check_asked(service, wish)
    if service.service_type is ServiceType.INDIVIDUAL:
        assert wish.when is not None
        session = _individual(context, service, expert, order, status, wish.when, command)
        order.claims = [_claimed(session)]
        return _with_ids(Purchase(order=order, service=service, expert=expert, status=status, sessions=[session]))
    if service.service_type in HAS_CHILDREN:
        sessions = await _drafts(context, catalog, service, order, client, command)
        return _with_ids(
            Purchase(order=order, service=service, expert=expert, status=SessionStatus.DRAFT, sessions=sessions)
        )
    events = await _events(context, service, wish)
    held_until = order.timeout_at if status is SessionStatus.PENDING else None
    places = [_place(event["_id"], order, client, command.now, held_until) for event in events]
    order.claims = [
        Claimed(claim_id=place.claim_id, session_id=place.session_id, service_session_id=place.event_id)
        for place in places
    ]
    shares = money.split(service.price, [Decimal(1)] * len(places), service.currency)
    return _with_ids(Purchase(order=order, service=service, expert=expert, status=status, places=places, shares=shares))


async def _on_sale(catalog: Catalog, service_id: ObjectId, command: Command) -> Service:
    """A service that this actor may buy; what is private is for those who run it."""
    service = await catalog.get(service_id, actor=command.actor)
    if not service.is_active:
        raise Conflict("This service is off sale", code="service_inactive")
    return service


def _check_asked(service: Service, wish: Wish) -> None:
    kind = service.service_type
    if kind is ServiceType.INDIVIDUAL and wish.when is None:
        raise Invalid("starts_at is required", code="time_required", errors=[FieldError("starts_at", "is required")])
    if kind is ServiceType.WORKSHOP and wish.event_id is None:
        errors = [FieldError("service_session_id", "is required")]
        raise Invalid("service_session_id is required", code="service_session_required", errors=errors)
    if kind is not ServiceType.INDIVIDUAL and wish.when is not None:
        errors = [FieldError("starts_at", "is of an individual service")]
        raise Invalid(f"A {kind} has no time to choose", errors=errors)
    if kind is not ServiceType.WORKSHOP and wish.event_id is not None:
        errors = [FieldError("service_session_id", "is of a workshop")]
        raise Invalid(f"A {kind} has no service session to choose", errors=errors)


async def _events(context: Context, service: Service, wish: Wish) -> list[Document]:
    """Where the places are: the one event of a workshop, all of a course that are not cancelled."""
    if wish.event_id is not None:
        event = await commanding.read(context, wish.event_id)
        if event.get("serviceId") != service.id:
            raise event_not_found()
        return [event]
    query = {"serviceId": service.id, "visibility": "public", "status": {"$ne": "canceled"}}
    columns = {"startsAt": 1}
    events = await context.store.find("read events", "service_sessions", query, columns, sort=[("startsAt", 1)])
    if not events:
        raise Conflict("This course has no classes yet", code="nothing_scheduled")
    if len(events) > MAX_SESSIONS:
        raise Conflict(f"An order has at most {MAX_SESSIONS} sessions", code="too_many_sessions")
    return events


def _order(
    context: Context, service: Service, expert: Expert, client: ClientRef, command: Command, key: str | None
) -> Order:
    """``_id`` is made like a claim's: it is what a fence names."""
    now, days = command.now, service.validity_days if service.service_type in HAS_CHILDREN else None
    return Order(
        id=new_claim_id(now),
        reference=new_reference("CO"),
        client_id=client.client_id,
        service_id=service.id,
        service_version=service.version,
        service_type=service.service_type,
        title=service.name,
        price=service.price,
        currency=service.currency,
        timeout_at=snapshots.held_until(service.price, expert, context.settings, now),
        valid_until=now + timedelta(days=days) if days else None,
        validity_days=days,
        on_expiry=service.on_expiry,
        partial_cancel=service.partial_cancel,
        request_key=key,
        placed_by=ActorStamp(role=command.actor.role, id=command.actor.id),
        created_at=now,
        updated_at=now,
    )


def _with_ids(purchase: Purchase) -> Purchase:
    """The order knows its sessions before any of them is."""
    ids = [each["sessionId"] for each in purchase.sessions] + [place.session_id for place in purchase.places]
    purchase.order.session_ids = ids
    for session in purchase.sessions:
        session |= by_its_order(purchase.order)
    return purchase


def by_its_order(order: Order) -> Document:
    """What a session keeps of how its order can be cancelled."""
    if order.partial_cancel is PartialCancel.EACH or len(order.session_ids) < 2:
        return {}
    return {"partialCancel": order.partial_cancel.value}


def _place(event_id: ObjectId, order: Order, client: ClientRef, now: datetime, held_until: datetime | None) -> Place:
    return Place(
        event_id=event_id,
        claim_id=new_claim_id(now),
        client_id=client.client_id,
        session_id=ObjectId(),
        claimed_at=now,
        order_id=order.id,
        held_until=held_until,
    )


def _claimed(session: Mapping[str, ObjectId]) -> Claimed:
    return Claimed(
        claim_id=session["claimId"],
        session_id=session["sessionId"],
        service_session_id=session["serviceSessionId"],
        expert_id=session["expertId"],
    )


def _individual(
    context: Context,
    service: Service,
    expert: Expert,
    order: Order,
    status: SessionStatus,
    when: When,
    command: Command,
) -> Document:
    """A private session at the time that was asked for, by the rules of every booking (SPEC 6)."""
    starts_at, zone = context.start_of(when, expert.timezone)
    duration = service.duration or 0
    as_client = not command.actor.is_staff
    refusal = calendar_rules.why_not(expert, starts_at, duration, now=command.now, as_client=as_client)
    if refusal is not None:
        raise refusal
    session = _session(service, expert, order, status, service.price, command)
    policy = Policy.model_validate(session["policy"])
    return {
        **session,
        "claimId": new_claim_id(command.now),
        "requestKey": command.key,
        **wall_fields(starts_at, duration, zone),
        "clientCancelUntil": client_cancel_until(policy.cancellation, starts_at),
    }


async def _drafts(
    context: Context, catalog: Catalog, service: Service, order: Order, client: ClientRef, command: Command
) -> list[Document]:
    """A draft for each unit of each child, at a share of the price by what the child costs by itself."""
    found = await catalog.many([child.service_id for child in service.children])
    units: list[tuple[Service, Expert]] = []
    for child in service.children:
        one = found.get(child.service_id)
        if one is None or not one.is_active:
            raise Conflict("A part of this service is off sale", code="service_inactive")
        if one.currency != service.currency:
            raise catalog_rules.mixed_currency()
        expert = await context.experts.get(one.expert_id)
        check_pair(expert, client.client_id, command.actor)
        units += [(one, expert)] * child.quantity
    shares = money.split(service.price, [one.price for one, _ in units], service.currency)
    sessions = []
    for (one, expert), share in zip(units, shares, strict=True):
        session = _session(one, expert, order, SessionStatus.DRAFT, share, command)
        sessions.append({**session, **({"validUntil": order.valid_until} if order.valid_until else {})})
    sessions[0]["requestKey"] = command.key
    return sessions


def _session(
    service: Service, expert: Expert, order: Order, status: SessionStatus, price: Decimal, command: Command
) -> Document:
    """A session as it will be pushed, without its time. Its service session has its id: a draft that gets a place in
    an event is found in lists where it was before."""
    now, session_id, held_until = command.now, ObjectId(), order.timeout_at
    policy = snapshots.policy(expert, "service", service.cancellation_policy)
    is_held = held_until is not None and status is not SessionStatus.CONFIRMED
    session = Session(
        session_id=session_id,
        service_session_id=session_id,
        service_id=service.id,
        service_version=service.version,
        service_type=order.service_type.value if order.service_type else None,
        order_id=order.id,
        title=service.name,
        session_type=service.medium,
        duration=service.duration,
        timezone=expert.timezone,
        status=status,
        payment_status=PaymentStatus.PENDING if price else PaymentStatus.NOT_REQUIRED,
        price=price,
        currency=service.currency,
        timeout_at=held_until if is_held else None,
        timeout_status=TimeoutStatus.ACTIVE if is_held else None,
        created_by=ActorStamp(role=command.actor.role, id=command.actor.id),
        policy=policy,
        booked_at=now,
        confirmed_at=now if status is SessionStatus.CONFIRMED else None,
        created_time=now,
        updated_time=now,
    )
    return {**to_mongo(session), **snapshots.of_expert(expert), "history": [command.entry(status)]}
