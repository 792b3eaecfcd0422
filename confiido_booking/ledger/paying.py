"""Somebody says that money was received: by hand, for a line of an invoice, or by a client who has paid (MONEY)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from bson import ObjectId

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.billing.allocating import Allocations, LinePayment
from confiido_booking.bookings import finding, merging, transitions
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.models import CURRENT
from confiido_booking.bookings.statuses import PaymentStatus, SessionStatus
from confiido_booking.bookings.transitions import Found
from confiido_booking.bookings.views import Change, View
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, Invalid, PaymentNotVerified, PreconditionFailed, wrong_field
from confiido_booking.ledger import rules
from confiido_booking.ledger.applying import Applying
from confiido_booking.ledger.entries import FINISH_AFTER, Entries
from confiido_booking.ledger.models import (
    MANUAL,
    Allocation,
    Entry,
    EntryKind,
    EntryState,
    Place,
    Target,
)
from confiido_booking.ledger.providers import Provider
from confiido_booking.ledger.refunds import Refunds

MONEY_ROLES = (Role.ADMIN, Role.SERVICE, Role.SYSTEM)


@dataclass(frozen=True, slots=True)
class Paid:
    """A session as a payment left it, and the payment's entry."""

    change: Change
    payment: Entry


@dataclass(frozen=True, slots=True)
class Books:
    """What every part of the ledger needs."""

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


@dataclass(frozen=True, slots=True)
class Paying(Books):
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
        if actor.role not in MONEY_ROLES:
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
            raise wrong_field("paidAt", "must not be in the future")
        wanted_currency = money.currency(currency) if currency else session["currency"]
        if refusal := rules.why_unpayable(session, actor, now):
            raise refusal
        wanted = rules.owed(session) if amount is None else money.amount(amount, wanted_currency)
        if not wanted:
            raise wrong_field("amount", "must be above 0", "invalid_amount")
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
        found = await self._met(booking_id, session_id, command)
        if isinstance(found, Change):
            return found
        trusted = actor.role is not Role.CLIENT or self.context.settings.trust_client_payments
        if not trusted and await self._finished(found.session):
            found = await self._met(booking_id, session_id, command)
            if isinstance(found, Change):
                return found
        session = found.session
        if refusal := rules.why_unpayable(session, actor, command.now):
            raise refusal
        if not trusted:
            raise PaymentNotVerified()
        try:
            await self._recorded(
                Change(found.document, session["sessionId"]),
                actor=actor,
                method=method,
                key=request_key,
                if_version=if_version,
            )
        except (Conflict, Invalid):
            meanwhile = await self._met(booking_id, session["sessionId"], command)
            if not isinstance(meanwhile, Change):
                raise
            return meanwhile  # somebody else has paid it
        return await self._seen(booking_id, session["sessionId"], view)

    async def _met(self, booking_id: ObjectId, session_id: ObjectId, command: Command) -> Found | Change:
        """As :func:`transitions.explain`; what is paid already is answered as if this command had done it."""
        try:
            found = await transitions.explain(self.context, booking_id, session_id, command)
        except Conflict as refused:
            if refused.code != "archived":
                raise
            kept = await finding.find_session(self.context, session_id, command.actor, booking_id=booking_id)
            if not _is_paid(kept.raw_session):
                raise
            return replace(kept, repeated=True)
        if isinstance(found, Found) and _is_paid(found.session):
            return Change(found.document, found.session["sessionId"], repeated=True)
        return found

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
        """A payment of one line of an invoice (``billing/allocating.py``)."""
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


def _is_paid(session: Document) -> bool:
    paid: bool = session["paymentStatus"] == PaymentStatus.PAID
    return paid and session["status"] != SessionStatus.CANCELLED
