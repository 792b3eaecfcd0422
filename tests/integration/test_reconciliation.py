"""The ledger against a settlement, the sessions and the invoices, and the command that says so."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bson import Decimal128

from confiido_booking import Confiido
from confiido_booking.payments.reconciliation import Difference, Reconciliation
from tests.builders import Clock
from tests.integration.paying import Paying
from tests.providers import StandIn, razorpay_refund, razorpay_says, stand_in

HEADER = "provider,type,id,payment_id,amount,currency,at"
PAID = "razorpay,payment,pay_1,,20.00,INR,2026-03-02T09:00:00Z"
BACK = "razorpay,refund,rfnd_1,pay_1,5.00,INR,2026-03-02T09:00:00Z"


@pytest.fixture
def other_side() -> Iterator[StandIn]:
    with stand_in() as provider:
        yield provider


@pytest.fixture
async def paying(confiido: Confiido, other_side: StandIn, clock: Clock) -> AsyncIterator[Paying]:
    """A session that was paid with 20 INR, of which 5 went back."""
    begun = await Paying.begun(confiido, other_side, clock)
    order = (await begun.open()).checkout.order_id
    await begun.hears(begun.captured(order))
    await begun.hears(razorpay_says("refund.processed", clock.now, refund=razorpay_refund("rfnd_1", "pay_1", 500)))
    yield begun
    await begun.confiido.payments.providers.close()


async def compared(confiido: Confiido, *rows: str) -> list[Difference]:
    file = io.StringIO("\n".join([HEADER, *rows]), newline="")
    return [each async for each in Reconciliation(confiido.store).compare(file)]


async def test_what_agrees_has_no_difference(paying: Paying) -> None:
    assert await compared(paying.confiido, PAID, BACK) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([PAID, BACK, PAID.replace("pay_1", "pay_2")], [("missing_here", "razorpay/pay_2")]),
        ([PAID], [("missing_there", "razorpay/rfnd_1")]),
        ([PAID.replace("20.00", "19.99"), BACK], [("amount", "razorpay/pay_1")]),
        ([PAID.replace("INR", "USD"), BACK], [("currency", "razorpay/pay_1")]),
        ([PAID, BACK.replace("refund", "payment")], [("state", "razorpay/rfnd_1")]),
        ([PAID, BACK, PAID], [("repeated", "razorpay/pay_1")]),
        ([PAID, BACK, "rubbish"], [("unreadable", "")]),
    ],
    ids=lambda value: value[0][0] if isinstance(value[0], tuple) else "",
)
async def test_every_difference_from_the_file_is_told(
    paying: Paying, rows: list[str], expected: list[tuple[str, str]]
) -> None:
    assert [(each.kind.value, each.subject) for each in await compared(paying.confiido, *rows)] == expected


async def test_an_attempt_that_the_provider_settled_is_told(paying: Paying) -> None:
    await paying.confiido.store.collection("payments").update_many({"kind": "payment"}, {"$set": {"state": "created"}})

    told = await compared(paying.confiido, PAID, BACK)

    assert ("state", "razorpay/pay_1") in [(each.kind.value, each.subject) for each in told]


async def test_what_is_outside_the_files_period_is_not_missed(paying: Paying) -> None:
    later = PAID.replace("pay_1", "pay_9").replace("03-02", "03-09")

    assert [each.kind.value for each in await compared(paying.confiido, later)] == ["missing_here"]


async def test_unplaced_money_is_told_with_its_reason(paying: Paying) -> None:
    await paying.hears(paying.captured("order_of_nobody", "pay_2"))

    told = await compared(paying.confiido, PAID, BACK, PAID.replace("pay_1", "pay_2"))

    [unplaced] = told
    assert (unplaced.kind.value, unplaced.subject, unplaced.here) == ("unplaced", "razorpay/pay_2", "20.00 INR")
    assert "unknown_payment" in unplaced.sentence


@pytest.mark.parametrize("field", ["paidAmount", "refundAmount"])
async def test_a_session_with_other_money_than_the_ledger_put_there_is_told(paying: Paying, field: str) -> None:
    await paying.confiido.store.collection("bookings").update_one(
        {"_id": paying.booking_id}, {"$set": {f"sessions.0.{field}": Decimal128("1")}}
    )

    told = await compared(paying.confiido, PAID, BACK)

    assert [(each.kind.value, each.there) for each in told] == [("session", "1")]
    assert str(paying.session_id) in told[0].subject


async def test_an_invoice_with_other_money_than_the_ledger_put_there_is_told(paying: Paying) -> None:
    allocation = {"paymentId": "x", "amount": Decimal128("7"), "at": paying.clock.now}
    await paying.confiido.store.collection("invoices").insert_one({"allocations": [allocation], "currency": "INR"})

    told = await compared(paying.confiido, PAID, BACK)

    assert [(each.kind.value, each.here, each.there) for each in told] == [("invoice", "0", "7")]


async def test_nothing_is_written(paying: Paying) -> None:
    await paying.keep()

    await compared(paying.confiido, PAID.replace("20", "21"), "rubbish")

    for name, documents in paying.kept.items():
        assert await paying.confiido.store.collection(name).find().to_list() == documents


async def test_so_many_rows_take_no_more_commands_than_their_batches(paying: Paying) -> None:
    rows = [PAID.replace("pay_1", f"pay_x{number}") for number in range(1000)]
    before = paying.confiido.store.commands

    told = await compared(paying.confiido, PAID, BACK, *rows)

    assert len(told) == 1000
    assert paying.confiido.store.commands - before < 20


def run(monkeypatch: pytest.MonkeyPatch, uri: str, *arguments: str) -> None:
    from confiido_booking.cli.commands import app

    monkeypatch.setenv("MONGODB_URI", uri)
    app(["reconcile", *arguments], standalone_mode=False)


def test_json_is_one_document(tmp_path: Path) -> None:
    from collections import Counter

    from confiido_booking.cli.reconcile import _as_json, _end
    from confiido_booking.payments.reconciliation import DifferenceKind

    counts: Counter[str] = Counter()
    parts = []
    for number in range(3):
        difference = Difference(
            kind=DifferenceKind.AMOUNT, subject=f'a "{number}"', line=number, sentence="They differ"
        )
        parts.append(_as_json(difference, counts))
        counts[difference.kind] += 1

    told = json.loads("\n".join([*parts, _end(counts, as_json=True)]))
    nothing = json.loads(_end(Counter(), as_json=True))

    assert [each["subject"] for each in told["differences"]] == ['a "0"', 'a "1"', 'a "2"']
    assert (told["total"], nothing["total"]) == (3, 0)
