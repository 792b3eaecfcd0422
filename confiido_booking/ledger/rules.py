"""What money does to sessions, decided without a database (MONEY: Sessions, The ledger, Cancelling and refunds).

Sessions come as the store keeps them. Each decision stands on the version of the session that was read, so that it is
carried out on exactly that state or not at all.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking import money
from confiido_booking.actors import Actor
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings import totals
from confiido_booking.bookings.rules import status_now
from confiido_booking.bookings.statuses import HELD, PaymentStatus, SessionStatus, TimeoutStatus
from confiido_booking.database.documents import to_mongo
from confiido_booking.errors import BookingError, Conflict, TransitionRefused, wrong_field
from confiido_booking.ledger.models import Entry, EntryKind, Posting
from confiido_booking.money import ZERO, exact

MAX_POSTINGS = 100  # of one session: part payments and refunds
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a decision changes in one session, as it was read: ``to`` a status, ``fields``, its new ``ledger``."""

    session: Raw
    fields: Mapping[str, Any] = field(default_factory=dict)
    to: str | None = None


def derived_id(*parts: object) -> ObjectId:
    """An id that is always the same for the same thing, so that doing it twice is doing it once."""
    return ObjectId(hashlib.sha256(":".join(str(part) for part in parts).encode()).digest()[:12])


def postings(session: Raw) -> list[Posting]:
    return [Posting.model_validate(each) for each in session.get("ledger") or []]


def posting_of(session: Raw, entry_id: ObjectId) -> Posting | None:
    return next((each for each in postings(session) if each.id == entry_id), None)


def owed(session: Raw) -> Decimal:
    """What is left to pay: the price, less what was paid, and again what went back."""
    of = totals.line(session)
    return of.price - of.paid + of.refunded


def pending(session: Raw) -> Decimal:
    """What is reserved for refunds under way."""
    return exact(session.get("refundPending"))


def available(session: Raw) -> Decimal:
    """What could still be paid back: never more than was paid."""
    of = totals.line(session)
    return of.paid - of.refunded - pending(session)


def refundable(session: Raw) -> Decimal:
    """Of a cancelled session what is still to be paid back and not under way."""
    if session["status"] != SessionStatus.CANCELLED:
        return ZERO
    of = totals.line(session)
    return max(ZERO, min(of.due - of.refunded - pending(session), available(session)))


def unexplained(session: Raw) -> tuple[Decimal, Decimal]:
    """Money on the session that no entry accounts for: paid, and paid back (L7)."""
    of, paid, back = totals.line(session), ZERO, ZERO
    for each in postings(session):
        if each.kind is EntryKind.PAYMENT:
            paid += each.amount
        elif not each.pending:
            back += each.amount
    return of.paid - paid, of.refunded - back


def why_unpayable(session: Raw, actor: Actor, now: datetime) -> BookingError | None:
    """MONEY: requested, quoted, cancelled, a draft without an order cannot be paid; nor what owes nothing."""
    refusal = booking_rules.why_not("pay", session, actor, now)
    if refusal is not None:
        return refusal
    if len(session.get("ledger") or []) >= MAX_POSTINGS:
        return Conflict("This session has too many payments", code="too_many_payments")
    return None


def refuse_payment(session: Raw, amount: Decimal, currency: str, actor: Actor, now: datetime) -> None:
    """A payment that somebody records: exactly as much as is owed, or less, in the session's currency.

    Raises:
        TransitionRefused, Conflict ``already_paid``; Invalid ``currency_mismatch``, ``overpayment``.
    """
    if refusal := why_unpayable(session, actor, now):
        raise refusal
    if session["currency"] != currency:
        raise wrong_field("currency", f"must be the session's, {session['currency']}", "currency_mismatch")
    if amount > owed(session):
        raise wrong_field("amount", "is more than what is outstanding", "overpayment")


def portions(
    sessions: Sequence[Raw], amount: Decimal, currency: str, actor: Actor, now: datetime
) -> tuple[list[tuple[Raw, Decimal]], str | None]:
    """How a provider's payment goes to its sessions, and why not all of it does.

    To several in proportion to what each still owes; largest remainder, ties by start, then sessionId.
    """
    payable, reason = [], "unknown_session"
    for session in sorted(sessions, key=_by_start):
        if session["currency"] != currency:
            reason = "currency_mismatch"
        elif (refusal := why_unpayable(session, actor, now)) is None:
            payable.append(session)
        else:
            reason = status_now(session, now) if isinstance(refusal, TransitionRefused) else refusal.code
    owing = [owed(session) for session in payable]
    placed = min(amount, sum(owing, ZERO))
    if not payable:
        return [], reason
    parts = money.split(placed, owing, currency) if len(payable) > 1 else [placed]
    shares = [(session, part) for session, part in zip(payable, parts, strict=True) if part]
    return shares, None if placed == amount else "overpayment"


def _by_start(session: Raw) -> tuple[bool, Any, ObjectId]:
    starts_at = session.get("startsAt")
    return starts_at is None, starts_at or 0, session["sessionId"]


def paid(session: Raw, entry: Entry, amount: Decimal, now: datetime, hold: timedelta | None) -> Effect:
    """A payment comes onto a session. Wholly paid, a live hold is confirmed; the first part of it restarts the hold."""
    before, left = totals.line(session).paid, owed(session) - amount
    fields = _paying(session, entry, amount, left)
    if session["status"] not in HELD:
        return Effect(session, fields)
    if left <= 0:
        return _let_go(session, fields, now)
    if before == 0 and hold is not None and session.get("timeoutAt"):
        fields["timeoutAt"] = max(session["timeoutAt"], now + hold)
    return Effect(session, fields)


def _let_go(session: Raw, fields: Mapping[str, Any], now: datetime) -> Effect:
    """What was held until it is paid is the client's: a pending session is confirmed, a draft waits for its time."""
    if session["status"] == SessionStatus.PENDING:
        return Effect(session, {**fields, **confirmed(now)}, SessionStatus.CONFIRMED)
    return Effect(session, {**fields, "timeoutAt": None, "timeoutStatus": TimeoutStatus.COMPLETED.value})


def with_the_order(sessions: Sequence[Raw], shares: Sequence[tuple[Raw, Decimal]], now: datetime) -> list[Effect]:
    """With the last of what is owed for an order, what costs nothing in it is no longer held either."""
    parts = {session["sessionId"]: part for session, part in shares}
    live = [each for each in sessions if each["status"] != SessionStatus.CANCELLED]
    if any(owed(each) > parts.get(each["sessionId"], ZERO) for each in live):
        return []
    return [_let_go(each, {}, now) for each in live if each["status"] in HELD and each["sessionId"] not in parts]


def refuse_order_payment(sessions: Sequence[Raw], amount: Decimal, currency: str, actor: Actor, now: datetime) -> None:
    """:func:`refuse_payment` of an order: of all that is owed for its sessions together."""
    refusals = [(each, why_unpayable(each, actor, now)) for each in sessions]
    payable = [each for each, refusal in refusals if refusal is None]
    if not payable:
        raise next((why for _, why in refusals if isinstance(why, Conflict) and why.code == "already_paid"), None) or (
            refusals[0][1] or Conflict("There is nothing left to pay", code="already_paid")
        )
    if payable[0]["currency"] != currency:
        raise wrong_field("currency", f"must be the order's, {payable[0]['currency']}", "currency_mismatch")
    if amount > sum((owed(each) for each in payable), ZERO):
        raise wrong_field("amount", "is more than what is outstanding", "overpayment")


def _paying(session: Raw, entry: Entry, amount: Decimal, left: Decimal) -> dict[str, Any]:
    posting = Posting(id=entry.id, kind=EntryKind.PAYMENT, amount=amount)
    status = PaymentStatus.PAID if left <= 0 else PaymentStatus.PARTIALLY_PAID
    return {
        "paidAmount": Decimal128(totals.line(session).paid + amount),
        "paymentStatus": status.value,
        "paidAt": entry.paid_at or entry.created_at,
        "paymentMethod": entry.method or entry.provider,
        "ledger": with_postings(session, posting),
    }


def payment_failed(session: Raw) -> Effect | None:
    """An attempt to pay came to nothing: the session says so where nothing was paid for it yet."""
    if session["paymentStatus"] != PaymentStatus.PENDING or totals.line(session).paid:
        return None
    return Effect(session, {"paymentStatus": PaymentStatus.FAILED.value})


def confirmed(now: datetime) -> dict[str, Any]:
    return {"confirmedAt": now, "timeoutStatus": TimeoutStatus.COMPLETED.value}


def is_late(session: Raw, amount: Decimal, currency: str) -> bool:
    """Whether a payment came after the system had let the hold go, and pays what is owed."""
    by_system = session.get("cancelledBy") == "system" and session.get("timeoutStatus") == TimeoutStatus.EXPIRED
    lapsed = session["status"] == SessionStatus.CANCELLED and by_system and "startsAt" in session
    fits = session["currency"] == currency and amount >= owed(session) > 0 and not pending(session)
    return lapsed and fits and len(session.get("ledger") or []) < MAX_POSTINGS


def revived(session: Raw, entry: Entry, now: datetime) -> dict[str, Any]:
    """The fields of a session that stands again because its payment came after all."""
    amount = owed(session)
    undone = dict.fromkeys(("cancelledBy", "cancellationReason", "cancellationTime", "refundDue"))
    return {**undone, **_paying(session, entry, amount, ZERO), **confirmed(now)}


def untouched(session: Raw, entry: Entry, reason: str) -> Effect:
    """The entry does nothing here, and never will."""
    posting = Posting(id=entry.id, kind=entry.kind, amount=ZERO, reason=reason)
    return Effect(session, {"ledger": with_postings(session, posting)})


def opened(session: Raw, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The session's money from before the ledger is what these entries say."""
    new = [Posting(id=e.id, kind=e.kind, amount=e.amount, refers=e.refers) for e in entries]
    return with_postings(session, *new)


@dataclass(frozen=True, slots=True)
class Part:
    """What of a refund goes back by which payment."""

    payment_id: ObjectId
    amount: Decimal


def left_of_payments(session: Raw) -> dict[ObjectId, Decimal]:
    """How much of each payment is still on the session, the latest last; refunds under way are gone already."""
    known = postings(session)
    left = {each.id: each.amount for each in known if each.kind is EntryKind.PAYMENT}
    for each in known:
        if each.kind is not EntryKind.PAYMENT and each.refers in left:
            left[each.refers] -= each.amount
    return left


def refund_parts(session: Raw, amount: Decimal, *, of: ObjectId | None = None) -> list[Part]:
    """By which payments an amount goes back: the latest first, or only by ``of``.

    Raises:
        Conflict: ``nothing_to_refund``; Invalid: ``over_refund``: more than was paid, refunds under way counted.
    """
    left = {key: value for key, value in left_of_payments(session).items() if of is None or key == of}
    most = min(available(session), sum(left.values(), ZERO))
    if most <= 0:
        raise Conflict("There is nothing to refund", code="nothing_to_refund")
    if amount > most:
        raise wrong_field("amount", "is more than what was paid and not yet refunded", "over_refund")
    parts = []
    for payment_id, rest in reversed(left.items()):
        taken = min(rest, amount)
        if taken > 0:
            parts.append(Part(payment_id, taken))
            amount -= taken
    return parts


def checked_refund(session: Raw, amount: object | None) -> Decimal:
    """How much a refund is of: of a cancelled session what is left of what is due, else it must be said.

    Raises:
        Invalid: ``invalid_amount``; Conflict: ``nothing_to_refund``.
    """
    if amount is not None:
        wanted = money.amount(amount, session["currency"])
        if not wanted:
            raise wrong_field("amount", "must be above 0", "invalid_amount")
        return wanted
    if session["status"] != SessionStatus.CANCELLED:
        raise wrong_field("amount", "is required where the session is not cancelled", "amount_required")
    if not (due := refundable(session)):
        raise Conflict("There is nothing to refund", code="nothing_to_refund")
    return due


def due_set(session: Raw, amount: object) -> Effect:
    """An admin decides what of a cancelled session goes back.

    Raises:
        TransitionRefused: it is not cancelled. Conflict: ``already_refunded``. Invalid: ``over_refund``.
    """
    if session["status"] != SessionStatus.CANCELLED:
        raise TransitionRefused("refunded in part", session["status"], "The session is not cancelled")
    due, of = money.amount(amount, session["currency"]), totals.line(session)
    if due > of.paid:
        raise wrong_field("amount", "is more than what was paid", "over_refund")
    if due < of.refunded + pending(session):
        raise Conflict("More than that has been refunded already", code="already_refunded")
    return Effect(session, {"refundDue": Decimal128(due)})


def reserved(session: Raw, entries: Sequence[Entry]) -> Effect:
    """The entries of one refund are reserved on the session.

    Raises:
        Conflict: ``nothing_to_refund``: so much of these payments is no longer there.
    """
    total, left = sum((entry.amount for entry in entries), ZERO), left_of_payments(session)
    fits = all(entry.refers is not None and left.get(entry.refers, ZERO) >= entry.amount for entry in entries)
    if not fits or available(session) < total or len(session.get("ledger") or []) >= MAX_POSTINGS:
        raise Conflict("So much can no longer be refunded", code="nothing_to_refund")
    new = [
        Posting(id=entry.id, kind=entry.kind, amount=entry.amount, refers=entry.refers, pending=True)
        for entry in entries
    ]
    fields: dict[str, Any] = {
        "refundPending": Decimal128(pending(session) + total),
        "ledger": with_postings(session, *new),
    }
    if session["status"] == SessionStatus.CANCELLED:
        of = totals.line(session)
        fields["refundDue"] = Decimal128(max(of.due, of.refunded + pending(session) + total))
    return Effect(session, fields)


def settled(session: Raw, amounts: Mapping[ObjectId, Decimal]) -> Effect:
    """Refunds that were reserved have been paid out."""
    total = sum(amounts.values(), ZERO)
    after = [each.model_copy(update={"pending": None}) if each.id in amounts else each for each in postings(session)]
    fields = _gone(session, total, lowers=True) | {
        "refundPending": Decimal128(pending(session) - total),
        "ledger": _stored(after),
    }
    return Effect(session, fields)


def released(session: Raw, entry_id: ObjectId, amount: Decimal, reason: str) -> Effect:
    """A refund that was reserved will not be paid out."""
    after = [
        each.model_copy(update={"pending": None, "amount": ZERO, "reason": reason}) if each.id == entry_id else each
        for each in postings(session)
    ]
    return Effect(session, {"refundPending": Decimal128(pending(session) - amount), "ledger": _stored(after)})


def taken_back(session: Raw, entry: Entry, amount: Decimal) -> Effect:
    """Money went back without our doing: a refund made at the provider's, or a chargeback, which is owed again."""
    posting = Posting(id=entry.id, kind=entry.kind, amount=amount, refers=entry.refers)
    fields = _gone(session, amount, lowers=entry.kind is EntryKind.REFUND)
    return Effect(session, fields | {"ledger": with_postings(session, posting)})


def _gone(session: Raw, amount: Decimal, *, lowers: bool) -> dict[str, Any]:
    """Money went back. A refund first consumes an over-payment, the rest lowers the price: nobody owes for it."""
    of = totals.line(session)
    refunded = of.refunded + amount
    status = PaymentStatus.REFUNDED if refunded >= of.paid else PaymentStatus.PARTIALLY_REFUNDED
    fields: dict[str, Any] = {"refundAmount": Decimal128(refunded), "paymentStatus": status.value}
    if lowers and session["status"] != SessionStatus.CANCELLED:
        lowered = amount - min(amount, max(ZERO, -owed(session)))
        if lowered:
            fields["price"] = Decimal128(max(ZERO, of.price - lowered))
    return fields


def shares_of_loss(
    sessions: Sequence[Raw], payment_id: ObjectId, amount: Decimal, currency: str
) -> list[tuple[Raw, Decimal]]:
    """From which sessions money of a payment went back, in proportion to how much of it is on each."""
    ordered = sorted(sessions, key=_by_start)
    most = [max(ZERO, min(left_of_payments(each).get(payment_id, ZERO), available(each))) for each in ordered]
    taken = min(amount, sum(most, ZERO))
    if not taken:
        return []
    parts = money.split(taken, most, currency)
    return [(session, part) for session, part in zip(ordered, parts, strict=True) if part]


def with_postings(session: Raw, *new: Posting) -> list[dict[str, Any]]:
    return [*(session.get("ledger") or []), *_stored(new)]


def _stored(all_: Sequence[Posting]) -> list[dict[str, Any]]:
    return [to_mongo(each) for each in all_]
