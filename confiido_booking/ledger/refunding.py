"""Money goes back because an admin or the worker says so; what goes back by itself is in ``incoming.py`` (MONEY)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bson import ObjectId

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import finding
from confiido_booking.bookings.guards import fresh_key
from confiido_booking.bookings.views import Change
from confiido_booking.errors import Conflict, NotAllowed, NotFound, PreconditionFailed, wrong_field
from confiido_booking.ledger import rules
from confiido_booking.ledger.models import (
    Entry,
    EntryKind,
    EntryState,
    Place,
)
from confiido_booking.ledger.paying import MONEY_ROLES, Books
from confiido_booking.ledger.returning import left_beside
from confiido_booking.money import ZERO


@dataclass(frozen=True, slots=True)
class Refunded:
    """A session as a refund left it, and its entries: one for each payment by which money goes back."""

    change: Change
    refunds: Sequence[Entry]

    @property
    def amount(self) -> Decimal:
        return sum((each.amount for each in self.refunds), ZERO)


@dataclass(frozen=True, slots=True)
class Refunding(Books):
    async def refund(
        self,
        session_id: ObjectId,
        *,
        actor: Actor,
        reason: str,
        amount: object | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
    ) -> Refunded:
        """Pay money of a session back: of a cancelled one what is still due, or ``amount``. Admin, service.

        Of one that is not cancelled, first an over-payment, then its price is lowered. More than was due of a cancelled
        one makes more due.

        Raises:
            Conflict: ``nothing_to_refund``, ``disputed``; Invalid: ``over_refund``, ``amount_required``.
            Unavailable: ``provider_not_configured``.
        """
        actor = await self.context.experts.identify(actor)
        found = await finding.find_session(self.context, session_id, actor)
        if actor.role not in MONEY_ROLES:
            raise NotAllowed("Not authorized to refund this session")
        version = found.raw_session.get("version", 0)
        if if_version is not None and version != if_version:
            raise PreconditionFailed(details={"version": version})
        refunds = await self.refunds.of_session(found, actor=actor, amount=amount, reason=reason, key=request_key)
        return Refunded(await finding.find_session(self.context, found.session_id, actor), refunds)

    async def set_refund_due(
        self,
        session_id: ObjectId,
        *,
        actor: Actor,
        amount: object,
        reason: str,
        request_key: str | None = None,
        if_version: int | None = None,
    ) -> Change:
        """Set what of a cancelled session shall go back, instead of what its policy says. Admin.

        Raises:
            TransitionRefused: it is not cancelled. Conflict: ``already_refunded``: more has gone back already.
            Invalid: ``over_refund``: more than was paid.
        """
        actor = await self.context.experts.identify(actor)
        found = await finding.find_session(self.context, session_id, actor)
        if actor.role is not Role.ADMIN:
            raise NotAllowed("Only an administrator can set what is refunded")
        return await self.refunds.set_due(
            found, amount, actor=actor, reason=reason, key=request_key or fresh_key(), if_version=if_version
        )

    async def refund_payment(
        self,
        payment_id: ObjectId,
        *,
        actor: Actor,
        reason: str,
        amount: object | None = None,
        request_key: str | None = None,
    ) -> list[Entry]:
        """Pay a payment back: what is unplaced of it, or else all that is left, or ``amount``. Admin.

        Unplaced money goes back first, then what is on an invoice, then what is on its sessions.

        Raises:
            NotFound: ``payment_not_found``. Conflict, Invalid: as of :meth:`refund`.
        """
        if actor.role is not Role.ADMIN:
            raise NotAllowed("Only an administrator can refund a payment")
        payment = await self.entries.get(payment_id)
        if payment is None or payment.kind is not EntryKind.PAYMENT:
            raise NotFound("Payment not found", code="payment_not_found")
        if payment.applied_at is None:
            if payment.state is not EntryState.CAPTURED:
                raise Conflict("This payment has brought no money", code="nothing_to_refund")
            payment = await self.applying.apply(payment)
        done, rest = list[Entry](), money.amount(amount, payment.currency) if amount is not None else None
        if rest == 0:
            raise wrong_field("amount", "must be above 0", "invalid_amount")
        unplaced = left_beside(payment, None)
        if rest is None and unplaced:
            rest = unplaced
        places: list[tuple[Place, ObjectId | None]] = [(Place.PAYMENT, None)]
        places += [(each.to, each.id) for each in payment.allocations if each.to is not Place.UNPLACED]
        left = [(place, id_, await self._left_of(payment, place, id_)) for place, id_ in places]
        whole = sum((each for _, _, each in left), ZERO)
        if not whole:
            raise Conflict("There is nothing to refund", code="nothing_to_refund")
        rest = whole if rest is None else rest
        if rest > whole:
            raise wrong_field("amount", "is more than what was paid and not yet refunded", "over_refund")
        for place, id_, most in left:
            taken = min(rest, most)
            if not taken:
                continue
            rest -= taken
            if place is Place.SESSION and id_ is not None:
                found = await finding.find_session(self.context, id_, Actor.system())
                done += await self.refunds.of_session(
                    found, actor=actor, amount=taken, reason=reason, key=request_key, of=payment.id
                )
            else:
                done.append(
                    await self.refunds.of_payment(
                        payment, place, id_, taken, actor=actor, reason=reason, key=request_key
                    )
                )
        return done

    async def _left_of(self, payment: Entry, place: Place, id: ObjectId | None) -> Decimal:
        if place is not Place.SESSION or id is None:
            return left_beside(payment, id)
        found = await finding.find_session(self.context, id, Actor.system())
        return rules.left_of_payments(found.raw_session).get(payment.id, ZERO)
