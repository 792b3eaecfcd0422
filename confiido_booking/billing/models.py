"""What is stored of invoices and credit notes, one document each.

The life of a document::

    placing ──> draft ──issue──> issued ──void──> void        unpaid only; a credit note corrects what was paid
       │  └───────(at once)──────> │                          paid, partially_paid, overdue are derived: rules.py
       └── abandoned                                          its process died; nobody sees it, and it holds nothing

Nothing is deleted, and nothing that ended begins again: whatever finds the id of a void or abandoned document may let
go of what that one held.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from bson import ObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from confiido_booking.bookings.models import Day, HistoryEntry
from confiido_booking.database.documents import Embedded, Instant
from confiido_booking.ids import Id
from confiido_booking.money import ZERO, Money
from confiido_booking.times import utc_now

MAX_LINES = 100
MAX_HISTORY = 50


class Stored(StrEnum):
    """The state that is stored."""

    PLACING = "placing"
    DRAFT = "draft"
    ISSUED = "issued"
    VOID = "void"
    ABANDONED = "abandoned"


SEEN = (Stored.DRAFT.value, Stored.ISSUED.value, Stored.VOID.value)


class InvoiceStatus(StrEnum):
    """The state that is shown: issued ones by what was paid and when it was due."""

    DRAFT = "draft"
    ISSUED = "issued"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    OVERDUE = "overdue"
    VOID = "void"


class Kind(StrEnum):
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


SERIES = {Kind.INVOICE: "INV", Kind.CREDIT_NOTE: "CN"}


class TaxMode(StrEnum):
    INCLUSIVE = "inclusive"  # the price has the tax in it
    EXCLUSIVE = "exclusive"  # the tax comes on top


class Tax(Embedded):
    """One tax of an invoice. ``rate`` is a percent of at most 4 decimals."""

    name: str
    rate: Money
    mode: TaxMode = TaxMode.INCLUSIVE


class TaxAmount(Embedded):
    name: str
    rate: Money
    amount: Money


class TaxTotal(TaxAmount):
    """A tax over all lines. ``base`` is what it was reckoned on."""

    base: Money


class Line(Embedded):
    """``line`` counts from 1. ``total`` = ``net`` + ``tax``; ``unit_price`` has the tax in it where it is inclusive."""

    line: int
    session_id: Id | None = None
    description: str
    quantity: Money = Decimal(1)
    unit_price: Money
    net: Money
    taxes: list[TaxAmount] = Field(default_factory=list)
    tax: Money = ZERO
    total: Money


class Party(Embedded):
    """Who is billed, or who bills. ``address`` may have several lines."""

    name: str | None = None
    email: str | None = None
    address: str | None = None
    tax_id: str | None = None


class CreditedLine(Embedded):
    """How much of a line a credit note takes back; ``taxes`` in the order of the line's own."""

    line: int
    net: Money
    taxes: list[Money] = Field(default_factory=list)
    total: Money


class Credit(Embedded):
    """A credit note, on the invoice that it corrects: this entry is what guards against crediting twice."""

    credit_note_id: Id
    at: Instant
    lines: list[CreditedLine]


class Allocation(Embedded):
    """Money placed on a standalone invoice by a ledger entry; negative where it went back."""

    payment_id: str
    amount: Money
    at: Instant
    method: str | None = None
    reference: str | None = None


class PaymentPart(Embedded):
    """What of a payment goes to one line: to its session, or to the invoice itself."""

    line: int
    session_id: Id | None = None
    amount: Money


class Paying(Embedded):
    """A payment under way: what it gives to each line was settled before the first part was recorded."""

    key: str
    at: Instant
    actor: dict[str, Any]
    parts: list[PaymentPart]
    method: str | None = None
    reference: str | None = None


class Invoice(Embedded):
    """An invoice or a credit note. Money that was paid is not in it, but for standalone lines (``allocations``).

    ``lost``: numbers that were taken for it and given up; ``releasing``: it ended, and what it held is being freed.
    ``settled`` is no state of it: whether it is paid follows from the money, as it is now.
    """

    id: Id = Field(default_factory=ObjectId)
    kind: Kind = Kind.INVOICE
    series: str
    status: Stored
    number: str | None = None
    refers: Id | None = None
    refers_number: str | None = None
    client_id: Id | None = None
    booking_id: Id | None = None
    client: Party = Party()
    seller: Party = Party()
    currency: str
    taxes: list[Tax] = Field(default_factory=list)
    lines: list[Line] = Field(default_factory=list)
    tax_totals: list[TaxTotal] = Field(default_factory=list)
    subtotal: Money = ZERO
    tax: Money = ZERO
    total: Money = ZERO
    notes: str | None = None
    internal_notes: str | None = None
    reason: str | None = None
    due_date: Day | None = None
    created_at: Instant = Field(default_factory=utc_now)
    issued_at: Instant | None = None
    dated_at: Instant = Field(default_factory=utc_now)  # issued, or as long as it is not, made
    voided_at: Instant | None = None
    void_reason: str | None = None
    credits: list[Credit] = Field(default_factory=list)
    credited_parts: list[CreditedLine] = Field(default_factory=list)  # of a credit note: what it takes of its invoice
    allocations: list[Allocation] = Field(default_factory=list)
    paying: Paying | None = None
    lost: list[str] = Field(default_factory=list)
    releasing: bool | None = None
    settled: bool | None = None  # that it is wholly paid was told
    version: int = 1
    history: Annotated[list[HistoryEntry], Field(max_length=MAX_HISTORY)] = Field(default_factory=list)

    @property
    def session_ids(self) -> list[ObjectId]:
        return [line.session_id for line in self.lines if line.session_id is not None]

    def was_done(self, key: str) -> bool:
        """Whether the command of this key has had its effect here (L9)."""
        return any(entry.key == key for entry in self.history)


INDEXES = [
    IndexModel([("datedAt", DESCENDING), ("_id", DESCENDING)], name="dated"),
    IndexModel([("clientId", ASCENDING), ("datedAt", DESCENDING)], name="client"),
    IndexModel([("lines.sessionId", ASCENDING)], name="session"),
    IndexModel([("number", ASCENDING)], name="number"),
    IndexModel([("refers", ASCENDING)], name="refers"),
    IndexModel([("status", ASCENDING), ("createdAt", ASCENDING)], name="status"),
    IndexModel([("releasing", ASCENDING)], name="releasing"),
    IndexModel([("paying.at", ASCENDING)], name="paying"),
]
NUMBER_INDEXES = [IndexModel([("pending.at", ASCENDING)], name="pending")]
