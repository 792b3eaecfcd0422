"""Money for an order by somebody's word: one entry of the ledger over all its sessions (MONEY, "The ledger")."""

from datetime import datetime

from bson import ObjectId

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.context import Context
from confiido_booking.errors import wrong_field
from confiido_booking.ledger.entries import FINISH_AFTER
from confiido_booking.ledger.models import MANUAL, Entry, EntryKind, EntryState, Place, Target
from confiido_booking.ledger.rules import derived_id
from confiido_booking.ledger.service import Ledger

_MONEY_ROLES = (Role.ADMIN, Role.SERVICE)


async def pay(
    context: Context,
    ledger: Ledger,
    order_id: ObjectId,
    *,
    actor: Actor,
    amount: object | None,
    currency: str | None,
    method: str | None,
    reference: str | None,
    paid_at: datetime | None,
    key: str | None,
) -> Entry:
    """Record ``amount``, or all that is outstanding; it goes to the sessions in proportion to what each owes."""
    if actor.role not in _MONEY_ROLES:
        raise booking_rules.not_allowed("pay")
    entry_id = derived_id("pay", order_id, key) if key else ObjectId()
    known = await ledger.entries.get(entry_id) if key else None
    if known is not None:
        return await ledger.applying.apply(known, strict=known.state in (EntryState.CREATED, EntryState.FAILED))
    owed, now = await ledger.owed(Place.ORDER, order_id, actor=actor), context.clock()
    code = money.currency(currency) if currency else owed.currency
    wanted = owed.amount if amount is None else money.amount(amount, code)
    if not wanted:
        raise wrong_field("amount", "must be above 0", "invalid_amount")
    if paid_at is not None and paid_at > now:
        raise wrong_field("paid_at", "must not be in the future", "invalid_time")
    if code != owed.currency:
        raise wrong_field("currency", f"must be the order's, {owed.currency}", "currency_mismatch")
    if wanted > owed.amount:
        raise wrong_field("amount", "is more than what is outstanding", "overpayment")
    entry = Entry(
        id=entry_id,
        kind=EntryKind.PAYMENT,
        state=EntryState.CREATED,
        provider=MANUAL,
        method=booking_rules.text(method or MANUAL, "paymentMethod"),
        reference=booking_rules.text(reference, "reference", limit=500) if reference else None,
        amount=wanted,
        currency=code,
        client_id=owed.client_id,
        booking_id=owed.booking_id,
        target=Target(to=Place.ORDER, id=order_id),
        due_at=now + FINISH_AFTER,
        request_key=key,
        actor=actor.stamp(),
        created_at=now,
        paid_at=paid_at or now,
    )
    return await ledger.applying.apply(await ledger.entries.insert(entry), strict=True)
