"""The ledger against a settlement, the sessions and the invoices, and the command that says so."""

import io
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bson import Decimal128, ObjectId

from confiido_booking import Confiido
from confiido_booking.cli import main
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


async def test_memory_does_not_grow_with_the_file(paying: Paying) -> None:
    def rows(count: int) -> Iterator[str]:
        yield f"{HEADER}\n"
        for number in range(count):
            yield PAID.replace("pay_1", f"pay_x{number}") + "\n"

    class Lines(io.TextIOBase):
        def __init__(self, count: int) -> None:
            self.rows = rows(count)

        def readline(self, size: int = -1, /) -> str:
            return next(self.rows, "")

    async def peak(count: int) -> int:
        tracemalloc.start()
        told = 0
        async for _ in Reconciliation(paying.confiido.store).compare(Lines(count)):
            told += 1
        assert told >= count
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    await peak(200)  # whatever is made once

    assert await peak(8_000) < 1.5 * await peak(1_000)


async def test_so_many_bookings_take_no_more_commands_than_their_batches(paying: Paying) -> None:
    bookings = paying.confiido.store.collection("bookings")
    one = await bookings.find_one({})
    assert one is not None
    await bookings.insert_many(
        [
            one
            | {
                "_id": ObjectId(),
                "clientId": ObjectId(),
                "sessions": [one["sessions"][0] | {"sessionId": ObjectId(), "paidAmount": Decimal128("1")}],
            }
            for _ in range(150)
        ]
    )
    before = paying.confiido.store.commands

    told = await compared(paying.confiido, PAID, BACK)

    assert {each.kind.value for each in told} == {"session"}
    assert len(told) == 300  # paid and refunded, each without an entry
    assert paying.confiido.store.commands - before < 12


def test_the_command_prints_a_table_or_json_and_exits_by_what_it_found(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MONGODB_URI", uri)
    empty, other = tmp_path / "empty.csv", tmp_path / "other.csv"
    empty.write_text(f"\N{BYTE ORDER MARK}{HEADER}\n", encoding="utf-8")
    other.write_text(f"{HEADER}\n{PAID}\n{BACK}\n", encoding="utf-8")

    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["reconcile", *arguments])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    sound, table, document = run(str(empty)), run(str(other)), run(str(other), "--json")
    nothing = run(str(empty), "--json")
    wrong = [
        run(str(tmp_path / "nowhere.csv")),
        run(str(tmp_path)),
        run(str(other), "--from", "yesterday"),
        run(__file__),
    ]

    assert sound[:2] == (0, "No difference\n")
    assert table[0] == 1
    assert [line.split()[0] for line in table[1].splitlines()] == ["difference", "missing_here", "missing_here", "2"]
    assert "razorpay/pay_1" in table[1]
    assert document[0] == 1
    told = json.loads(document[1])
    assert (told["total"], told["counts"]) == (2, {"missing_here": 2})
    assert {name: told["differences"][0][name] for name in ("kind", "subject", "there", "line")} == {
        "kind": "missing_here",
        "subject": "razorpay/pay_1",
        "there": "20.00 INR",
        "line": 2,
    }
    assert (nothing[0], json.loads(nothing[1])["differences"]) == (0, [])
    assert [each[0] for each in wrong] == [2, 2, 2, 2]
    assert all(each[2].startswith("confiido: ") and each[2].count("\n") == 1 for each in wrong)


def test_json_is_whole_where_the_file_breaks_midway(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MONGODB_URI", uri)
    broken = tmp_path / "broken.csv"
    broken.write_bytes(f"{HEADER}\n{PAID}\n".encode() + b"\xff\n")

    with pytest.raises(SystemExit) as ended:
        main(["reconcile", str(broken), "--json"])

    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert ended.value.code == 2
    assert told["error"] in printed.err
    assert told["total"] == len(told["differences"])
