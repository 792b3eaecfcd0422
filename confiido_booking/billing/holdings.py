"""What an invoice holds: its sessions, so that no other invoice bills them; a credit note: a part of its invoice.

A session names the invoice that it stands on (``invoiceIds``, at most one); that it names none is the guard. An
invoice that is void, abandoned or wholly credited holds nothing any more, whatever a session still names: whoever meets
such a name takes it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking.actors import Actor
from confiido_booking.billing import rules
from confiido_booking.billing.models import Invoice, Kind, Stored
from confiido_booking.bookings import guards, transitions
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict
from confiido_booking.events import outbox

CHANGING = "The invoice is changing; please try again"


@dataclass(frozen=True, slots=True)
class Holdings:
    context: Context

    async def hold_sessions(
        self, invoice: Invoice, actor: Actor, now: datetime, *, if_version: int | None = None
    ) -> None:
        """Let the sessions stand on this invoice: all of them in one update, or none. Repeatable.

        Raises:
            Conflict: ``not_invoiceable``, ``already_invoiced``, ``archived``; ``try_again`` where a price has changed.
            PreconditionFailed: ``if_version`` is not the version of the one session.
        """
        if not invoice.session_ids or invoice.booking_id is None:
            return
        command = Command(action="invoice", actor=actor, now=now, key=f"invoice:{invoice.id}", if_version=if_version)
        for _ in range(3):
            document = await self.context.store.find_and_update(
                "invoice", "bookings", self._guard(invoice, command), self._change(invoice, command)
            )
            if document is not None:
                await self._project(document, invoice.session_ids)
                return
            if await self._held_already(invoice, command):
                return
        raise Conflict("The session is changing; please try again", code="try_again")

    def _guard(self, invoice: Invoice, command: Command) -> Document:
        """Each session may be invoiced, stands on no invoice, and still has the price that its line bills."""
        assert invoice.booking_id is not None
        return {
            **outbox.room_for_events(len(invoice.session_ids)),
            "$and": [
                guards.on_session(
                    invoice.booking_id,
                    line.session_id,
                    command,
                    {
                        "invoiceIds.0": {"$exists": False},
                        "price": Decimal128(line.total),
                        "currency": invoice.currency,
                    },
                )
                for line in invoice.lines
                if line.session_id is not None
            ],
        }

    def _change(self, invoice: Invoice, command: Command) -> list[Document]:
        return [
            stage
            for line in invoice.lines
            if line.session_id is not None
            for stage in guards.change(
                line.session_id,
                command,
                fields={
                    "invoiceIds": [invoice.id],
                    "invoiceAmount": Decimal128(line.total),
                    "invoicedAt": command.now,
                },
            )
        ]

    async def _held_already(self, invoice: Invoice, command: Command) -> bool:
        """After a refusal: whether this invoice has its sessions; what ended is taken out of the way."""
        assert invoice.booking_id is not None
        own = 0
        for session_id in invoice.session_ids:
            found = await transitions.explain(self.context, invoice.booking_id, session_id, command)
            if isinstance(found, transitions.Found):
                refusal = booking_rules.why_not("invoice", found.session, command.actor, command.now)
                if refusal is not None and refusal.code != "already_invoiced":
                    raise refusal
                if refusal is not None:
                    await self._free(found, refusal, command.actor, command.now)
            elif invoice.id in found.raw_session.get("invoiceIds", []):
                own += 1
        return own == len(invoice.session_ids)

    async def _free(self, found: transitions.Found, refusal: Exception, actor: Actor, now: datetime) -> None:
        for invoice_id in found.session["invoiceIds"]:
            raw = await self.context.store.find_one("read invoice", "invoices", {"_id": invoice_id})
            holder = Invoice.model_validate(raw) if raw else None
            if holder is None or not await self.has_ended(holder, now):
                raise refusal
            await self.release(holder, [found.session["sessionId"]], found.document["clientId"], actor, now)

    async def has_ended(self, invoice: Invoice, now: datetime) -> bool:
        """Whether it holds nothing any more. A placing one older than 30 s is abandoned on the way."""
        if invoice.status is Stored.PLACING and invoice.created_at <= now - YOUNG:
            return await self.abandon(invoice, Actor.system(), now)
        if invoice.status in (Stored.VOID, Stored.ABANDONED):
            return True
        if not rules.is_wholly_credited(invoice):
            return False
        notes = [credit.credit_note_id for credit in invoice.credits]
        issued = {"_id": {"$in": notes}, "status": Stored.ISSUED.value}
        return await self.context.store.count("count credit notes", "invoices", issued) == len(notes)

    async def hold_credit(self, note: Invoice, entry: Document, now: datetime) -> Invoice:
        """Take the note's part of its invoice. Repeatable. Raises Conflict ``already_credited``."""
        for _ in range(5):
            raw = await self.context.store.find_one("read invoice", "invoices", {"_id": note.refers})
            assert raw is not None
            invoice = Invoice.model_validate(raw)
            if any(credit.credit_note_id == note.id for credit in invoice.credits):
                return invoice
            rules.refuse_unless_open(invoice)
            wanted = type(invoice).model_validate({**raw, "credits": [entry]}).credits[0]
            if not rules.fits(invoice, wanted.lines):
                raise Conflict("So much is no longer left to credit", code="already_credited")
            changed = await self.context.store.find_and_update(
                "credit",
                "invoices",
                {"_id": invoice.id, "version": invoice.version, "credits.creditNoteId": {"$ne": note.id}},
                {"$push": {"credits": entry}, "$inc": {"version": 1}},
            )
            if changed is not None:
                return Invoice.model_validate(changed)
        raise Conflict(CHANGING, code="try_again")

    async def abandon(self, invoice: Invoice, actor: Actor, now: datetime) -> bool:
        """End a document that is still being placed, and free what it holds. False = it has come to be."""
        ended = await self.context.store.find_and_update(
            "abandon invoice",
            "invoices",
            {"_id": invoice.id, "status": Stored.PLACING.value},
            {"$set": {"status": Stored.ABANDONED.value, "releasing": True}},
        )
        if ended is None:
            raw = await self.context.store.find_one("read invoice", "invoices", {"_id": invoice.id}, {"status": 1})
            return raw is not None and raw["status"] == Stored.ABANDONED
        await self.release_all(Invoice.model_validate(ended), actor, now)
        return True

    async def release_all(self, invoice: Invoice, actor: Actor, now: datetime) -> None:
        """Free all that an ended document holds, and note that this was done."""
        if invoice.kind is Kind.CREDIT_NOTE and invoice.status is Stored.ABANDONED:
            pull = {"$pull": {"credits": {"creditNoteId": invoice.id}}, "$inc": {"version": 1}}
            held = {"_id": invoice.refers, "credits.creditNoteId": invoice.id}
            await self.context.store.update("give back credit", "invoices", held, pull)
        elif invoice.kind is Kind.CREDIT_NOTE:
            raw = await self.context.store.find_one("read invoice", "invoices", {"_id": invoice.refers})
            corrected = Invoice.model_validate(raw) if raw else None
            if corrected is not None and await self.has_ended(corrected, now):
                await self._release_sessions(corrected, actor, now)
        else:
            await self._release_sessions(invoice, actor, now)
        await self.context.store.update(
            "note release", "invoices", {"_id": invoice.id, "releasing": True}, {"$unset": {"releasing": ""}}
        )

    async def _release_sessions(self, invoice: Invoice, actor: Actor, now: datetime) -> None:
        if invoice.client_id is not None:
            await self.release(invoice, invoice.session_ids, invoice.client_id, actor, now)

    async def release(
        self, invoice: Invoice, session_ids: Sequence[ObjectId], client_id: ObjectId, actor: Actor, now: datetime
    ) -> None:
        """Take the name of an ended invoice out of these sessions, where it is in them."""
        command = Command(action="uninvoice", actor=actor, now=now)
        nothing: dict[str, Any] = {"invoiceIds": [], "invoiceAmount": None, "invoicedAt": None}
        for session_id in session_ids:
            document = await self.context.store.find_and_update(
                "release session",
                "bookings",
                {
                    **guards.of_client(client_id),
                    "sessions": {"$elemMatch": {"sessionId": session_id, "invoiceIds": invoice.id}},
                },
                guards.change(session_id, command, fields=nothing),
            )
            if document is not None:
                await self._project(document, [session_id])
            else:
                await self._release_archived(session_id, invoice.id, nothing)

    async def _release_archived(self, session_id: ObjectId, invoice_id: ObjectId, nothing: Document) -> None:
        store, kept = self.context.store, {"_id": session_id, "session.invoiceIds": invoice_id}
        freed = {"$set": {f"session.{name}": value for name, value in nothing.items()}}
        if await store.update("release archived", "booking_archive", kept, freed):
            listed = {"listing.sessionId": session_id}
            await store.update("unlist", "service_sessions", listed, {"$unset": {"listing.invoiced": ""}})

    async def _project(self, document: Document, session_ids: Sequence[ObjectId]) -> None:
        for session in document["sessions"]:
            if session["sessionId"] in session_ids and "serviceSessionId" in session and "claimId" in session:
                await claims.project(self.context.store, session, document["clientId"])
