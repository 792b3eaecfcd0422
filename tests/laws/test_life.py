"""The laws as invariants of any story: a stateful walk over the library beside a plain model of statuses.

Two clients and two experts book, move, pay, cancel, finish, undo and archive in any order, while the clock moves on and
the worker sweeps now and then. The model knows SPEC 4's table and nothing else; the laws are read from the raw
collections after every step (L1-L6, L9, L10).
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from confiido_booking import BookingError, Confiido, Settings
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from tests.builders import MONDAY, Clock, a_client, a_new_database, an_admin, make_expert
from tests.laws.check import broken_laws

STARTS = st.integers(0, 16).map(lambda quarters: timedelta(minutes=15 * quarters))
MAY = {
    "confirm": {"pending"},
    "cancel": {"requested", "quoted", "pending", "confirmed"},
    "quote": {"requested", "quoted"},
    "accept": {"quoted"},
    "book": {"requested", "quoted"},
    "decline": {"requested", "quoted"},
    "complete": {"confirmed"},
    "no-show": {"confirmed"},
    "undo": {"completed", "no-show"},
    "pay": {"pending", "confirmed", "completed", "no-show"},
}
LEADS_TO = {
    "quote": "quoted",
    "accept": "pending",
    "book": "confirmed",
    "decline": "cancelled",
    "confirm": "confirmed",
    "cancel": "cancelled",
    "complete": "completed",
    "no-show": "no-show",
}


@dataclass
class Known:
    """A session as the model has it."""

    booking_id: ObjectId
    session_id: ObjectId
    client: ObjectId
    key: str
    status: str
    deadline: datetime | None
    archived: bool = False
    by_request: bool = False

    def status_at(self, now: datetime) -> str:
        lapsed = self.status == "pending" and self.deadline is not None and self.deadline <= now
        return "cancelled" if lapsed else self.status


class Life(RuleBasedStateMachine):
    server: str
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.known: list[Known] = []
        self.admin = an_admin()
        self.clients = [a_client(), a_client()]
        uri = a_new_database(self.server)
        chosen = Settings.model_validate({"env": "test", "MONGODB_URI": uri})
        self.connection = Confiido.connect(uri, settings=chosen, clock=self.clock)
        self.confiido = self.loop.run_until_complete(self.connection.__aenter__())

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
        self.experts = [
            self.run(make_expert(self.confiido, buffer_after=15)),
            self.run(make_expert(self.confiido, payment="later")),
        ]

    def teardown(self) -> None:
        self.run(self.confiido.store.client.drop_database(self.confiido.store.name))
        self.run(self.connection.__aexit__(None, None, None))
        self.loop.close()

    @rule(target=sessions, who=st.integers(0, 1), whom=st.integers(0, 1), after=STARTS)
    def book(self, who: int, whom: int, after: timedelta) -> Known | None:
        key = uuid4().hex
        booked = self.attempt(self._book(who, whom, MONDAY + timedelta(hours=1) + after, key))
        if isinstance(booked, str):
            assert booked in ("slot_taken", "client_busy", "starts_in_past")
            return None
        session = booked.session
        known = Known(
            booked.document["_id"], session.session_id, self.clients[who].id, key, "pending", session.timeout_at
        )
        self.known.append(known)
        return known

    @rule(target=sessions, who=st.integers(0, 1), whom=st.integers(0, 1), after=STARTS)
    def ask(self, who: int, whom: int, after: timedelta) -> Known | None:
        key = uuid4().hex
        asked = self.attempt(self._ask(who, whom, MONDAY + timedelta(hours=1) + after, key))
        if isinstance(asked, str):
            assert asked == "starts_in_past"
            return None
        client = self.clients[who].id
        known = Known(asked.booking_id, asked.session_id, client, key, "requested", None, by_request=True)
        self.known.append(known)
        return known

    async def _ask(self, who: int, whom: int, starts_at: datetime, key: str) -> Change:
        return await self.confiido.bookings.request(
            actor=self.clients[who],
            expert=self.experts[whom].id,
            session_type="video",
            duration=30,
            starts_at=starts_at,
            request_key=key,
        )

    async def _book(self, who: int, whom: int, starts_at: datetime, key: str) -> Change:
        return await self.confiido.bookings.book(
            actor=self.clients[who],
            expert=self.experts[whom].id,
            session_type="video",
            duration=30,
            starts_at=starts_at,
            request_key=key,
        )

    @rule(known=sessions, action=st.sampled_from(sorted(MAY)))
    def change(self, known: Known | None, action: str) -> None:
        if known is None:
            return
        bookings, ids = self.confiido.bookings, (known.booking_id, known.session_id)
        client = next(client for client in self.clients if client.id == known.client)
        done = self.attempt(
            {
                "quote": lambda: bookings.quote(*ids, actor=self.admin, amount=Decimal(25)),
                "accept": lambda: bookings.accept(*ids, actor=client),
                "book": lambda: bookings.book_requested(*ids, actor=self.admin),
                "decline": lambda: bookings.decline(*ids, actor=self.admin),
                "confirm": lambda: bookings.confirm(*ids, actor=self.admin),
                "cancel": lambda: bookings.cancel(*ids, actor=self.admin),
                "complete": lambda: bookings.complete(*ids, actor=self.admin),
                "no-show": lambda: bookings.no_show(*ids, actor=self.admin),
                "undo": lambda: bookings.undo(*ids, actor=self.admin, reason="A mistake"),
                "pay": lambda: bookings.complete_payment(*ids, actor=self.admin),
            }[action]()
        )
        status = known.status_at(self.clock())
        if isinstance(done, str):
            allowed = {"slot_taken", "client_busy", "not_started", "archived", "starts_in_past"}
            assert status not in MAY[action] or done in allowed, f"{action} of {status}: {done}"
            return
        assert status in MAY[action], f"{action} of {status} was done"
        known.status = LEADS_TO.get(action, "confirmed" if action == "undo" or status == "pending" else status)
        if action == "accept":
            known.deadline = done.session.timeout_at

    @rule(known=sessions, after=STARTS, by_request=st.booleans(), approve=st.booleans())
    def move(self, known: Known | None, after: timedelta, by_request: bool, approve: bool) -> None:
        if known is None:
            return
        bookings, ids = self.confiido.bookings, (known.booking_id, known.session_id)
        starts_at = MONDAY + timedelta(hours=1) + after
        client = next(client for client in self.clients if client.id == known.client)
        status = known.status_at(self.clock())
        if by_request:
            asked = self.attempt(bookings.request_reschedule(*ids, actor=client, starts_at=starts_at))
            assert isinstance(asked, str) or status == "confirmed"
            answer = self.attempt(bookings.respond_reschedule(*ids, actor=self.admin, approve=approve))
        else:
            answer = self.attempt(bookings.reschedule(*ids, actor=self.admin, starts_at=starts_at))
        assert isinstance(answer, str) or status in ("pending", "confirmed")

    @rule(known=sessions)
    def repeat(self, known: Known | None) -> None:
        """L9: the key of the booking gives the booking."""
        if known is None or known.archived:
            return
        who = next(number for number, client in enumerate(self.clients) if client.id == known.client)
        session = next(s for s in self.run(self._raw(known))["sessions"] if s["sessionId"] == known.session_id)
        whom = next(number for number, expert in enumerate(self.experts) if expert.id == session["expertId"])
        begin = self._ask if known.by_request else self._book
        again = self.attempt(begin(who, whom, session["startsAt"], known.key))
        if isinstance(again, str):
            assert again == "starts_in_past"
        else:
            assert again.session_id == known.session_id

    async def _raw(self, known: Known) -> Any:
        return await self.confiido.store.collection("bookings").find_one({"_id": known.booking_id})

    @rule(known=sessions)
    def look(self, known: Known | None) -> None:
        """L10: the other client finds nothing of it."""
        if known is not None:
            stranger = next(client for client in self.clients if client.id != known.client)
            found = self.attempt(self.confiido.bookings.find_session(known.session_id, actor=stranger))
            assert found == "session_not_found"
            seen = self.run(self.confiido.bookings.find_session(known.session_id, actor=self.admin))
            assert seen.session_id == known.session_id

    @rule(minutes=st.sampled_from([1, 20, 45, 60 * 26]))
    def wait(self, minutes: int) -> None:
        self.clock.advance(minutes=minutes)

    @rule()
    def work(self) -> None:
        self.run(self.confiido.chores.once())

    @rule(who=st.integers(0, 1))
    def archive(self, who: int) -> None:
        archive = Archive(self.confiido.store)
        self.run(archive.client(self.clients[who].id, now=self.clock(), older_than=timedelta(0)))
        kept = self.run(self.confiido.store.collection("booking_archive").find().to_list())
        for known in self.known:
            known.archived = known.session_id in {copy["_id"] for copy in kept}

    @rule()
    def repair(self) -> None:
        report = self.run(self.confiido.doctor.repair())
        assert list(report.findings) == []
        assert self.run(broken_laws(self.confiido)) == []

    @invariant()
    def laws(self) -> None:
        assert self.run(broken_laws(self.confiido, settled=False)) == []
        for known in self.known:
            if not known.archived:
                session = next(s for s in self.run(self._raw(known))["sessions"] if s["sessionId"] == known.session_id)
                swept = session["status"] == known.status_at(self.clock())
                assert swept or session["status"] == known.status


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_story_keeps_the_laws(server_uri: str, engine_is_embedded: bool) -> None:
    Life.server = server_uri
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=6 if engine_is_embedded else 25,
            stateful_step_count=15 if engine_is_embedded else 30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
