"""Making an invoice or a credit note, and the one way in which it changes (MONEY, Invoices).

Written as ``placing``, it holds its sessions, takes its number, and is issued or a draft (``models.py``). What a
process that dies on the way leaves, the next command over it or :meth:`Invoices.settle` undoes.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking import times
from confiido_booking.actors import Actor, Role
from confiido_booking.billing import drafting, reading
from confiido_booking.billing.allocating import Allocations
from confiido_booking.billing.holdings import CHANGING, Holdings
from confiido_booking.billing.models import MAX_HISTORY, Invoice, Kind, Stored
from confiido_booking.billing.numbers import Numbers
from confiido_booking.billing.reading import Statement
from confiido_booking.bookings.context import Context
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate
from confiido_booking.errors import BookingError, Conflict, NotAllowed
from confiido_booking.events import outbox

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Making:
    context: Context

    @property
    def holdings(self) -> Holdings:
        return Holdings(self.context)

    @property
    def numbers(self) -> Numbers:
        return Numbers(self.context.store)

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
        for _ in range(ATTEMPTS):
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
        for attempt in range(ATTEMPTS):
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
            await Allocations(self.context).follow(placed.id)  # its sessions may have been paid before
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
        for _ in range(ATTEMPTS):
            taken = await self.numbers.take(invoice.kind, invoice.id, now, local.year)
            fields: dict[str, Any] = {
                "status": Stored.ISSUED.value,
                "number": taken.number,
                "issuedAt": now,
                "datedAt": now,
                "seller": to_mongo(drafting.seller(self.context.settings)),
            }
            if invoice.kind is Kind.INVOICE:
                fields["dueDate"] = invoice.due_date or midnight(due)
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


def _id_of(what: str, key: str, attempt: int) -> ObjectId:
    return ObjectId(hashlib.sha256(f"{what}:{key}:{attempt}".encode()).digest()[:12])


def midnight(day: date) -> datetime:
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
