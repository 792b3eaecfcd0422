"""Confiido Booking: one document per client, sessions inside, totals that keep themselves right.

``async with Confiido.connect(uri) as confiido: booked = await confiido.bookings.book(…)``
"""

from confiido_booking.actors import Actor, Role
from confiido_booking.billing.models import Invoice, InvoiceStatus, Party
from confiido_booking.billing.reading import InvoiceFilter, InvoicePage, Statement
from confiido_booking.billing.rules import LineWish, TaxWish
from confiido_booking.bookings.models import AddOn, Booking, CancellationPolicy, CancellationTier, Quote, Session
from confiido_booking.bookings.reading import SessionFilter, SessionPage
from confiido_booking.bookings.statuses import Medium, PaymentStatus, SessionStatus
from confiido_booking.bookings.views import Change, ClientRef, View
from confiido_booking.calendar.models import ServiceSession
from confiido_booking.catalog.models import Service, ServiceType
from confiido_booking.catalog.service import ServiceInput
from confiido_booking.client import Confiido
from confiido_booking.errors import (
    BookingError,
    ClientBusy,
    Conflict,
    Invalid,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PaymentNotVerified,
    PreconditionFailed,
    SlotTaken,
    TransitionRefused,
    Unavailable,
)
from confiido_booking.experts.models import Expert, SessionType
from confiido_booking.experts.service import ExpertInput, SessionTypeInput
from confiido_booking.ledger.models import Entry
from confiido_booking.ledger.paying import Paid
from confiido_booking.reviews.models import Review
from confiido_booking.reviews.service import ReviewPage
from confiido_booking.settings import Settings

__all__ = [
    "Actor",
    "AddOn",
    "Booking",
    "BookingError",
    "CancellationPolicy",
    "CancellationTier",
    "Change",
    "ClientBusy",
    "ClientRef",
    "Confiido",
    "Conflict",
    "Entry",
    "Expert",
    "ExpertInput",
    "Invalid",
    "Invoice",
    "InvoiceFilter",
    "InvoicePage",
    "InvoiceStatus",
    "LineWish",
    "Medium",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "Paid",
    "Party",
    "PaymentNotVerified",
    "PaymentStatus",
    "PreconditionFailed",
    "Quote",
    "Review",
    "ReviewPage",
    "Role",
    "Service",
    "ServiceInput",
    "ServiceSession",
    "ServiceType",
    "Session",
    "SessionFilter",
    "SessionPage",
    "SessionStatus",
    "SessionType",
    "SessionTypeInput",
    "Settings",
    "SlotTaken",
    "Statement",
    "TaxWish",
    "TransitionRefused",
    "Unavailable",
    "View",
]
