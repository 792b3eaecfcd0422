"""Invoices: the commands and queries of the library, one method each (MONEY, Invoices; seed 1.15, 1.16).

An invoice is written as ``placing``, then holds its sessions, then takes its number, then is issued or a draft
(``models.py``). What a process that dies on the way leaves, the next command over it or :meth:`Invoices.settle` undoes.
``request_key`` names a command: repeated with the same key within 24 h it has one effect and gives it again (L9).
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking import times
from confiido_booking.actors import Actor, Role
from confiido_booking.billing import drafting, reading, rules
from confiido_booking.billing.holdings import CHANGING, Holdings
from confiido_booking.billing.ledger import LinePayment, Recording
from confiido_booking.billing.models import (
    MAX_HISTORY,
    Invoice,
    Kind,
    Party,
    Paying,
    Stored,
)
from confiido_booking.billing.numbers import Numbers
from confiido_booking.billing.reading import InvoiceFilter, InvoicePage, Statement
from confiido_booking.billing.rules import LineWish, TaxWish
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import fresh_key
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.rules import text
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate
from confiido_booking.errors import BookingError, Conflict, Invalid, NotAllowed
from confiido_booking.events import outbox

_ATTEMPTS = 5
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Invoices:
    """``confiido.invoices``. ``ledger``: where payments are recorded."""

    context: Context
    ledger: Recording

    @property
    def holdings(self) -> Holdings:
        return Holdings(self.context)

    @property
    def numbers(self) -> Numbers:
        return Numbers(self.context.store)

    async def of_sessions(
        self,
        *,
        actor: Actor,
        session_ids: Sequence[ObjectId],
        taxes: Sequence[TaxWish] = (),
        due_date: date | None = None,
        notes: str | None = None,
        client: Party | None = None,
        issue: bool = True,
        request_key: str | None = None,
        if_version: int | None = None,
    ) -> Statement:
        """Bill sessions of one client, each by its price, taxes in it. Admin, service.

        ``client``: what of the billing address the booking does not know. ``due_date``: a day in the operator's zone.

        Raises:
            NotFound: ``session_not_found``. Invalid: ``mixed_currency``, ``mixed_clients``, ``invalid_tax``, ….
            Conflict: ``not_invoiceable``, ``already_invoiced``, ``archived``.
        """
        _staff(actor)

        async def draw_up(invoice_id: ObjectId, now: datetime) -> Invoice:
            return await drafting.of_sessions(
                self.context,
                drafting.Terms(invoice_id, now, taxes, due_date, notes, client),
                session_ids=session_ids,
                actor=actor,
            )

        return await self._made("sessions", draw_up, actor, issue=issue, key=request_key, if_version=if_version)

    async def standalone(
        self,
        *,
        actor: Actor,
        currency: str,
        lines: Sequence[LineWish],
        client: Party | None = None,
        client_id: ObjectId | None = None,
        taxes: Sequence[TaxWish] = (),
        due_date: date | None = None,
        notes: str | None = None,
        issue: bool = True,
        request_key: str | None = None,
    ) -> Statement:
        """Bill what is no session (seed 1.6): to a client who is known, or to whoever ``client`` names.

        Raises:
            NotFound: ``client_not_found``. Invalid.
        """
        _staff(actor)

        async def draw_up(invoice_id: ObjectId, now: datetime) -> Invoice:
            return await drafting.standalone(
                self.context,
                drafting.Terms(invoice_id, now, taxes, due_date, notes, client),
                currency=currency,
                lines=lines,
                client_id=client_id,
            )

        return await self._made("standalone", draw_up, actor, issue=issue, key=request_key)

    async def issue(self, invoice_id: ObjectId, *, actor: Actor, request_key: str | None = None) -> Statement:
        """draft → issued, with the next number. Admin.

        Raises:
            Conflict: ``already_issued``, ``invoice_void``; ``needs_correction``: a session is no longer worth its line.
        """
        found = await self._for_admin(invoice_id, actor)
        if request_key is not None and found.invoice.was_done(request_key):
            return found
        if found.invoice.status is Stored.VOID:
            raise Conflict("This invoice is void", code="invoice_void")
        if found.invoice.status is Stored.ISSUED:
            raise Conflict("This invoice has been issued already", code="already_issued")
        if found.balance.needs_correction:
            raise Conflict("A session has changed since; make this draft void, and a new one", code="needs_correction")
        issued = await self._issued(found.invoice, actor, self.context.clock(), request_key)
        return await reading.stated(self.context, issued)

    async def void(
        self, invoice_id: ObjectId, *, actor: Actor, reason: str | None = None, request_key: str | None = None
    ) -> Statement:
        """Take an unpaid invoice, or a draft, out of the world; its sessions may be invoiced again. Admin.

        Raises:
            Conflict: ``already_paid``, ``credited``: a credit note corrects it; ``invoice_void``.
        """
        key = request_key or fresh_key()
        why = text(reason, "reason") if reason else None
        for _ in range(_ATTEMPTS):
            found = await self._for_admin(invoice_id, actor)
            invoice, now = found.invoice, self.context.clock()
            if invoice.was_done(key):
                await self.holdings.release_all(invoice, actor, now)
                return found
            if invoice.status is not Stored.DRAFT:
                rules.refuse_unless_open(invoice)
                _refuse_void(found)
            fields = {"status": Stored.VOID.value, "voidedAt": now, "releasing": True}
            fields |= {"voidReason": why} if why else {}
            changed = await self._changed(invoice, actor, now, "void", key, fields=fields, reason=why)
            if changed is not None:
                await self.holdings.release_all(changed, actor, now)
                return await reading.stated(self.context, changed)
        raise Conflict(CHANGING, code="try_again")

    async def amend(
        self,
        invoice_id: ObjectId,
        *,
        actor: Actor,
        due_date: date | None = None,
        internal_notes: str | None = None,
        request_key: str | None = None,
    ) -> Statement:
        """Set a draft's due date, or the notes among staff, which are no part of the invoice. Admin.

        Raises:
            Conflict: ``immutable``: another due date of an issued invoice.
        """
        key = request_key or fresh_key()
        fields: dict[str, Any] = {}
        if due_date is not None:
            fields["dueDate"] = _midnight(due_date)
        if internal_notes is not None:
            fields["internalNotes"] = text(internal_notes, "internalNotes")
        for _ in range(_ATTEMPTS):
            found = await self._for_admin(invoice_id, actor)
            invoice = found.invoice
            if invoice.was_done(key):
                return found
            if due_date is not None and invoice.status is not Stored.DRAFT:
                raise Conflict("An issued invoice does not change; a credit note corrects it", code="immutable")
            changed = await self._changed(invoice, actor, self.context.clock(), "amend", key, fields=fields)
            if changed is not None:
                return await reading.stated(self.context, changed)
        raise Conflict(CHANGING, code="try_again")

    async def credit(
        self,
        invoice_id: ObjectId,
        *,
        actor: Actor,
        reason: str,
        lines: Sequence[tuple[int, Decimal | int | None]] | None = None,
        request_key: str | None = None,
    ) -> tuple[Statement, Statement]:
        """Correct an issued invoice. ``lines``: (line, amount with tax; None = what is left of it); None: all. Admin.

        Moves no money. Wholly credited, an invoice lets go of its sessions. Returns the credit note and the invoice.

        Raises:
            Conflict: ``already_credited``, ``not_issued``, ``invoice_void``. Invalid: ``overcredit``, ….
        """
        why = text(reason, "reason")
        corrected = await self._for_admin(invoice_id, actor)
        await self._clear_abandoned_credits(corrected.invoice, actor)

        async def draw_up(note_id: ObjectId, now: datetime) -> Invoice:
            current = (await self._for_admin(invoice_id, actor)).invoice
            rules.refuse_unless_open(current)
            return drafting.credit_note(current, rules.credit_parts(current, lines), note_id, now, why)

        stated = await self._made(f"credit:{invoice_id}", draw_up, actor, issue=True, key=request_key)
        if stated.invoice.releasing:
            await self.holdings.release_all(stated.invoice, actor, self.context.clock())
        return stated, await reading.find(self.context, invoice_id, actor)

    async def mark_paid(
        self,
        invoice_id: ObjectId,
        *,
        actor: Actor,
        amount: Decimal | int | None = None,
        method: str | None = None,
        reference: str | None = None,
        request_key: str | None = None,
    ) -> Statement:
        """Record one payment for each line's outstanding, or a part in proportion to them (MONEY). Admin.

        Raises:
            Conflict: ``already_paid``, ``not_issued``, ``invoice_void``. Invalid: ``overpayment``.
        """
        key = request_key or fresh_key()
        for _ in range(_ATTEMPTS):
            found = await self._for_admin(invoice_id, actor)
            invoice, now = found.invoice, self.context.clock()
            if invoice.was_done(key):
                return found
            if invoice.paying is not None:
                await self._finish_paying(invoice, now, key)
                continue
            try:
                parts = rules.shares(invoice, found.balance, amount if amount is None else Decimal(amount))
            except BookingError:
                if (await self._read(invoice_id)).was_done(key):  # since it was read
                    continue
                raise
            paying = Paying(
                key=key,
                at=now,
                actor=actor.stamp(),
                parts=parts,
                method=text(method or "manual", "source"),
                reference=text(reference, "reason") if reference else None,
            )
            changed = await self._changed(
                invoice, actor, now, "pay", None, fields={"paying": to_mongo(paying)}, guard={"paying": None}
            )
            if changed is not None:
                await self._pay(changed, now)
                return await reading.find(self.context, invoice_id, actor)
        raise Conflict(CHANGING, code="try_again")

    async def get(self, invoice_id: ObjectId, *, actor: Actor) -> Statement:
        """An invoice or a credit note: a client's own, anybody's for staff. Raises NotFound ``invoice_not_found``."""
        return await reading.find(self.context, invoice_id, actor)

    async def list(
        self,
        *,
        actor: Actor,
        filters: InvoiceFilter | None = None,
        page: int = 1,
        limit: int = 20,
        cursor: str | None = None,
    ) -> InvoicePage:
        """A page, the latest first, and the sums of all that the filter finds. Raises NotAllowed for an expert."""
        wanted = filters or InvoiceFilter()
        return await reading.page(self.context, actor, wanted, page=page, limit=limit, cursor=cursor)

    async def csv(self, *, actor: Actor, filters: InvoiceFilter | None = None) -> str:
        """All that the filter finds, as CSV."""
        found = await reading.everything(self.context, actor, filters or InvoiceFilter())
        return reading.to_csv(found, self.context.settings.timezone)

    async def settle(self) -> int:
        """Finish or undo what processes that died have left for more than 30 s. For the worker and the doctor."""
        now, system = self.context.clock(), Actor.system()
        old = now - YOUNG
        store, settled = self.context.store, 0
        placing = {"status": Stored.PLACING.value, "createdAt": {"$lte": old}}
        for raw in await store.find("find placing", "invoices", placing, limit=_BATCH):
            settled += await self.holdings.abandon(Invoice.model_validate(raw), system, now)
        for raw in await store.find("find releasing", "invoices", {"releasing": True}, limit=_BATCH):
            await self.holdings.release_all(Invoice.model_validate(raw), system, now)
            settled += 1
        for raw in await store.find("find paying", "invoices", {"paying.at": {"$lte": old}}, limit=_BATCH):
            with_payment = Invoice.model_validate(raw)
            await self._pay(with_payment, now, quietly=True)
            settled += 1
        return settled + await self.numbers.settle(now)

    async def _for_admin(self, invoice_id: ObjectId, actor: Actor) -> Statement:
        found = await reading.find(self.context, invoice_id, actor)
        if actor.role not in (Role.ADMIN, Role.SYSTEM):
            raise NotAllowed("Only an administrator can change an invoice")
        return found

    async def _read(self, invoice_id: ObjectId) -> Invoice:
        known = await self._known(invoice_id)
        if known is None:
            raise reading.not_found()
        return known

    async def _made(
        self,
        what: str,
        draw_up: Callable[[ObjectId, datetime], Awaitable[Invoice]],
        actor: Actor,
        *,
        issue: bool,
        key: str | None,
        if_version: int | None = None,
    ) -> Statement:
        """A new document, as far as it was asked for. Who slept so long that it was abandoned begins again."""
        for _ in range(_ATTEMPTS):
            invoice = await self._started(what, key, draw_up)
            made = await self._placed(invoice, actor, issue=issue, key=key, if_version=if_version)
            if made is not None:
                return await reading.stated(self.context, made)
        raise Conflict(CHANGING, code="try_again")

    async def _started(
        self, what: str, key: str | None, draw_up: Callable[[ObjectId, datetime], Awaitable[Invoice]]
    ) -> Invoice:
        """The document of this command, as it was begun before under the same key, or new.

        Its id is made from the key. One that was abandoned stays so; the next id is tried.
        """
        for attempt in range(_ATTEMPTS):
            invoice_id = _id_of(what, key, attempt) if key else ObjectId()
            known = await self._known(invoice_id) if key else None
            if known is None:
                try:
                    invoice = await draw_up(invoice_id, self.context.clock())
                    await self.context.store.insert("insert invoice", "invoices", to_mongo(invoice))
                    return invoice
                except (BookingError, Duplicate):
                    known = await self._known(invoice_id) if key else None  # the same command, done meanwhile
                    if known is None:
                        raise
            if known.status is not Stored.ABANDONED:
                return known
        raise Conflict(CHANGING, code="try_again")

    async def _known(self, invoice_id: ObjectId) -> Invoice | None:
        raw = await self.context.store.find_one("read invoice", "invoices", {"_id": invoice_id})
        return Invoice.model_validate(raw) if raw else None

    async def _placed(
        self, invoice: Invoice, actor: Actor, *, issue: bool, key: str | None, if_version: int | None
    ) -> Invoice | None:
        """From placing to what was asked for; what was that already is left as it is. None = it was abandoned."""
        if invoice.status is not Stored.PLACING:
            return invoice
        now = self.context.clock()
        try:
            if invoice.kind is Kind.CREDIT_NOTE:
                await self.holdings.hold_credit(invoice, to_mongo(drafting.credit_entry(invoice, now)), now)
            else:
                await self.holdings.hold_sessions(invoice, actor, now, if_version=if_version)
        except BookingError:
            if (await self._read(invoice.id)).status is not Stored.PLACING:
                return None
            await self.holdings.abandon(invoice, actor, now)
            raise
        if issue:
            placed = await self._issued(invoice, actor, now, key)
        else:
            drafted = await self._changed(
                invoice, actor, now, "draft", key, fields={"status": Stored.DRAFT.value, "datedAt": now}
            )
            placed = drafted or await self._read(invoice.id)
        if placed.status is Stored.ABANDONED:
            await self.holdings.release_all(placed, actor, now)
            return None
        return placed

    async def _issued(self, invoice: Invoice, actor: Actor, now: datetime, key: str | None) -> Invoice:
        """Take a number and give it to the document, unless it has one."""
        zone = times.zone(self.context.settings.timezone)
        local = now.astimezone(zone).date()
        due = local + timedelta(days=self.context.settings.invoice_due_days)
        for _ in range(_ATTEMPTS):
            taken = await self.numbers.take(invoice.kind, invoice.id, now, local.year)
            fields: dict[str, Any] = {
                "status": Stored.ISSUED.value,
                "number": taken.number,
                "issuedAt": now,
                "datedAt": now,
                "seller": to_mongo(drafting.seller(self.context.settings)),
            }
            if invoice.kind is Kind.INVOICE:
                fields["dueDate"] = invoice.due_date or _midnight(due)
            else:
                fields["releasing"] = True
            changed = await self._changed(
                invoice, actor, now, "issue", key, fields=fields, guard={"lost": {"$ne": taken.number}}
            )
            current = changed or await self._read(invoice.id)
            if taken.to_settle:
                await self.numbers.settle(now)
            if changed is not None or current.status not in (Stored.PLACING, Stored.DRAFT):
                return current
            invoice = current
        raise Conflict(CHANGING, code="try_again")

    async def _changed(
        self,
        invoice: Invoice,
        actor: Actor,
        now: datetime,
        action: str,
        key: str | None,
        *,
        fields: Mapping[str, Any],
        guard: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> Invoice | None:
        """Change the document as it was read: its version is the guard. None = it has changed since."""
        entry: Document = {"at": now, "actor": actor.stamp(), "action": action}
        if "status" in fields:
            entry |= {"from": invoice.status.value, "to": fields["status"]}
        entry |= {"key": key} if key else {}
        entry |= {"reason": reason} if reason else {}
        told = _told(invoice, action, actor, now, fields)
        document = await self.context.store.find_and_update(
            f"{action} invoice",
            "invoices",
            {"_id": invoice.id, "version": invoice.version, "status": invoice.status.value, **(guard or {})},
            {
                "$set": dict(fields),
                "$inc": {"version": 1},
                "$push": {"history": {"$each": [entry], "$slice": -MAX_HISTORY}, **told.get("$push", {})},
                **({"$min": told["$min"]} if told else {}),
            },
        )
        return Invoice.model_validate(document) if document else None

    async def _clear_abandoned_credits(self, invoice: Invoice, actor: Actor) -> None:
        """Give back what credit notes that never came to be have taken of this invoice."""
        ids = [credit.credit_note_id for credit in invoice.credits]
        if not ids:
            return
        now = self.context.clock()
        dead = {
            "_id": {"$in": ids},
            "$or": [
                {"status": Stored.ABANDONED.value},
                {"status": Stored.PLACING.value, "createdAt": {"$lte": now - YOUNG}},
            ],
        }
        for raw in await self.context.store.find("find dead notes", "invoices", dead):
            note = Invoice.model_validate(raw)
            if await self.holdings.abandon(note, actor, now):
                ended = note.model_copy(update={"status": Stored.ABANDONED})
                await self.holdings.release_all(ended, actor, now)

    async def _finish_paying(self, invoice: Invoice, now: datetime, key: str) -> None:
        """Finish a payment that somebody began: the own one under this key, or one older than 30 s."""
        assert invoice.paying is not None
        if invoice.paying.key != key and invoice.paying.at > now - YOUNG:
            raise Conflict("This invoice is being paid; please try again", code="try_again")
        await self._pay(invoice, now, quietly=invoice.paying.key != key)

    async def _pay(self, invoice: Invoice, now: datetime, *, quietly: bool = False) -> None:
        """Record the payments that were settled on, each once, then note that it was done.

        A line that was paid by somebody else meanwhile is passed over; where all were, that is the refusal.
        """
        paying = invoice.paying
        assert paying is not None
        role, user = Role(paying.actor["role"]), paying.actor.get("id")
        refusals: list[BookingError] = []
        for part in paying.parts:
            payment = LinePayment(
                id=_payment_id(invoice.id, paying.key, part.line),
                amount=part.amount,
                currency=invoice.currency,
                invoice_id=invoice.id,
                session_id=part.session_id,
                booking_id=invoice.booking_id,
                method=paying.method or "manual",
                reference=paying.reference,
                paid_at=paying.at,
                actor=Actor(role=role, id=user),
            )
            try:
                await self.ledger.record(payment)
            except (Conflict, Invalid) as refusal:
                refusals.append(refusal)
        in_vain = len(refusals) == len(paying.parts)
        entry: Document = {"at": now, "actor": paying.actor, "action": "paid"}
        entry |= {"reason": paying.reference} if paying.reference else {}
        entry |= {} if in_vain else {"key": paying.key}
        await self.context.store.update(
            "note payment",
            "invoices",
            {"_id": invoice.id, "paying.key": paying.key},
            {
                "$unset": {"paying": ""},
                "$inc": {"version": 1},
                "$push": {"history": {"$each": [entry], "$slice": -MAX_HISTORY}},
            },
        )
        if in_vain and not quietly:
            raise refusals[0]


def _staff(actor: Actor) -> None:
    if actor.role not in (Role.ADMIN, Role.SERVICE):
        raise NotAllowed("Only an administrator can make invoices")


def _refuse_void(found: Statement) -> None:
    """Void only while unpaid (MONEY)."""
    if found.invoice.credits:
        raise Conflict("This invoice has a credit note; correct it by another", code="credited")
    if found.balance.paid > 0 or found.balance.overpaid > 0 or found.invoice.paying is not None:
        raise Conflict("This invoice has been paid; correct it by a credit note", code="already_paid")


def _id_of(what: str, key: str, attempt: int) -> ObjectId:
    return ObjectId(hashlib.sha256(f"{what}:{key}:{attempt}".encode()).digest()[:12])


def _payment_id(invoice_id: ObjectId, key: str, line: int) -> str:
    return hashlib.sha256(f"{invoice_id}:{key}:{line}".encode()).hexdigest()[:24]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _told(invoice: Invoice, action: str, actor: Actor, now: datetime, fields: Mapping[str, Any]) -> Document:
    """The event of issuing or voiding, as operators of the update that does it."""
    of_invoice = {"issue": "invoice.issued", "void": "invoice.voided"}
    type_ = {"issue": "credit_note.issued"}.get(action) if invoice.kind is Kind.CREDIT_NOTE else of_invoice.get(action)
    if type_ is None:
        return {}
    data = {
        "invoiceId": invoice.id,
        "number": fields.get("number", invoice.number),
        "total": Decimal128(invoice.total),
        "currency": invoice.currency,
    }
    return outbox.pushed(outbox.event(type_, at=now, actor=actor, client_id=invoice.client_id, data=data))
