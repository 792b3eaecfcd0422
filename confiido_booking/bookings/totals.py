"""The totals of a booking, defined once and written twice: in Python and as an update pipeline (SPEC L2).

``of`` serves the pre-save hook, replies and the doctor; ``stages`` ends every guarded update, so that the
sums come from the very array the update produces. ``tests/laws/test_totals.py`` holds them equal.

- ``booked``       Σ price of counted sessions: pending, confirmed, completed, no-show, and a draft that was paid for
- ``paid``         Σ paidAmount of all sessions
- ``refunded``     Σ refundAmount of all sessions
- ``outstanding``  Σ price - paidAmount + refundAmount of counted sessions
- ``refundable``   Σ max(0, refundDue - refundAmount) of cancelled ones; without refundDue all that was paid is due

All per currency; archived sessions are in them through ``archived.sums``. ``totalSpent`` is ``booked`` in the
booking's own currency.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from bson import Decimal128

from confiido_booking.bookings.statuses import COUNTED
from confiido_booking.money import ZERO, exact

SUMS = ("booked", "paid", "refunded", "outstanding", "refundable")
Sums = dict[str, Decimal]
PAID_FOR = ("paid", "partially_refunded")  # a part that went back has lowered the price: the rest is still paid


class Line(NamedTuple):
    """What of a session the totals look at."""

    status: str
    payment_status: str
    currency: str
    price: Decimal
    paid: Decimal
    refunded: Decimal
    refund_due: Decimal | None

    @property
    def due(self) -> Decimal:
        """Of a cancelled session what shall go back in all; without a policy all that was paid."""
        return self.paid if self.refund_due is None else self.refund_due


def counted(status: str, payment_status: str) -> bool:
    """Whether a session's price is owed or was: the one definition (MONEY, Sessions)."""
    return status in COUNTED or (status == "draft" and payment_status in PAID_FOR)


def line(session: Mapping[str, Any]) -> Line:
    """The line of a session as the store keeps it."""
    return Line(
        session["status"],
        session.get("paymentStatus", "pending"),
        session["currency"],
        exact(session.get("price")),
        exact(session.get("paidAmount")),
        exact(session.get("refundAmount")),
        exact(session["refundDue"]) if session.get("refundDue") is not None else None,
    )


def contribution(part: Line) -> Sums:
    """What one session adds to the sums of its currency."""
    owed = counted(part.status, part.payment_status)
    return {
        "booked": part.price if owed else ZERO,
        "paid": part.paid,
        "refunded": part.refunded,
        "outstanding": part.price - part.paid + part.refunded if owed else ZERO,
        "refundable": max(ZERO, part.due - part.refunded) if part.status == "cancelled" else ZERO,
    }


def of(lines: Iterable[Line], archived: Mapping[str, Mapping[str, Decimal]] | None = None) -> dict[str, Sums]:
    """The sums per currency of these sessions and of the archived ones."""
    totals: dict[str, Sums] = {
        code: {name: exact(sums.get(name)) for name in SUMS} for code, sums in (archived or {}).items()
    }
    for part in lines:
        sums = totals.setdefault(part.currency, dict.fromkeys(SUMS, ZERO))
        for name, value in contribution(part).items():
            sums[name] += value
    return totals


_ZERO = {"$literal": Decimal128("0")}


def _contribution_expression() -> dict[str, Any]:
    """``contribution`` as an expression over ``$$s``."""
    counted_ = {
        "$or": [
            {"$in": ["$$s.status", sorted(COUNTED)]},
            {"$and": [{"$eq": ["$$s.status", "draft"]}, {"$in": ["$$s.paymentStatus", list(PAID_FOR)]}]},
        ]
    }
    price, paid, refunded = ({"$ifNull": [f"$$s.{name}", _ZERO]} for name in ("price", "paidAmount", "refundAmount"))
    due = {"$ifNull": ["$$s.refundDue", paid]}
    return {
        "c": "$$s.currency",
        "booked": {"$cond": [counted_, price, _ZERO]},
        "paid": paid,
        "refunded": refunded,
        "outstanding": {"$cond": [counted_, {"$add": [{"$subtract": [price, paid]}, refunded]}, _ZERO]},
        "refundable": {
            "$cond": [
                {"$eq": ["$$s.status", "cancelled"]},
                {"$max": [_ZERO, {"$subtract": [due, refunded]}]},
                _ZERO,
            ]
        },
    }


def sums_expression(sessions: str, archived_sums: str) -> dict[str, Any]:
    """``of`` as an expression: the sums per currency of an array of sessions and of archived sums."""
    lines = {"$map": {"input": sessions, "as": "s", "in": _contribution_expression()}}
    archived = {"$objectToArray": archived_sums}
    of_currency = {"$filter": {"input": "$$lines", "as": "l", "cond": {"$eq": ["$$l.c", "$$code"]}}}
    old = {"$filter": {"input": "$$archived", "as": "a", "cond": {"$eq": ["$$a.k", "$$code"]}}}
    sums = {name: {"$add": [_ZERO, {"$sum": f"$$mine.{name}"}, {"$sum": f"$$old.v.{name}"}]} for name in SUMS}
    codes = {"$setUnion": ["$$lines.c", {"$map": {"input": "$$archived", "as": "a", "in": "$$a.k"}}]}
    per_currency = {
        "$map": {
            "input": codes,
            "as": "code",
            "in": {"k": "$$code", "v": {"$let": {"vars": {"mine": of_currency, "old": old}, "in": sums}}},
        }
    }
    return {"$arrayToObject": {"$let": {"vars": {"lines": lines, "archived": archived}, "in": per_currency}}}


def stages() -> list[dict[str, Any]]:
    """The last stages of an update pipeline: totals from ``$sessions`` and ``$archived`` as they then are."""
    return [
        {
            "$set": {
                "totalSessions": {"$add": [{"$size": "$sessions"}, "$archived.sessions"]},
                "totals": sums_expression("$sessions", "$archived.sums"),
            }
        },
        {"$set": {"totalSpent": _spent()}},
    ]


def _spent() -> dict[str, Any]:
    own = {"$filter": {"input": {"$objectToArray": "$totals"}, "as": "t", "cond": {"$eq": ["$$t.k", "$currency"]}}}
    return {"$let": {"vars": {"own": own}, "in": {"$add": [_ZERO, {"$sum": "$$own.v.booked"}]}}}
