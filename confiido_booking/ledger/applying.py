"""Payments come onto sessions: PROTOCOL's PAYMENT, for one session or several of one client.

The entry is there already. Its sessions are read, what it does to them is decided (``rules.py``), and one update of the
client's document carries that out, whose guard is that each of them still has the version that was read. The update
leaves a posting of the entry on its sessions, also where it does nothing to them: so that whoever decided otherwise
meanwhile, and slept, comes too late. What was posted is then noted on the entry.

A session that was archived is first brought back into its booking (docs/decisions/0031).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from confiido_booking.actors import Actor, Role
from confiido_booking.billing.allocating import Allocations
from confiido_booking.bookings import placing
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.transitions import Found, Plan
from confiido_booking.bookings.views import View
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Conflict, Invalid
from confiido_booking.ledger import rules
from confiido_booking.ledger.entries import actor_of
from confiido_booking.ledger.locating import ATTEMPTS, CHANGING, Located, Locating, again, check_version
from confiido_booking.ledger.models import Allocation, Entry, EntryState, Place
from confiido_booking.ledger.rules import Effect
from confiido_booking.money import ZERO
from confiido_booking.orders import scheduling


@dataclass(frozen=True, slots=True)
class Applying(Locating):
    invoices: Allocations

    async def apply(self, entry: Entry, *, strict: bool = False, if_version: int | None = None) -> Entry:
        """Place a payment, once; the entry as it then is.

        ``strict``: what is refused is not placed at all, and the entry has failed. Otherwise what cannot be placed is
        unplaced, with the reason.

        Raises:
            BookingError: ``strict``, and refused.
        """
        if entry.applied_at is not None:
            return entry
        if entry.target is None:
            return await self._noted(entry, [], "unknown_payment")
        if entry.target.to is Place.INVOICE:
            return await self._apply_to_invoice(entry, strict=strict)
        at, refusal = await self._posted(entry, strict=strict, if_version=if_version)
        posted = [(each["sessionId"], rules.posting_of(each, entry.id)) for each in at.sessions]
        placed = [Allocation(to=Place.SESSION, id=id_, amount=p.amount) for id_, p in posted if p and p.amount]
        reason = next((p.reason for _, p in posted if p and p.reason), None)
        if strict and not placed:
            await self.entries.change(entry, "refused", state=EntryState.FAILED, reason=reason)
            raise refusal or again(reason)
        return await self._noted(entry, placed, reason or ("overpayment" if placed else "unknown_session"))

    async def _noted(self, entry: Entry, placed: Sequence[Allocation], reason: str) -> Entry:
        rest = entry.amount - sum((each.amount for each in placed), ZERO)
        unplaced = [Allocation(to=Place.UNPLACED, amount=rest, reason=reason)] if rest else []
        return await self.entries.applied(entry, [*placed, *unplaced], state=EntryState.CAPTURED)

    async def _posted(
        self, entry: Entry, *, strict: bool, if_version: int | None = None
    ) -> tuple[Located, BookingError | None]:
        """The entry's sessions once it is posted on them, and why it was refused where it was."""
        refusal: BookingError | None = None
        for _ in range(ATTEMPTS):
            at = await self.located(entry)
            if not at.sessions:
                return at, refusal
            if any(rules.posting_of(each, entry.id) for each in at.sessions):
                await self.follow(at.document, at.sessions)
                return at, refusal
            if await self._expired(at):
                continue
            command = self.command(entry, key=entry.request_key)
            try:
                if strict:
                    check_version(at.sessions[0], if_version)
                    self._refuse(entry, at.sessions)
                effects = self._effects(entry, at.sessions)
                late = not strict and await self._revived(entry, at)
                if not any(effect.fields.get("paidAmount") for effect in effects):
                    command = self.command(entry, action="unplaced")
            except BookingError as refused:
                refusal, late, command = refused, False, self.command(entry, action="pay-refused", key=fresh_key())
                effects = [rules.untouched(at.sessions[0], entry, refused.code)]
            if not late:
                await self.write(at.document, effects, command)
        raise Conflict(CHANGING, code="try_again")

    def _refuse(self, entry: Entry, sessions: Sequence[Document]) -> None:
        terms = entry.amount, entry.currency, actor_of(entry), self.context.clock()
        if _is_for_order(entry):
            rules.refuse_order_payment(sessions, *terms)
        else:
            rules.refuse_payment(sessions[0], *terms)

    def _effects(self, entry: Entry, sessions: Sequence[Document]) -> list[Effect]:
        """What the entry does: to its one session, to those of its order, or as its parts were settled on."""
        now, hold, actor = self.context.clock(), self.context.settings.hold, actor_of(entry)
        by_id = {each["sessionId"]: each for each in sessions}
        demands: list[tuple[Sequence[Document], Decimal]] = [(sessions, entry.amount)]
        if entry.parts is not None:
            demands = [([by_id[part.id]], part.amount) for part in entry.parts if part.id in by_id]
        effects = []
        for wanted, amount in demands:
            shares, reason = rules.portions(wanted, amount, entry.currency, actor, now)
            effects += [rules.paid(session, entry, part, now, hold) for session, part in shares]
            if shares and _is_for_order(entry):
                effects += rules.with_the_order(wanted, shares, now)
            if not shares:
                effects.append(rules.untouched(wanted[0], entry, reason or "unknown_session"))
        return effects

    async def _revived(self, entry: Entry, at: Located) -> bool:
        """MONEY, Late payment: the hold lapsed, the price is fully paid now, the start has not passed and the place is
        free: claimed anew and confirmed. A session that a person cancelled never is."""
        session = at.sessions[0]
        late = len(at.sessions) == 1 and rules.is_late(session, entry.amount, entry.currency)
        if not late or at.document is None or "expertId" not in session:
            return False
        command = Command(
            action="revive",
            actor=Actor(role=Role.PAYMENT),
            now=self.context.clock(),
            key=entry.request_key or str(entry.id),
        )

        async def planning(found: Found) -> Plan:
            if rules.posting_of(found.session, entry.id) or not rules.is_late(
                found.session, entry.amount, entry.currency
            ):
                raise Conflict(CHANGING, code="try_again")
            fields = rules.revived(found.session, entry, command.now)
            if found.session.get("seat"):
                fields["serviceSessionId"] = found.session["serviceSessionId"]
            return Plan(to="confirmed", fields=fields)

        try:
            of = self.context, at.document["_id"], session["sessionId"], command, View.HEAD
            if session.get("seat"):
                await placing.as_read(*of, planning, scheduling.seated)
            else:
                await placing.place(*of, planning)
        except BookingError as refused:
            if refused.code == "try_again":
                return True  # to be read again
            effects = [rules.untouched(session, entry, refused.code)]
            await self.write(at.document, effects, self.command(entry, action="unplaced"))
        return True

    async def _expired(self, at: Located) -> bool:
        """A lapsed hold is made what it is before anything is decided on it: no decision then rests on a clock."""
        now, expired = self.context.clock(), False
        for session in at.sessions:
            if at.document is not None and booking_rules.is_lapsed(session, now):
                await self.context.healing.expire(at.document["_id"], session["sessionId"], now)
                expired = True
        return expired

    async def _apply_to_invoice(self, entry: Entry, *, strict: bool) -> Entry:
        """A payment of an invoice: its lines' sessions in one update, then the invoice itself."""
        assert entry.target is not None
        invoice_id = entry.target.id
        if entry.parts is None:
            settled_on = await self.entries.change(
                entry,
                "parted",
                fields={"parts": await self._parts(entry)},
                guard={"parts": None},
                due_at=entry.due_at,
            )
            entry = settled_on or await self.entries.get(entry.id) or entry
        parts = entry.parts or []
        placed: list[Allocation] = []
        reason = next((part.reason for part in parts if part.reason), None)
        if any(part.to is Place.SESSION for part in parts):
            at, _ = await self._posted(entry, strict=False)
            for session in at.sessions:
                posting = rules.posting_of(session, entry.id)
                if posting is not None and posting.amount:
                    placed.append(Allocation(to=Place.SESSION, id=session["sessionId"], amount=posting.amount))
                reason = (posting.reason if posting else None) or reason
        refusal: BookingError | None = None
        for part in (part for part in parts if part.to is Place.INVOICE):
            amount, refusal = await self._allocated(entry, part.amount)
            if amount:
                placed.append(Allocation(to=Place.INVOICE, id=invoice_id, amount=amount))
            reason = refusal.code if refusal else reason
        if strict and not placed:
            await self.entries.change(entry, "refused", state=EntryState.FAILED, reason=reason)
            raise refusal or again(reason)
        return await self._noted(entry, placed, reason or "overpayment")

    async def _parts(self, entry: Entry) -> list[Allocation]:
        """What of it goes to each session and to the invoice; a reason alone where nothing does."""
        assert entry.target is not None
        try:
            stated = await self.invoices.statement(entry.target.id)
            if stated.invoice.currency != entry.currency:
                return [Allocation(to=Place.UNPLACED, amount=entry.amount, reason="currency_mismatch")]
            wanted = min(entry.amount, stated.balance.outstanding or entry.amount)
            shares = await self.invoices.parts_of(entry.target.id, wanted)
        except BookingError as refused:
            return [Allocation(to=Place.UNPLACED, amount=entry.amount, reason=refused.code)]
        parts = [
            Allocation(to=Place.SESSION, id=share.session_id, amount=share.amount)
            for share in shares
            if share.session_id is not None
        ]
        own = sum((share.amount for share in shares if share.session_id is None), ZERO)
        return [*parts, *([Allocation(to=Place.INVOICE, id=entry.target.id, amount=own)] if own else [])]

    async def _allocated(self, entry: Entry, amount: Decimal) -> tuple[Decimal, BookingError | None]:
        """Place money on the invoice itself; refused, nothing, and for ever."""
        assert entry.target is not None
        refusal: BookingError | None = None
        for wanted in (amount, ZERO):
            try:
                placed = await self.invoices.allocate(
                    entry.target.id,
                    payment_id=str(entry.id),
                    amount=wanted,
                    at=entry.paid_at or entry.created_at,
                    told="payment.received",
                    actor=self.command(entry).actor,
                    method=entry.method,
                    reference=entry.reference,
                )
            except (Conflict, Invalid) as refused:
                if refused.code == "try_again":
                    raise
                refusal = refused
            else:
                return placed, refusal
        return ZERO, refusal


def _is_for_order(entry: Entry) -> bool:
    return entry.target is not None and entry.target.to is Place.ORDER
