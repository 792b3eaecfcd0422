"""What is stored of bookings: one document per client, its sessions inside (SPEC 2).

The life of a session (SPEC 4; the table is in ``rules.py``)::

    requested ──quote──> quoted ──accept──> pending ──confirm──> confirmed ──complete──> completed
        │ └──────book───────┴┼───────────────┼─────────────────────┘ │  └────no-show────> no-show
        └──────decline───────┴─────cancel────┴────expire, cancel─────┴──> cancelled
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from beanie import Document, Insert, Replace, Save, SaveChanges, before_event
from bson import ObjectId
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator
from pymongo import ASCENDING, IndexModel

from confiido_booking import times
from confiido_booking.bookings import totals
from confiido_booking.bookings.statuses import HELD, Medium, PaymentStatus, SessionStatus, TimeoutStatus
from confiido_booking.database.documents import STORED, Embedded, Instant
from confiido_booking.ids import Id, new_reference
from confiido_booking.ledger.models import Posting
from confiido_booking.money import ZERO, Money
from confiido_booking.times import utc_now

SCHEMA_VERSION = 1
CURRENT = {"schemaVersion": {"$exists": True}}  # a document of this shape
OLD = {"schemaVersion": {"$exists": False}}  # what an older system left (docs/migration.md)
_DEFAULT_ZONE = "Asia/Kolkata"


class ActorStamp(Embedded):
    role: str
    id: Annotated[Id | None, Field(alias="id")] = None  # a user's, not the stamp's own: never `_id`


class AddOn(Embedded):
    """Something sold beside the session; ``minutes`` where it makes it longer."""

    name: str
    price: Money
    minutes: int = 0


class Quote(Embedded):
    """What a session is offered for. ``total`` = ``amount`` + the add-ons' prices. It holds no time (MONEY)."""

    quote_id: Id
    amount: Money
    add_ons: list[AddOn] = Field(default_factory=list)
    total: Money
    currency: str
    expires_at: Instant | None = None
    text: str | None = None
    quoted_at: Instant
    quoted_by: ActorStamp


class HistoryEntry(Embedded):
    """One thing that happened to a session. ``from``/``to`` are statuses; ``key`` is the caller's command; ``quoteId``
    which of the session's ``quotes`` it made."""

    at: Instant
    actor: ActorStamp
    action: str
    from_: Annotated[str | None, Field(alias="from")] = None
    to: str | None = None
    reason: str | None = None
    key: str | None = None
    quote_id: Id | None = None


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Number = Annotated[float, BeforeValidator(_no_boolean)]


class CancellationTier(Embedded):
    """``refundPercent`` of what was paid comes back when cancelled at least ``hoursBefore`` the start."""

    hours_before: Number = Field(ge=0, le=8784)
    refund_percent: Number = Field(ge=0, le=100)


class CancellationPolicy(Embedded):
    """SPEC 8: no tiers = everything comes back. ``clientUntilHoursBefore``: later a client may not cancel."""

    tiers: list[CancellationTier] = Field(default_factory=list, max_length=20)
    client_until_hours_before: Number = Field(0, ge=0, le=8784)


class Policy(Embedded):
    """What applied when the session was booked; a later change of the expert's rules does not touch it."""

    cancellation: CancellationPolicy = CancellationPolicy()
    buffer_before: int = 0
    buffer_after: int = 0
    price_source: str = "expert"


class RescheduleRequest(Embedded):
    status: str  # pending | approved | rejected | cancelled
    requested_by: str = "client"
    requested_date: str
    requested_start_time: str
    requested_end_time: str
    requested_starts_at: Instant
    requested_at: Instant
    reason: str | None = None
    responded_at: Instant | None = None
    response_note: str | None = None


class Reschedule(Embedded):
    """One move: the times before it and after it."""

    previous_starts_at: Instant
    previous_date: str
    previous_start_time: str
    previous_end_time: str
    new_starts_at: Instant
    new_date: str
    new_start_time: str
    new_end_time: str
    updated_by: str
    updated_at: Instant
    reason: str | None = None


def _day(value: Any) -> Any:
    """``scheduledDate`` from what the store, the wire or seed 002's sample has."""
    if isinstance(value, str):
        value = times.parse_date(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


Day = Annotated[Instant, BeforeValidator(_day), PlainSerializer(lambda day: f"{day:%Y-%m-%d}", when_used="json")]


class Session(Embedded):
    """One reservation: the seat and the money. ``duration`` in minutes; ``startsAt``, ``endsAt`` UTC.

    One that is requested or quoted may lack its expert, its kind and its time: what is there is a wish.

    ``scheduledDate``, ``startTime``, ``endTime`` are the wall clock of ``timezone``, derived from them.
    """

    session_id: Id = Field(default_factory=ObjectId)
    id: Id | None = None  # a migrated session's old _id; both name it
    service_session_id: Id | None = None
    claim_id: Id | None = None
    request_key: str | None = None
    seat: bool | None = None  # its place is in a public service session, which many share
    event_rev: int | None = None  # the rev of that service session whose time it has
    service_id: Id | None = None
    service_version: int | None = None
    service_type: str | None = None  # what was bought: individual, workshop, course, package, bundle
    order_id: Id | None = None
    partial_cancel: str | None = None  # rest, none: a client cancels it only with its order (MONEY)
    valid_until: Instant | None = None  # a draft's: until when it can be scheduled
    group_id: Id | None = None
    expert_id: Id | None = None
    expert_user_id: str | None = None
    expert_email: str | None = None
    title: str | None = None
    session_type: Medium | None = None
    location: str | None = None
    meeting_link: str | None = None
    duration: int | None = Field(None, ge=1)
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    timezone: str = _DEFAULT_ZONE
    scheduled_date: Day | None = None
    start_time: str | None = None
    end_time: str | None = None
    status: SessionStatus
    payment_status: PaymentStatus = PaymentStatus.PENDING
    price: Money = ZERO
    currency: str = "INR"
    paid_amount: Money = ZERO
    paid_at: Instant | None = None
    payment_method: str | None = None
    refund_amount: Money = ZERO
    refund_due: Money | None = None
    refund_pending: Money | None = None  # reserved for refunds under way
    ledger: list[Posting] | None = None  # what entries of the ledger did to it
    quotes: list[Quote] = Field(default_factory=list)  # the last one is in force
    quote_bytes: int | None = None  # how much of the document they take
    quote_amount: Money | None = None
    add_ons: list[AddOn] = Field(default_factory=list)
    invoice_amount: Money | None = None
    invoice_ids: list[Id] = Field(default_factory=list)
    timeout_at: Instant | None = None
    timeout_status: TimeoutStatus | None = None
    notes: str | None = None
    expert_notes: str | None = None
    internal_notes: str | None = None
    source: str = "website"
    referral_source: str | None = None
    created_by: ActorStamp | None = None
    client_cancel_until: Instant | None = None  # later a client may not cancel
    cancellation_reason: str | None = None
    cancelled_by: str | None = None
    cancellation_time: Instant | None = None
    reschedule_request: RescheduleRequest | None = None
    reschedule_history: list[Reschedule] = Field(default_factory=list)
    policy: Policy = Policy()
    conflict: bool | None = None  # set by a move, a merge or an import: exempt from L4
    requested_at: Instant | None = None
    quoted_at: Instant | None = None
    booked_at: Instant | None = None
    confirmed_at: Instant | None = None
    completed_at: Instant | None = None
    invoiced_at: Instant | None = None
    created_time: Instant | None = None
    updated_time: Instant | None = None
    version: int = 1
    history: list[HistoryEntry] = Field(default_factory=list)
    custom_fields: dict[str, Any] = Field(default_factory=dict)
    legacy: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _instants_from_wall_clock(self) -> "Session":
        """A session of seed 002's shape has only a wall clock: its instants follow from it."""
        if self.starts_at is None and self.scheduled_date is not None and self.start_time is not None:
            clock = times.parse_clock(self.start_time)
            self.starts_at = times.at_wall(self.scheduled_date.date(), clock, times.zone(self.timezone))
        if self.ends_at is None and self.starts_at is not None and self.duration is not None:
            self.ends_at = times.ends_at(self.starts_at, self.duration)
        return self

    def is_lapsed(self, now: datetime) -> bool:
        """SPEC 4: an expired hold counts as gone at once, whether or not anything has swept it."""
        return self.status in HELD and self.timeout_at is not None and self.timeout_at <= now

    @property
    def current_quote(self) -> Quote | None:
        """The one in force: each replaces the one before it."""
        return self.quotes[-1] if self.quotes else None

    def line(self) -> totals.Line:
        return totals.Line(
            self.status,
            self.payment_status,
            self.currency,
            self.price,
            self.paid_amount,
            self.refund_amount,
            self.refund_due,
        )

    def get_start_time(self) -> datetime | None:
        """Seed 4.16's accessor: the UTC start."""
        return self.starts_at

    def get_end_time(self) -> datetime | None:
        """Seed 4.16's accessor: the UTC end."""
        return self.ends_at


class Sums(Embedded):
    """Money of one currency; what each sum means is in ``totals.py``."""

    booked: Money = ZERO
    paid: Money = ZERO
    refunded: Money = ZERO
    outstanding: Money = ZERO
    refundable: Money = ZERO


class Archived(Embedded):
    """How many sessions lie in ``booking_archive``, and their sums per currency."""

    sessions: int = 0
    sums: dict[str, Sums] = Field(default_factory=dict)


class Booking(Document):
    """The one document of a client (L1). Writers that can meet use guarded updates, never ``save()``."""

    model_config = STORED

    client_id: Id
    client_user_id: str | None = None
    client_email: str | None = None
    client_name: str | None = None
    booking_reference: str = Field(default_factory=new_reference)
    sessions: list[Session] = Field(default_factory=list)
    archived: Archived = Field(default_factory=Archived)
    total_sessions: int = 0
    total_spent: Money = ZERO
    currency: str | None = None
    totals: dict[str, Sums] = Field(default_factory=dict)
    abandoned_claims: list[Id] = Field(default_factory=list)
    created_at: Instant = Field(default_factory=utc_now)
    updated_at: Instant = Field(default_factory=utc_now)
    schema_version: int = SCHEMA_VERSION

    class Settings:
        name = "bookings"
        use_revision = True
        keep_nulls = False
        indexes: ClassVar = [
            # L1. What an old system left in the collection is exempt until it is converted (docs/migration.md).
            IndexModel(
                [("clientId", ASCENDING)], unique=True, name="one_document_per_client", partialFilterExpression=CURRENT
            ),
            IndexModel([("clientId", ASCENDING), ("schemaVersion", ASCENDING)], name="client"),  # the shard key
            IndexModel([("bookingReference", ASCENDING)], name="reference"),
            IndexModel([("updatedAt", ASCENDING)], name="updated"),
            IndexModel([("clientEmail", ASCENDING)], name="email"),
            IndexModel([("sessions._id", ASCENDING)], name="old_session_id", sparse=True),  # only migrated ones have it
        ]
        former_indexes: ClassVar = ["one_booking_per_client"]  # unique over old documents too

    @before_event(Insert, Replace, Save, SaveChanges)
    def recompute_totals(self) -> None:
        """Seed 2.4: both totals are automatic wherever a document is saved whole."""
        if self.currency is None and self.sessions:
            self.currency = self.sessions[0].currency
        archived = {code: sums.model_dump() for code, sums in self.archived.sums.items()}
        computed = totals.of((session.line() for session in self.sessions), archived)
        self.totals = {code: Sums(**sums) for code, sums in computed.items()}
        self.total_sessions = len(self.sessions) + self.archived.sessions
        own: dict[str, Decimal] = computed.get(self.currency or "", {})
        self.total_spent = own.get("booked", ZERO)
        self.updated_at = utc_now()
