"""L6 and L7 as invariants of any story of money: a stateful walk over the ledger beside a plain model of sums.

Sessions in yen, rupees and dinars are paid by hand, by a provider and by invoices, in parts and too much; money goes
back by us, at the provider's and by lost disputes; sessions are cancelled, completed and archived in between. The model
knows what each command says it does and nothing of the ledger's rules; L7 is added up from the raw collections.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from confiido_booking import BookingError, Confiido, Settings
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from confiido_booking.ledger.models import DisputeState
from tests.builders import Clock, a_client, a_new_database
from tests.laws.check import broken_laws
from tests.ledger import ADMIN, Bank, an_expert_of, booked, broken_money, captured, with_bank

PRICES = {"JPY": Decimal(1001), "INR": Decimal("99.99"), "KWD": Decimal("1.255")}
SHARES = st.sampled_from([1, 7, 50, 99, 100, 101, 130])  # percent of the price


@dataclass
class Account:
    """A session as the model has it."""

    change: Change
    currency: str
    price: Decimal
    paid: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)
    payments: int = 0

    def share(self, percent: int) -> Decimal:
        unit = {"JPY": Decimal(1), "INR": Decimal("0.01"), "KWD": Decimal("0.001")}[self.currency]
        return max(unit, (PRICES[self.currency] * percent / 100).quantize(unit))


class Money(RuleBasedStateMachine):
    server: str
    accounts = Bundle("accounts")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock, self.bank, self.numbers = Clock(), Bank(), count(1)
        self.known: list[Account] = []
        uri = a_new_database(self.server)
        chosen = Settings.model_validate({"env": "test", "MONGODB_URI": uri})
        self.connection = Confiido.connect(uri, settings=chosen, clock=self.clock)
        self.confiido = with_bank(self.loop.run_until_complete(self.connection.__aenter__()), self.bank)

    def run(self, command: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(command)

    def attempt(self, command: Coroutine[Any, Any, Any]) -> Any:
        """What it gives back, or the code of the refusal."""
        try:
            return self.run(command)
        except BookingError as refusal:
            return refusal.code

    @initialize()
    def open(self) -> None:
        self.run(self.confiido.ensure_indexes())
        self.experts = {
            currency: self.run(an_expert_of(self.confiido, price, currency)) for currency, price in PRICES.items()
        }
        self.client = a_client()

    def teardown(self) -> None:
        self.run(self.confiido.store.client.drop_database(self.confiido.store.name))
        self.run(self.connection.__aexit__(None, None, None))
        self.loop.close()

    @rule(target=accounts, currency=st.sampled_from(sorted(PRICES)))
    def book(self, currency: str) -> Account:
        hours = 24 + next(self.numbers)
        change = self.run(booked(self.confiido, self.experts[currency], client=self.client, hours=hours))
        account = Account(change, currency, PRICES[currency])
        self.known.append(account)
        return account

    def session(self, account: Account) -> Any:
        found = self.run(self.confiido.bookings.find_session(account.change.session_id, actor=ADMIN))
        return found.raw_session

    @rule(account=accounts, percent=SHARES)
    def pay(self, account: Account, percent: int) -> None:
        amount, owed = account.share(percent), account.price - account.paid + account.refunded
        done = self.attempt(self.confiido.ledger.paid(account.change.session_id, actor=ADMIN, amount=amount))
        if isinstance(done, str):
            expected = {"transition_refused", "hold_expired", "too_many_payments"}
            assert done in expected or (done == "already_paid") == (owed <= 0) or amount > owed, done
            return
        assert amount <= owed
        account.paid += amount

    @rule(account=accounts, percent=SHARES)
    def receive(self, account: Account, percent: int) -> None:
        """A provider's payment: never refused, and what cannot be placed is unplaced."""
        account.payments += 1
        payment = f"p{account.payments}_{account.change.session_id}"
        amount = account.share(percent)
        entry = self.attempt(captured(self.confiido, account.change, payment, amount=amount, currency=account.currency))
        if isinstance(entry, str):
            assert entry in ("already_paid", "transition_refused", "hold_expired", "not_found")
            account.payments -= 1
            return
        placed = sum((each.amount for each in entry.allocations if each.id is not None), Decimal(0))
        assert placed == min(amount, account.price - account.paid + account.refunded)
        account.paid += placed

    @rule(account=accounts, percent=SHARES)
    def refund(self, account: Account, percent: int) -> None:
        amount, session = account.share(percent), self.session(account)
        done = self.attempt(
            self.confiido.ledger.refund(account.change.session_id, actor=ADMIN, amount=amount, reason="x")
        )
        left = account.paid - account.refunded
        if isinstance(done, str):
            assert done == "disputed" or (done == "nothing_to_refund" and left <= 0) or amount > left, done
            return
        assert amount <= left
        self._gone(account, amount, lowers=session["status"] != "cancelled")

    def _gone(self, account: Account, amount: Decimal, *, lowers: bool) -> None:
        over = max(Decimal(0), account.paid - account.refunded - account.price)
        account.refunded += amount
        if lowers:
            account.price -= amount - min(amount, over)

    @rule(account=accounts, percent=SHARES, chargeback=st.booleans(), decided=st.booleans())
    def lose(self, account: Account, percent: int, chargeback: bool, decided: bool) -> None:
        """The latest payment of the provider goes back at the provider's, or by a dispute."""
        if not account.payments:
            return
        status = self.session(account)["status"]
        payment = f"p{account.payments}_{account.change.session_id}"
        told = {"provider": "bank", "provider_payment_id": payment, "currency": account.currency}
        name, amount = f"x{next(self.numbers)}", account.share(percent)
        if chargeback:
            self.run(
                self.confiido.ledger.disputed(
                    provider_dispute_id=name, amount=amount, outcome=DisputeState.OPEN, **told
                )
            )
            outcome = DisputeState.LOST if decided else DisputeState.WON
            entry = self.run(
                self.confiido.ledger.disputed(provider_dispute_id=name, amount=amount, outcome=outcome, **told)
            )
        else:
            entry = self.run(self.confiido.ledger.refund_settled(provider_refund_id=name, amount=amount, **told))
        taken = sum((each.amount for each in entry.allocations if each.id is not None), Decimal(0))
        assert taken <= account.paid - account.refunded
        self._gone(account, taken, lowers=not chargeback and status != "cancelled")

    @rule(account=accounts, action=st.sampled_from(["confirm", "cancel", "complete"]))
    def change(self, account: Account, action: str) -> None:
        command = getattr(self.confiido.bookings, action)
        self.attempt(command(account.change.booking_id, account.change.session_id, actor=ADMIN))

    @rule(account=accounts, percent=SHARES)
    def invoice(self, account: Account, percent: int) -> None:
        """An invoice that is marked paid pays its session; by one rule with everything else."""
        stated = self.attempt(self.confiido.invoices.of_sessions(actor=ADMIN, session_ids=[account.change.session_id]))
        if isinstance(stated, str):
            return
        before = self.session(account)["paidAmount"].to_decimal()
        paid = self.attempt(
            self.confiido.invoices.mark_paid(stated.invoice.id, actor=ADMIN, amount=account.share(percent))
        )
        after = self.session(account)["paidAmount"].to_decimal()
        assert after - before == (0 if isinstance(paid, str) else account.share(percent))
        account.paid += after - before

    @rule(minutes=st.sampled_from([1, 45, 60 * 26]))
    def work(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)
        self.run(self.confiido.chores.once())

    @rule()
    def archive(self) -> None:
        archive = Archive(self.confiido.store)
        client_id = self.client.id or ObjectId()
        self.run(archive.client(client_id, now=self.clock(), older_than=timedelta(0), unsettled=timedelta(0)))

    @rule()
    def repair(self) -> None:
        report = self.run(self.confiido.doctor.repair())
        assert list(report.findings) == []
        assert self.run(broken_laws(self.confiido)) == []

    @invariant()
    def laws(self) -> None:
        assert self.run(broken_money(self.confiido)) == []
        assert self.run(broken_laws(self.confiido, settled=False)) == []
        for account in self.known:
            session = self.session(account)
            stored = [session[name].to_decimal() for name in ("price", "paidAmount", "refundAmount")]
            assert stored == [account.price, account.paid, account.refunded]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_story_of_money_adds_up(server_uri: str, engine_is_embedded: bool) -> None:
    Money.server = server_uri
    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=4 if engine_is_embedded else 15,
            stateful_step_count=12 if engine_is_embedded else 25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
