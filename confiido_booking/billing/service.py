"""Invoices: the commands and queries of the library, one method each (MONEY, Invoices; seed 1.15, 1.16).

``request_key`` names a command: repeated with the same key within 24 h it has one effect and gives it again (L9).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.billing import drafting, reading, rules
from confiido_booking.billing.allocating import Allocations
from confiido_booking.billing.holdings import CHANGING
from confiido_booking.billing.making import ATTEMPTS, midnight
from confiido_booking.billing.models import Invoice, Party, Stored
from confiido_booking.billing.paying import MarkingPaid
from confiido_booking.billing.reading import InvoiceFilter, InvoicePage, Statement
from confiido_booking.billing.rules import LineWish, TaxWish
from confiido_booking.bookings.guards import fresh_key
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.bookings.rules import text
from confiido_booking.errors import Conflict, NotAllowed

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Invoices(MarkingPaid):
    """``confiido.invoices``."""

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
        await Allocations(self.context).follow(issued.id)
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
        for _ in range(ATTEMPTS):
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
            fields["dueDate"] = midnight(due_date)
        if internal_notes is not None:
            fields["internalNotes"] = text(internal_notes, "internalNotes")
        for _ in range(ATTEMPTS):
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


def _staff(actor: Actor) -> None:
    if actor.role not in (Role.ADMIN, Role.SERVICE):
        raise NotAllowed("Only an administrator can make invoices")


def _refuse_void(found: Statement) -> None:
    """Void only while unpaid (MONEY)."""
    if found.invoice.credits:
        raise Conflict("This invoice has a credit note; correct it by another", code="credited")
    if found.balance.paid > 0 or found.balance.overpaid > 0 or found.invoice.paying is not None:
        raise Conflict("This invoice has been paid; correct it by a credit note", code="already_paid")
