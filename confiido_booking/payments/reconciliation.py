"""Does the ledger agree with what the provider settled, and with the sessions and invoices that the money went to?

Reads only. Every difference is given as it is found, so that neither the file nor the books are held in memory.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import batched
from typing import IO

from bson import ObjectId

from confiido_booking.bookings.models import CURRENT
from confiido_booking.database.store import Document, Store
from confiido_booking.ledger.models import COLLECTION, MANUAL, OPENING, Entry, EntryKind, EntryState, Place
from confiido_booking.money import ZERO, exact
from confiido_booking.payments.settlement import Row, Statement, Unreadable, read

_BATCH = 200
_MOVED = {
    EntryKind.PAYMENT: (EntryState.CAPTURED, EntryState.REFUNDED),
    EntryKind.REFUND: (EntryState.SETTLED,),
    EntryKind.CHARGEBACK: (EntryState.CAPTURED,),
}
_MOVED_MONEY: list[Document] = [
    {"kind": kind.value, "state": {"$in": [state.value for state in states]}} for kind, states in _MOVED.items()
]
_SESSION_MONEY = ("sessionId", "currency", "paidAmount", "refundAmount")


class DifferenceKind(StrEnum):
    """What can be different."""

    UNREADABLE = "unreadable"  # a row of the file is none
    REPEATED = "repeated"  # the file has it twice
    MISSING_HERE = "missing_here"  # settled, and not in the ledger
    MISSING_THERE = "missing_there"  # in the ledger, and not settled
    AMOUNT = "amount"
    CURRENCY = "currency"
    STATE = "state"  # settled, though the ledger knows of no money moved
    UNPLACED = "unplaced"  # money that is on no session and no invoice
    UNAPPLIED = "unapplied"  # an entry whose work is not finished
    SESSION = "session"  # its paidAmount or refundAmount is not what the ledger put there
    INVOICE = "invoice"  # its allocations are not what the ledger put there


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. ``here`` is the ledger's side, ``there`` the file's, the session's or the invoice's."""

    kind: DifferenceKind
    subject: str
    here: str = ""
    there: str = ""
    line: int | None = None
    sentence: str

    def as_json(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """``from_``/``to``: of which entries the file should tell; default: from its first to its last instant."""

    store: Store
    from_: datetime | None = None
    to: datetime | None = None

    async def compare(self, file: IO[str]) -> AsyncIterator[Difference]:
        """All differences: of the file, then of the sessions and invoices.

        Raises:
            Invalid: ``invalid_settlement``.
        """
        with Statement.open() as statement:
            for difference in _staged(file, statement):
                yield difference
            for rows in batched(statement.rows(), _BATCH, strict=False):
                async for difference in self._with_the_ledger(rows):
                    yield difference
            async for difference in self._missing_there(statement):
                yield difference
        async for difference in self.books():
            yield difference

    async def books(self) -> AsyncIterator[Difference]:
        """The ledger with itself, with the sessions and with the invoices."""
        async for raw in self.store.walk(COLLECTION, {"$or": _MOVED_MONEY}):
            for difference in _of_itself(Entry.model_validate(raw)):
                yield difference
        async for sessions in _batches(self._sessions()):
            async for difference in self._of_sessions(sessions):
                yield difference
        async for invoices in _batches(self.store.walk("invoices", {}, {"allocations": 1})):
            async for difference in self._of_invoices(invoices):
                yield difference

    async def _with_the_ledger(self, rows: Sequence[Row]) -> AsyncIterator[Difference]:
        keys = [row.key for row in rows]
        raws = await self.store.find("find settled", COLLECTION, {"key": {"$in": keys}})
        known = {raw["key"]: Entry.model_validate(raw) for raw in raws}
        for row in rows:
            for difference in _compared(row, known.get(row.key)):
                yield difference

    async def _missing_there(self, statement: Statement) -> AsyncIterator[Difference]:
        first, last = statement.period() or (None, None)
        bounds = {"$gte": self.from_ or first, "$lte": self.to or last}
        span = {operator: at for operator, at in bounds.items() if at is not None}
        providers = statement.providers()
        query: Document = {
            "$or": _MOVED_MONEY,
            "provider": {"$in": providers} if providers else {"$nin": [MANUAL, OPENING]},
        }
        if span:
            query["paidAt"] = span
        async for raw in self.store.walk(COLLECTION, query):
            entry = Entry.model_validate(raw)
            if entry.key is None or not statement.has(entry.key):
                yield Difference(
                    kind=DifferenceKind.MISSING_THERE,
                    subject=entry.key or str(entry.id),
                    here=f"{entry.amount:f} {entry.currency}",
                    sentence=f"The {entry.kind} is in the ledger and not in the settlement",
                )

    async def _sessions(self) -> AsyncIterator[Document]:
        """The money of every session, current and archived."""
        columns = {f"sessions.{name}": 1 for name in _SESSION_MONEY}
        async for booking in self.store.walk("bookings", CURRENT, columns):
            for session in booking.get("sessions") or []:
                yield session
        async for kept in self.store.walk("booking_archive", {}, {f"session.{name}": 1 for name in _SESSION_MONEY}):
            yield kept["session"]

    async def _of_sessions(self, sessions: Sequence[Document]) -> AsyncIterator[Difference]:
        sums = await self._allocated(Place.SESSION, [session["sessionId"] for session in sessions])
        for session in sessions:
            came, went = sums[session["sessionId"]]
            paid, back = exact(session.get("paidAmount")), exact(session.get("refundAmount"))
            if came != paid:
                yield _books(DifferenceKind.SESSION, session["sessionId"], "its paidAmount", came, paid)
            if went != back:
                yield _books(DifferenceKind.SESSION, session["sessionId"], "its refundAmount", went, back)

    async def _of_invoices(self, invoices: Sequence[Document]) -> AsyncIterator[Difference]:
        sums = await self._allocated(Place.INVOICE, [invoice["_id"] for invoice in invoices])
        for invoice in invoices:
            came, went = sums[invoice["_id"]]
            placed = sum((exact(each["amount"]) for each in invoice.get("allocations") or []), ZERO)
            if came - went != placed:
                yield _books(DifferenceKind.INVOICE, invoice["_id"], "its allocations", came - went, placed)

    async def _allocated(self, to: Place, ids: Sequence[ObjectId]) -> Mapping[ObjectId, tuple[Decimal, Decimal]]:
        """What payments put on each of these, and what refunds and chargebacks took off it."""
        query = {"allocations.id": {"$in": list(ids)}, "$or": _MOVED_MONEY}
        raws = await self.store.find("find allocated", COLLECTION, query, {"kind": 1, "allocations": 1})
        sums: dict[ObjectId, tuple[Decimal, Decimal]] = dict.fromkeys(ids, (ZERO, ZERO))
        for raw in raws:
            for part in raw["allocations"]:
                if part["to"] == to and part.get("id") in sums:
                    came, went = sums[part["id"]]
                    amount = exact(part["amount"])
                    is_payment = raw["kind"] == EntryKind.PAYMENT
                    sums[part["id"]] = (came + amount, went) if is_payment else (came, went + amount)
        return sums


async def _batches(documents: AsyncIterator[Document]) -> AsyncIterator[list[Document]]:
    batch: list[Document] = []
    async for document in documents:
        batch.append(document)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _staged(file: IO[str], statement: Statement) -> Iterator[Difference]:
    for row in read(file):
        if isinstance(row, Unreadable):
            yield Difference(
                kind=DifferenceKind.UNREADABLE, subject="", line=row.line, sentence=f"The row {_clause(row.sentence)}"
            )
        elif not statement.add(row):
            yield Difference(
                kind=DifferenceKind.REPEATED,
                subject=row.key,
                line=row.line,
                there=f"{row.amount:f} {row.currency}",
                sentence="The settlement has it twice",
            )


def _clause(sentence: str) -> str:
    return sentence if sentence.startswith("has ") else f"cannot be read: {sentence}"


def _compared(row: Row, entry: Entry | None) -> Iterable[Difference]:
    there = f"{row.amount:f} {row.currency}"
    if entry is None:
        yield Difference(
            kind=DifferenceKind.MISSING_HERE,
            subject=row.key,
            there=there,
            line=row.line,
            sentence=f"The {row.kind} is in the settlement and not in the ledger",
        )
        return
    here = f"{entry.amount:f} {entry.currency}"
    found: list[tuple[DifferenceKind, str, str, str]] = []
    if entry.kind is not row.kind or entry.state not in _MOVED[entry.kind]:
        state = f"The settlement has a {row.kind}, the ledger a {entry.kind} that is {entry.state}"
        found.append((DifferenceKind.STATE, f"{entry.kind} {entry.state}", row.kind, state))
    if entry.currency != row.currency:
        found.append((DifferenceKind.CURRENCY, here, there, "The currencies differ"))
    elif entry.amount != row.amount:
        found.append((DifferenceKind.AMOUNT, here, there, "The amounts differ"))
    for kind, ours, theirs, sentence in found:
        yield Difference(kind=kind, subject=row.key, here=ours, there=theirs, line=row.line, sentence=sentence)


def _of_itself(entry: Entry) -> Iterator[Difference]:
    subject = entry.key or str(entry.id)
    if entry.applied_at is None:
        yield Difference(
            kind=DifferenceKind.UNAPPLIED,
            subject=subject,
            here=f"{entry.amount:f} {entry.currency}",
            sentence="Its money is not yet where it belongs; the worker finishes it",
        )
    if entry.kind is not EntryKind.PAYMENT:
        return
    left = sum((part.amount for part in entry.allocations if part.to is Place.UNPLACED), ZERO)
    left -= sum((part.amount for part in entry.returned), ZERO)
    if left > 0:
        reasons = {part.reason for part in entry.allocations if part.to is Place.UNPLACED and part.reason}
        yield Difference(
            kind=DifferenceKind.UNPLACED,
            subject=subject,
            here=f"{left:f} {entry.currency}",
            sentence=f"On no session and no invoice: {', '.join(sorted(reasons)) or 'no reason'}",
        )


def _books(kind: DifferenceKind, id_: ObjectId, what: str, here: Decimal, there: Decimal) -> Difference:
    return Difference(
        kind=kind,
        subject=f"{kind} {id_}",
        here=f"{here:f}",
        there=f"{there:f}",
        sentence=f"What the ledger put there is not {what}",
    )
