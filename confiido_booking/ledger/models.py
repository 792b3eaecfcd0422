"""What is stored of money: the collection ``payments``, one entry for each payment, refund and chargeback.

The life of an entry::

    payment     created ──> failed ──> captured ──> refunded      only ever to the right
    refund      pending ──> settled | released | failed           reserved on its session first, then paid out
    chargeback  captured                                          a dispute that was lost

Entries are never removed and their amounts never change; a correction is a new entry. ``allocations`` say where the
money went and sum to the amount (L7). They are written when the entry was applied (``appliedAt``), from what the
deciding update put on the sessions: each session keeps in its ``ledger`` a :class:`Posting` for every entry that
touched it, which is what makes an entry count once. Until then ``dueAt`` says from when on anybody finishes it.
"""

from enum import StrEnum
from typing import Annotated, Any

from bson import ObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from confiido_booking.database.documents import Embedded, Instant
from confiido_booking.ids import Id
from confiido_booking.money import Money
from confiido_booking.times import utc_now

COLLECTION = "payments"
MANUAL, OPENING = "manual", "opening"  # the providers that are none: an admin's word, and money from before the ledger


class EntryKind(StrEnum):
    PAYMENT = "payment"
    REFUND = "refund"
    CHARGEBACK = "chargeback"


class EntryState(StrEnum):
    CREATED = "created"
    FAILED = "failed"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    PENDING = "pending"
    SETTLED = "settled"
    RELEASED = "released"


class Place(StrEnum):
    """Where money is, or was meant to go."""

    SESSION = "session"
    ORDER = "order"
    INVOICE = "invoice"
    PAYMENT = "payment"  # of a refund: the unplaced money of that payment
    UNPLACED = "unplaced"


class DisputeState(StrEnum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


class Target(Embedded):
    """What an entry is for."""

    to: Place
    id: Annotated[Id, Field(alias="id")]


class Allocation(Embedded):
    """Where a part of an entry's amount went. ``reason``: why it is unplaced, a stable word."""

    to: Place
    id: Annotated[Id | None, Field(alias="id")] = None
    amount: Money
    reason: str | None = None


class EntryEvent(Embedded):
    """One thing that happened to an entry."""

    at: Instant
    event: str
    to: EntryState | None = None
    reason: str | None = None


class Entry(Embedded):
    """One entry of the ledger.

    ``key`` is the provider's id of it (``razorpay/pay_…``), unique: a payment that arrives twice is one entry.
    ``parts``: of a payment of an invoice, what was settled on for each line before the first was applied.
    ``refers``: the payment that a refund or a chargeback takes back. ``parts`` of a refund by several payments: how
    much by each; the first of its entries has them.
    """

    id: Id = Field(default_factory=ObjectId)
    kind: EntryKind
    state: EntryState
    provider: str
    key: str | None = None
    provider_order_id: str | None = None
    provider_payment_id: str | None = None
    provider_refund_id: str | None = None
    provider_dispute_id: str | None = None
    method: str | None = None
    reference: str | None = None
    reason: str | None = None
    amount: Money
    currency: str
    client_id: Id | None = None
    booking_id: Id | None = None
    target: Target | None = None
    parts: list[Allocation] | None = None
    allocations: list[Allocation] = Field(default_factory=list)
    applied_at: Instant | None = None
    due_at: Instant | None = None
    request_key: str | None = None
    refers: Id | None = None
    dispute: DisputeState | None = None
    returned: list["Returned"] = Field(default_factory=list)
    actor: dict[str, Any]
    created_at: Instant = Field(default_factory=utc_now)
    paid_at: Instant | None = None
    history: list[EntryEvent] = Field(default_factory=list)


class Returned(Embedded):
    """Money of a payment that went back from where no session keeps account of it, on the payment itself: this is what
    guards against paying it back twice. ``id``: the refund or chargeback; ``place``: the invoice, or nowhere."""

    id: Annotated[Id, Field(alias="id")]
    amount: Money
    place: Id | None = None


class Posting(Embedded):
    """What one entry did to one session; with ``amount`` 0, that it did nothing and never will.

    ``refers``: of a refund or chargeback, the payment whose money went back. ``pending``: a refund that is reserved.
    ``reason``: why not all of it came onto this session, a stable word.
    """

    id: Annotated[Id, Field(alias="id")]
    kind: EntryKind
    amount: Money
    refers: Id | None = None
    pending: bool | None = None
    reason: str | None = None


INDEXES = [
    IndexModel([("key", ASCENDING)], unique=True, sparse=True, name="providers_id"),
    IndexModel([("target.id", ASCENDING), ("createdAt", ASCENDING)], name="target"),
    IndexModel([("allocations.id", ASCENDING)], name="allocated_to"),
    IndexModel([("clientId", ASCENDING), ("createdAt", DESCENDING)], name="client"),
    IndexModel([("createdAt", DESCENDING), ("_id", DESCENDING)], name="created"),
    IndexModel([("providerOrderId", ASCENDING)], sparse=True, name="providers_order"),
    IndexModel([("providerPaymentId", ASCENDING)], sparse=True, name="providers_payment"),
    IndexModel([("refers", ASCENDING)], sparse=True, name="refers"),
    IndexModel([("dueAt", ASCENDING)], sparse=True, name="due"),
]
