"""The whole library behind one object."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from beanie import init_beanie
from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.uri_parser import parse_uri

from confiido_booking.attendance.recording import COLLECTION as ATTENDANCE
from confiido_booking.attendance.recording import INDEXES as ATTENDANCE_INDEXES
from confiido_booking.attendance.service import Attendance
from confiido_booking.billing.models import INDEXES as INVOICE_INDEXES
from confiido_booking.billing.models import NUMBER_INDEXES
from confiido_booking.billing.service import Invoices
from confiido_booking.bookings.archive import INDEXES as ARCHIVE_INDEXES
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.models import Booking
from confiido_booking.bookings.service import Bookings
from confiido_booking.calendar.feeds import COLLECTION as FEEDS
from confiido_booking.calendar.feeds import INDEXES as FEED_INDEXES
from confiido_booking.calendar.feeds import Feeds
from confiido_booking.calendar.models import Calendar, ServiceSession
from confiido_booking.calendar.service import Calendars
from confiido_booking.catalog.models import Service
from confiido_booking.catalog.service import Catalog
from confiido_booking.chores import Chores, Telling
from confiido_booking.customers.models import User
from confiido_booking.customers.service import Customers
from confiido_booking.database.store import Document, Store
from confiido_booking.doctor import Doctor
from confiido_booking.errors import Unavailable
from confiido_booking.events.deliveries import Deliveries
from confiido_booking.events.log import INDEXES as EVENT_INDEXES
from confiido_booking.events.log import OUTBOX_INDEX, OUTBOXES, EventLog
from confiido_booking.events.webhooks import DELIVERIES, DELIVERY_INDEXES, Webhooks
from confiido_booking.experts.models import Expert
from confiido_booking.experts.service import Experts
from confiido_booking.idempotency import INDEXES as IDEMPOTENCY_INDEXES
from confiido_booking.idempotency import IdempotencyKeys
from confiido_booking.ledger.models import COLLECTION as PAYMENTS
from confiido_booking.ledger.models import INDEXES as PAYMENT_INDEXES
from confiido_booking.ledger.providers import Provider
from confiido_booking.ledger.service import Ledger
from confiido_booking.messaging.sending import Outgoing
from confiido_booking.messaging.service import COMMUNICATIONS, Messages
from confiido_booking.messaging.service import INDEXES as MESSAGE_INDEXES
from confiido_booking.migration.live import OldBookings
from confiido_booking.orders.factory import BookingFactory
from confiido_booking.orders.models import COLLECTION as ORDERS
from confiido_booking.orders.models import INDEXES as ORDER_INDEXES
from confiido_booking.orders.service import Orders
from confiido_booking.payments.events import COLLECTION as PROVIDER_EVENTS
from confiido_booking.payments.events import INDEXES as PROVIDER_EVENT_INDEXES
from confiido_booking.payments.providers import Providers
from confiido_booking.payments.service import Payments
from confiido_booking.reports.service import Reports
from confiido_booking.reviews.models import INDEXES as REVIEW_INDEXES
from confiido_booking.reviews.service import Reviews
from confiido_booking.settings import Settings
from confiido_booking.times import Clock, utc_now
from confiido_booking.workshops.service import Workshops

MODELS: list[Any] = [Booking, ServiceSession, Calendar, Expert, Service, User]
OTHER_INDEXES = {
    "booking_archive": ARCHIVE_INDEXES,
    "idempotency_keys": IDEMPOTENCY_INDEXES,
    "invoices": INVOICE_INDEXES,
    "invoice_numbers": NUMBER_INDEXES,
    "reviews": REVIEW_INDEXES,
    PAYMENTS: PAYMENT_INDEXES,
    ORDERS: ORDER_INDEXES,
    "events": EVENT_INDEXES,
    DELIVERIES: DELIVERY_INDEXES,
    PROVIDER_EVENTS: PROVIDER_EVENT_INDEXES,
    COMMUNICATIONS: MESSAGE_INDEXES,
    ATTENDANCE: ATTENDANCE_INDEXES,
    FEEDS: FEED_INDEXES,
}
DEFAULT_DATABASE = "confiido"


@dataclass(frozen=True, slots=True)
class Confiido:
    """A connection to one database, and everything that can be done there.

    ``async with Confiido.connect(uri) as confiido: …``
    """

    store: Store
    settings: Settings
    clock: Clock
    experts: Experts
    customers: Customers
    calendar: Calendars
    bookings: Bookings
    invoices: Invoices
    catalog: Catalog
    workshops: Workshops
    attendance: Attendance
    feeds: Feeds
    orders: Orders
    factory: BookingFactory
    ledger: Ledger
    payments: Payments
    reviews: Reviews
    events: EventLog
    webhooks: Webhooks
    reports: Reports
    messages: Messages
    idempotency: IdempotencyKeys
    doctor: Doctor
    chores: Chores
    old: OldBookings

    _bound: ClassVar[list[tuple[str, str]]] = []  # address and database of what is open

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        uri: str | None = None,
        *,
        database: str | None = None,
        settings: Settings | None = None,
        clock: Clock = utc_now,
    ) -> AsyncIterator[Self]:
        """Connect to the server at ``uri`` (default: ``MONGODB_URI``); its path names the database, else ``confiido``.

        Beanie binds its document classes to one database in a process, so a second connection to another database
        is refused while the first is open.

        Raises:
            Unavailable: no URI, one that is none (``invalid_uri``), or no server there.
            RuntimeError: another database is open in this process.
        """
        settings = settings or Settings()
        if uri is None:
            if settings.mongodb_uri is None:
                raise Unavailable("MONGODB_URI is not set")
            uri = settings.mongodb_uri.get_secret_value()
        try:
            address = parse_uri(uri, validate=False, warn=True)
            client: AsyncMongoClient[Document] = AsyncMongoClient(
                uri,
                document_class=dict,
                tz_aware=True,
                serverSelectionTimeoutMS=5000,
                connectTimeoutMS=5000,
                socketTimeoutMS=30000,
                appname="confiido-booking",
                uuidRepresentation="standard",
            )
        except (ConfigurationError, ValueError) as error:
            raise Unavailable(f"This is no MongoDB address: {error}", code="invalid_uri") from None
        name = database or address.get("database") or DEFAULT_DATABASE
        bound = (uri, name)
        if cls._bound and cls._bound[-1] != bound:
            await client.close()
            raise RuntimeError(f"This process is connected to the database {cls._bound[-1][1]!r} already")
        cls._bound.append(bound)
        try:
            try:
                await init_beanie(database=client[name], document_models=MODELS, skip_indexes=True)
            except PyMongoError as error:
                hosts = ", ".join(f"{host}:{port}" if port else host for host, port in address["nodelist"])
                raise Unavailable(f"No server answers at {hosts}") from error
            confiido = cls.over(Store(client, name), settings, clock)
            try:
                yield confiido
            finally:
                await confiido.payments.providers.close()
        finally:
            cls._bound.remove(bound)
            await client.close()

    @classmethod
    def over(
        cls, store: Store, settings: Settings, clock: Clock, *, providers: Mapping[str, Provider] | None = None
    ) -> Self:
        experts = Experts(store, settings, clock)
        calendar = Calendars(store, clock, experts)
        old = OldBookings(store, settings, clock)
        context = Context(store, settings, clock, experts, calendar, old=old)
        known = Providers(settings)
        ledger = Ledger(context, known if providers is None else providers)
        invoices = Invoices(context, ledger)
        catalog = Catalog(store, settings, clock, experts)
        attendance = Attendance(context, catalog)
        events = EventLog(store, clock)
        deliveries = Deliveries(store, settings, clock, events)
        payments = Payments(context, ledger, known)
        bookings = Bookings(context, ledger)
        orders = Orders(context, catalog, ledger)
        messages = Messages(context, events)
        telling = Telling(events, deliveries, messages, Outgoing(context))
        return cls(
            store=store,
            settings=settings,
            clock=clock,
            experts=experts,
            customers=Customers(context),
            calendar=calendar,
            bookings=bookings,
            invoices=invoices,
            catalog=catalog,
            workshops=Workshops(context, catalog),
            attendance=attendance,
            feeds=Feeds(context),
            orders=orders,
            factory=BookingFactory(orders),
            ledger=ledger,
            reviews=Reviews(context),
            events=events,
            webhooks=Webhooks(store, settings, clock),
            reports=Reports(bookings),
            messages=messages,
            idempotency=IdempotencyKeys(store, clock),
            doctor=Doctor(context, ledger),
            chores=Chores(context, Archive(store), invoices, ledger, telling, old, payments, orders, attendance),
            old=old,
            payments=payments,
        )

    async def ensure_indexes(self) -> list[str]:
        """Create what indexes are missing; they are declared on the models. Returns ``collection.index`` names."""
        made: list[str] = []
        for name, indexes, former in [
            *(
                (model.get_collection_name(), model.Settings.indexes, getattr(model.Settings, "former_indexes", []))
                for model in MODELS
                if hasattr(model.Settings, "indexes")
            ),
            *((name, indexes, []) for name, indexes in OTHER_INDEXES.items()),
            *((name, [OUTBOX_INDEX], []) for name in OUTBOXES),
        ]:
            made += [f"{name}.{index}" for index in await self.store.create_indexes(name, indexes, former=former)]
        await self.old.any()
        return made

    async def ping(self) -> None:
        """Raises Unavailable where the store does not answer."""
        await self.store.run("ping", lambda: self.store.database.command("ping"))
