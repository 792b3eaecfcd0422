"""What a service may be, decided without a database."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.catalog.models import HAS_CHILDREN, HAS_EVENTS, Service, ServiceType
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.money import DECIMALS
from confiido_booking.times import MAX_DURATION, MIN_DURATION

MAX_PARTICIPANTS = 2_000
MAX_CHILDREN = 100  # sessions that one purchase gives
_CHILD_TYPES = frozenset({ServiceType.INDIVIDUAL, ServiceType.WORKSHOP})


def price_of(cents: int, currency: str, *, field: str = "price_cents") -> Decimal:
    """An amount from the currency's minor units: JPY 500 → 500, KWD 1250 → 1.250 (ROUTES)."""
    return money.amount(Decimal(cents).scaleb(-DECIMALS[currency]), currency, field=field)


def cents(amount: Decimal, currency: str) -> int:
    """The inverse of :func:`price_of`."""
    return int(amount.scaleb(DECIMALS[currency]))


def check(service: Service, children: Sequence[Service]) -> None:
    """Refuse what no service can be. ``children``: the services its children name, as many as were found.

    Raises:
        Invalid: fields that its type needs or cannot have, each named; ``unknown_child``, ``invalid_child``,
            ``mixed_currency``.
    """
    kind = service.service_type
    wrong = []
    if kind in HAS_CHILDREN:
        if not service.children:
            wrong.append(FieldError("children", f"are required for a {kind}"))
    elif service.children:
        wrong.append(FieldError("children", "are of a package or a bundle"))
    elif service.duration is None:
        wrong.append(FieldError("duration_minutes", "is required"))
    if kind is ServiceType.INDIVIDUAL and service.max_participants not in (None, 1):
        wrong.append(FieldError("max_participants", "is 1 for an individual service"))
    if service.duration is not None and not MIN_DURATION <= service.duration <= MAX_DURATION:
        wrong.append(FieldError("duration_minutes", f"must be from {MIN_DURATION} to {MAX_DURATION} minutes"))
    if service.max_participants is not None and not 1 <= service.max_participants <= MAX_PARTICIPANTS:
        wrong.append(FieldError("max_participants", f"must be from 1 to {MAX_PARTICIPANTS}"))
    if kind is ServiceType.BUNDLE and len(service.children) > 1:
        wrong.append(FieldError("children", "of a bundle are of one service"))
    if sum(child.quantity for child in service.children) > MAX_CHILDREN:
        wrong.append(FieldError("children", f"are at most {MAX_CHILDREN} sessions"))
    if wrong:
        raise Invalid(f"{wrong[0].path} {wrong[0].message}", errors=wrong)
    if kind in HAS_CHILDREN:
        _check_children(service, {child.id: child for child in children})


def _check_children(service: Service, found: Mapping[object, Service]) -> None:
    if len({child.service_id for child in service.children}) < len(service.children):
        raise _wrong_child("names a service twice", "invalid_child")
    for child in service.children:
        known = found.get(child.service_id)
        if known is None or not known.is_active:
            raise _wrong_child("names a service that is not offered", "unknown_child")
        if known.service_type not in _CHILD_TYPES:
            raise _wrong_child("must be individual services and workshops", "invalid_child")
        if known.currency != service.currency:
            raise mixed_currency()


def mixed_currency() -> Invalid:
    sentence = "A service and what it consists of have one currency"
    return Invalid(sentence, code="mixed_currency", errors=[FieldError("currency", "is not that of its children")])


def _wrong_child(message: str, code: str) -> Invalid:
    return Invalid(f"children {message}", code=code, errors=[FieldError("children", message)])


def is_offered(service: Service) -> bool:
    """Whether anybody may see it."""
    return service.is_active and service.visibility == "public"


def runs(service: Service, actor: Actor) -> bool:
    """Whether this actor may change the service and its service sessions: staff, or the expert whose it is."""
    return actor.is_staff or (actor.role is Role.EXPERT and actor.expert_id == service.expert_id)


def has_events(service: Service) -> bool:
    """Whether its service sessions are made before it is sold."""
    return service.service_type in HAS_EVENTS
