"""The ledger: the only way money comes onto a session or an invoice, and off it again (MONEY, The ledger; L7).

Every method is repeatable: an entry is applied once, however often it is told and in whatever order. What a process
that died left half done is finished by whoever meets it 30 s later, the worker and the doctor first of all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from bson import ObjectId

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.billing import reading as invoices_reading
from confiido_booking.billing.ledger import Allocations, LinePayment
from confiido_booking.billing.rules import refuse_unless_open
from confiido_booking.bookings import cancelling, finding, merging, transitions
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.cancelling import Terms
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.statuses import PaymentStatus, SessionStatus
from confiido_booking.bookings.views import Change, View
from confiido_booking.database.store import Document
from confiido_booking.errors import (
    BookingError,
    Conflict,
    FieldError,
    Invalid,
    NotAllowed,
    NotFound,
    PaymentNotVerified,
    PreconditionFailed,
)
from confiido_booking.ledger import rules
from confiido_booking.ledger.applying import Applying
from confiido_booking.ledger.entries import FINISH_AFTER, Entries
from confiido_booking.ledger.incoming import Incoming
from confiido_booking.ledger.models import (
    MANUAL,
    OPENING,
    Allocation,
    DisputeState,
    Entry,
    EntryKind,
    EntryState,
    Place,
    Target,
)
from confiido_booking.ledger.providers import Provider as Provider
from confiido_booking.ledger.providers import RefundAnswer as RefundAnswer
from confiido_booking.ledger.refunds import Refunds, left_beside
from confiido_booking.money import ZERO

_BATCH = 200
_MONEY_ROLES = (Role.ADMIN, Role.SERVICE, Role.SYSTEM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is left to pay of a session, an order or an invoice, and whose it is."""

    target: Target
    amount: Decimal
    currency: str
    client_id: ObjectId | None
    booking_id: ObjectId | None


@dataclass(frozen=True, slots=True)
class Paid:
    """A session as a payment left it, and the payment's entry."""

    change: Change
    payment: Entry


@dataclass(frozen=True, slots=True)
class Refunded:
    """A session as a refund left it, and its entries: one for each payment by which money goes back."""

    change: Change
    refunds: Sequence[Entry]

    @property
    def amount(self) -> Decimal:
        return sum((each.amount for each in self.refunds), ZERO)


@dataclass(frozen=True, slots=True)
class Ledger:
    """``confiido.ledger``."""

    context: Context
    providers: Mapping[str, Provider] = field(default_factory=dict)

    @property
    def entries(self) -> Entries:
        return Entries(self.context.store, self.context.clock)

    @property
    def applying(self) -> Applying:
        return Applying(self.context, self.entries, Allocations(self.context))

    @property
    def refunds(self) -> Refunds:
        return Refunds(self.applying, self.providers)

    @property
    def incoming(self) -> Incoming:
        return Incoming(self.applying, self.refunds)

    async def paid(
        self,
        session_id: ObjectId,
        *,
        actor: Actor,
        amount: object | None = None,
        currency: str | None = None,
        method: str | None = None,
        reference: str | None = None,
        paid_at: datetime | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
    ) -> Paid:
        """Record money that was received for a session: all that is outstanding, or ``amount``. Admin, service.

        Confirms a pending session that is wholly paid by it; a part never does, but its first restarts the hold.

        Raises:
            NotFound: ``session_not_found``. NotAllowed: client, expert.
            TransitionRefused: requested, quoted, cancelled, a draft without an order. Conflict: ``already_paid``.
            Invalid: ``overpayment``, ``currency_mismatch``, ``invalid_amount``.
        """
        actor = await self.context.experts.identify(actor)
        found = await finding.find_session(self.context, session_id, actor)
        if actor.role not in _MONEY_ROLES:
            raise booking_rules.not_allowed("pay")
        payment = await self._recorded(
            found,
            actor=actor,
            amount=amount,
            currency=currency,
            method=method,
            reference=reference,
            paid_at=paid_at,
            key=request_key,
            if_version=if_version,
        )
        return Paid(await finding.find_session(self.context, found.session_id, actor), payment)

    async def _recorded(
        self,
        found: Change,
        *,
        actor: Actor,
        amount: object | None = None,
        currency: str | None = None,
        method: str | None = None,
        reference: str | None = None,
        paid_at: datetime | None = None,
        key: str | None = None,
        if_version: int | None = None,
        entry_id: ObjectId | None = None,
    ) -> Entry:
        """Somebody's word that money was received: an entry, and what it does, or a refusal that leaves nothing."""
        session, now = found.raw_session, self.context.clock()
        entry_id = entry_id or (rules.derived_id("pay", session["sessionId"], key) if key else ObjectId())
        if key and (known := await self.entries.get(entry_id)) is not None:
            return await self._finished_payment(known)
        if if_version is not None and session.get("version", 0) != if_version:
            raise PreconditionFailed(details={"version": session.get("version", 0)})
        if paid_at is not None and paid_at > now:
            raise _wrong("paidAt", "must not be in the future")
        wanted_currency = money.currency(currency) if currency else session["currency"]
        if refusal := rules.why_unpayable(session, actor, now):
            raise refusal
        wanted = rules.owed(session) if amount is None else money.amount(amount, wanted_currency)
        if not wanted:
            raise _wrong("amount", "must be above 0", "invalid_amount")
        rules.refuse_payment(session, wanted, wanted_currency, actor, now)
        entry = Entry(
            id=entry_id,
            kind=EntryKind.PAYMENT,
            state=EntryState.CREATED,
            provider=MANUAL,
            method=booking_rules.text(method or MANUAL, "paymentMethod"),
            reference=booking_rules.text(reference, "reference", limit=500) if reference else None,
            amount=wanted,
            currency=wanted_currency,
            client_id=found.document["clientId"],
            booking_id=found.document["_id"],
            target=Target(to=Place.SESSION, id=session["sessionId"]),
            due_at=now + FINISH_AFTER,
            request_key=key,
            actor=actor.stamp(),
            created_at=now,
            paid_at=paid_at or now,
        )
        stored = await self.entries.insert(entry)
        return await self.applying.apply(stored, strict=True, if_version=if_version)

    async def _finished_payment(self, known: Entry) -> Entry:
        if known.state is EntryState.FAILED:
            raise Conflict("This payment was refused", code=known.history[-1].reason or "conflict")
        return await self.applying.apply(known, strict=known.state is EntryState.CREATED)

    async def complete_payment(
        self,
        booking_id: ObjectId,
        session_id: ObjectId,
        *,
        actor: Actor,
        method: str | None = None,
        request_key: str | None = None,
        if_version: int | None = None,
        view: View = View.WHOLE,
    ) -> Change:
        """FRONTEND 2.4: the session was paid. A client is believed once a verified payment is there. Repeatable.

        Raises:
            PaymentNotVerified: a client's word alone.
        """
        actor = await self.context.experts.identify(actor)
        command = Command(
            action="pay",
            actor=actor,
            now=self.context.clock(),
            key=request_key or fresh_key(),
            if_version=if_version,
        )
        await transitions.check_role(self.context, booking_id, session_id, command)
        found = await transitions.explain(self.context, booking_id, session_id, command)
        if isinstance(found, Change):
            return found
        trusted = actor.role is not Role.CLIENT or self.context.settings.trust_client_payments
        if not trusted and await self._finished(found.session):
            found = await transitions.explain(self.context, booking_id, session_id, command)
            if isinstance(found, Change):
                return found
        session = found.session
        if session["paymentStatus"] == PaymentStatus.PAID and session["status"] != SessionStatus.CANCELLED:
            return Change(found.document, session["sessionId"], repeated=True)
        if refusal := rules.why_unpayable(session, actor, command.now):
            raise refusal
        if not trusted:
            raise PaymentNotVerified()
        await self._recorded(
            Change(found.document, session["sessionId"]),
            actor=actor,
            method=method,
            key=request_key,
            if_version=if_version,
        )
        return await self._seen(booking_id, session["sessionId"], view)

    async def _finished(self, session: Document) -> bool:
        """Whether a verified payment was there that had not come onto its session yet."""
        waiting = {"target.id": session["sessionId"], "state": EntryState.CAPTURED.value, "appliedAt": None}
        entries = await self.entries.find(waiting)
        for entry in entries:
            await self.applying.apply(entry)
        return bool(entries)

    async def _seen(self, booking_id: ObjectId, session_id: ObjectId, view: View) -> Change:
        store = self.context.store
        document = await store.find_one("read booking", "bookings", {"_id": booking_id, **CURRENT})
        document = await merging.followed(store, document)
        assert document is not None
        if view is View.HEAD:
            own = [each for each in document["sessions"] if each["sessionId"] == session_id]
            document = document | {"sessions": own}
        return Change(document, session_id)

    async def record(self, payment: LinePayment) -> None:
        """A payment of one line of an invoice (``billing/ledger.py``)."""
        if payment.session_id is not None and payment.booking_id is not None:
            found = await finding.find_session(
                self.context, payment.session_id, Actor.system(), booking_id=payment.booking_id
            )
            await self._recorded(
                found,
                actor=payment.actor,
                amount=payment.amount,
                currency=payment.currency,
                method=payment.method,
                reference=payment.reference,
                key=payment.id,
                entry_id=ObjectId(payment.id),
            )
            return
        now = self.context.clock()
        stated = await Allocations(self.context).statement(payment.invoice_id)
        entry = Entry(
            id=ObjectId(payment.id),
            kind=EntryKind.PAYMENT,
            state=EntryState.CREATED,
            provider=MANUAL,
            method=payment.method,
            reference=payment.reference,
            amount=payment.amount,
            currency=payment.currency,
            client_id=stated.invoice.client_id,
            target=Target(to=Place.INVOICE, id=payment.invoice_id),
            parts=[Allocation(to=Place.INVOICE, id=payment.invoice_id, amount=payment.amount)],
            due_at=now + FINISH_AFTER,
            request_key=payment.id,
            actor=payment.actor.stamp(),
            created_at=now,
            paid_at=payment.paid_at,
        )
        known = await self.entries.get(entry.id)
        if known is None:
            Allocations.refuse(stated, payment.amount)
        await self._finished_payment(known or await self.entries.insert(entry))

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
        if actor.role not in _MONEY_ROLES:
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
            raise _wrong("amount", "must be above 0", "invalid_amount")
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
            raise _wrong("amount", "is more than what was paid and not yet refunded", "over_refund")
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

    async def cancellation(self, session_id: ObjectId, *, actor: Actor) -> Terms:
        """What a cancellation by this actor would give back now; the same rule as cancelling itself."""
        actor = await self.context.experts.identify(actor)
        found = await finding.find_session(self.context, session_id, actor, only_read=True)
        return cancelling.terms(found.raw_session, actor, self.context.clock())

    async def of_session(self, session_id: ObjectId, *, actor: Actor) -> list[Entry]:
        """The entries of a session, the first first. Its client, admin, service."""
        actor = await self.context.experts.identify(actor)
        found = await finding.find_session(self.context, session_id, actor, only_read=True)
        if actor.role is Role.EXPERT:
            raise NotAllowed("Not authorized to see the payments of this session")
        id_ = found.session_id
        return await self.entries.find({"$or": [{"target.id": id_}, {"allocations.id": id_}]})

    async def owed(self, to: Place, id: ObjectId, *, actor: Actor) -> Owed:
        """What an attempt to pay for this is of; a client's own only.

        Raises:
            NotFound: ``session_not_found``, ``order_not_found``, ``invoice_not_found``.
            Conflict: ``already_paid``, or its state, as of :meth:`paid`.
        """
        actor = await self.context.experts.identify(actor)
        if to is Place.INVOICE:
            return await self._owed_of_invoice(id, actor)
        if to is Place.ORDER:
            query: Document = {"sessions.orderId": id, **CURRENT}
            document = await self.context.store.find_one("read booking", "bookings", query)
            sessions = [each for each in (document or {}).get("sessions", []) if each.get("orderId") == id]
        else:
            found = await finding.find_session(self.context, id, actor)
            document, sessions = found.document, [found.raw_session]
        if document is None or (actor.role is Role.CLIENT and document["clientId"] != actor.id):
            raise NotFound("Order not found", code="order_not_found")
        if actor.role is Role.EXPERT:
            raise booking_rules.not_allowed("pay")
        now = self.context.clock()
        payable = [each for each in sessions if rules.why_unpayable(each, actor, now) is None]
        if not payable:
            refusal = rules.why_unpayable(sessions[0], actor, now)
            raise refusal or Conflict("There is nothing left to pay", code="already_paid")
        return Owed(
            target=Target(to=to, id=sessions[0]["sessionId"] if to is Place.SESSION else id),
            amount=sum((rules.owed(each) for each in payable), ZERO),
            currency=payable[0]["currency"],
            client_id=document["clientId"],
            booking_id=document["_id"],
        )

    async def _owed_of_invoice(self, id: ObjectId, actor: Actor) -> Owed:
        stated = await invoices_reading.find(self.context, id, actor)
        refuse_unless_open(stated.invoice)
        if not stated.balance.outstanding:
            raise Conflict("There is nothing left to pay on this invoice", code="already_paid")
        return Owed(
            target=Target(to=Place.INVOICE, id=id),
            amount=stated.balance.outstanding,
            currency=stated.invoice.currency,
            client_id=stated.invoice.client_id,
            booking_id=stated.invoice.booking_id,
        )

    async def open(
        self,
        owed: Owed,
        *,
        provider: str,
        provider_order_id: str,
        actor: Actor,
        id: ObjectId | None = None,
        method: str | None = None,
    ) -> Entry:
        """Note an attempt: the provider has been asked for so much. ``id``: of the entry, where the caller chose it."""
        return await self.entries.insert(
            Entry(
                id=id or ObjectId(),
                kind=EntryKind.PAYMENT,
                state=EntryState.CREATED,
                provider=provider,
                provider_order_id=provider_order_id,
                method=method,
                amount=owed.amount,
                currency=owed.currency,
                client_id=owed.client_id,
                booking_id=owed.booking_id,
                target=owed.target,
                actor=actor.stamp(),
                created_at=self.context.clock(),
            )
        )

    async def attempts(self, owed: Owed, *, provider: str) -> list[Entry]:
        """The open attempts of exactly this amount, the latest first; to be answered again instead of a new one."""
        wanted = {"target.id": owed.target.id, "provider": provider, "state": EntryState.CREATED.value}
        found = await self.entries.find(wanted, sort=(("createdAt", -1), ("_id", -1)))
        return [each for each in found if (each.amount, each.currency) == (owed.amount, owed.currency)]

    async def by_order(self, provider: str, provider_order_id: str) -> Entry | None:
        """The attempt that the provider knows by this order (Razorpay), session or intent (Stripe)."""
        return await self.entries.one({"providerOrderId": provider_order_id, "provider": provider})

    async def captured(
        self,
        *,
        provider: str,
        provider_payment_id: str,
        provider_order_id: str | None = None,
        amount: Decimal,
        currency: str,
        method: str | None = None,
        at: datetime | None = None,
    ) -> Entry:
        """A verified payment: makes its attempt's entry captured and places the money, once.

        What has no attempt, comes too late, is too much or in another currency is kept as unplaced, with the reason;
        never refused.
        """
        return await self.incoming.captured(
            provider=provider,
            provider_payment_id=provider_payment_id,
            provider_order_id=provider_order_id,
            amount=amount,
            currency=currency,
            method=method,
            at=at or self.context.clock(),
        )

    async def failed(
        self,
        *,
        provider: str,
        provider_payment_id: str,
        provider_order_id: str | None = None,
        reason: str | None = None,
    ) -> Entry | None:
        """The attempt came to nothing, unless it has succeeded meanwhile. None: there is no such attempt."""
        return await self.incoming.failed(
            provider=provider,
            provider_payment_id=provider_payment_id,
            provider_order_id=provider_order_id,
            reason=reason,
        )

    async def refund_settled(
        self,
        *,
        provider: str,
        provider_refund_id: str,
        provider_payment_id: str,
        amount: Decimal,
        currency: str,
        refund_id: ObjectId | None = None,
        at: datetime | None = None,
    ) -> Entry:
        """The provider has paid back. ``refund_id``: ours, where it was asked for by us; one that the provider's own
        dashboard made becomes an entry too. What comes before its payment waits for it."""
        return await self.incoming.refund_settled(
            provider=provider,
            provider_refund_id=provider_refund_id,
            provider_payment_id=provider_payment_id,
            amount=amount,
            currency=currency,
            refund_id=refund_id,
            at=at or self.context.clock(),
        )

    async def refund_failed(
        self, *, provider: str, provider_refund_id: str, refund_id: ObjectId | None = None, reason: str | None = None
    ) -> Entry | None:
        """The provider will not pay back: what was reserved for it is released."""
        return await self.incoming.refund_failed(
            provider=provider, provider_refund_id=provider_refund_id, refund_id=refund_id, reason=reason
        )

    async def disputed(
        self,
        *,
        provider: str,
        provider_dispute_id: str,
        provider_payment_id: str,
        amount: Decimal,
        currency: str,
        outcome: DisputeState,
        at: datetime | None = None,
    ) -> Entry:
        """A dispute of a payment: while open nothing of it is refunded; lost, it is a chargeback and owed again.

        Returns the dispute's entry. One that comes before its payment waits for it.
        """
        return await self.incoming.disputed(
            provider=provider,
            provider_dispute_id=provider_dispute_id,
            provider_payment_id=provider_payment_id,
            amount=amount,
            currency=currency,
            outcome=outcome,
            at=at or self.context.clock(),
        )

    async def settle(self) -> int:
        """Finish what processes that died have left for more than 30 s, and ask again for what a provider still owes
        an answer. For the worker and the doctor."""
        due = await self.entries.find({"dueAt": {"$lte": self.context.clock()}}, sort=(("dueAt", 1),), limit=_BATCH)
        for entry in due:
            await self.finish(entry)
        return len(due)

    async def finish(self, entry: Entry) -> None:
        """From wherever an entry stands to its end."""
        try:
            if entry.provider == OPENING:
                await self.applying.located(entry)
                await self.applying.opening_noted(entry)
            elif entry.kind is EntryKind.PAYMENT:
                await self.applying.apply(entry, strict=entry.state is EntryState.CREATED)
            elif entry.state is EntryState.PENDING:
                await self.refunds.resume(entry)
            else:
                await self.incoming.follow(entry)
        except BookingError:
            pass  # refused: that is how it ended
        if (left := await self.entries.get(entry.id)) is not None and left.due_at == entry.due_at:
            await self.entries.postpone(left)

    async def pay_back_due(self) -> int:
        """CONFIIDO_AUTO_REFUND: pay back what cancellations have left due. How many sessions."""
        if not self.context.settings.auto_refund:
            return 0
        due = {"listing.status": SessionStatus.CANCELLED.value, "listing.refundable": True}
        paid_back = 0
        for listed in await self.context.store.find(
            "find refundable", "service_sessions", due, {"listing": 1}, limit=_BATCH
        ):
            session_id = listed["listing"]["sessionId"]
            try:
                await self.refund(session_id, actor=Actor.system(), reason="What the cancellation left due")
            except BookingError:
                continue  # disputed, or its provider is away
            paid_back += 1
        return paid_back


def _wrong(name: str, message: str, code: str | None = None) -> Invalid:
    return Invalid(f"{name} {message}", code=code, errors=[FieldError(name, message)])
