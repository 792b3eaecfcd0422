"""Messages by a real mail server on loopback: what is told, to whom, when, and what is told no more (MONEY, Events)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import vobject
from bson import ObjectId
from pydantic import SecretStr

from confiido_booking import Actor, Confiido, Conflict, Expert, Invalid, NotAllowed, NotFound, Settings, Unavailable
from confiido_booking.billing.models import Party
from confiido_booking.billing.rules import LineWish
from confiido_booking.bookings.models import AddOn
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document
from confiido_booking.messaging import sending
from tests.builders import Clock, a_client, a_service, an_admin, make_expert
from tests.mailbox import Mailbox, mailbox, part
from tests.processes import processes

ADA, GRACE = "ada@example.org", "mentor@example.org"
MOST_COMMANDS = 60


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as box:
        yield box


@pytest.fixture
def settings(settings: Settings, box: Mailbox) -> Settings:
    mail = {"smtp_url": SecretStr(box.url), "mail_from": "Confiido <hello@confiido.example>"}
    return settings.model_copy(update={**mail, "public_url": "https://confiido.example"})


@pytest.fixture
async def expert(confiido: Confiido) -> Expert:
    return await make_expert(confiido, timezone="Europe/London", meeting_link="https://meet.example.org/grace")


async def book(
    confiido: Confiido, expert: Expert, client: Actor | None = None, *, hours: float = 48, zone: str = "Asia/Kolkata"
) -> Change:
    return await confiido.bookings.book(
        actor=client or a_client(),
        expert=str(expert.id),
        session_type="video",
        duration=30,
        starts_at=confiido.clock() + timedelta(hours=hours),
        timezone=zone,
    )


async def confirmed(confiido: Confiido, expert: Expert, *, hours: float = 48) -> Change:
    change = await book(confiido, expert, hours=hours)
    return await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())


async def tell(confiido: Confiido) -> dict[str, int]:
    return await confiido.chores.telling.once()


async def stored(confiido: Confiido, **query: object) -> list[Document]:
    return await confiido.store.find("read", "communications", query, sort=[("dueAt", 1), ("to", 1)])


async def test_a_confirmation_goes_to_both_each_by_their_own_clock_with_the_event_for_their_calendar(
    confiido: Confiido, box: Mailbox, expert: Expert
) -> None:
    change = await confirmed(confiido, expert)

    told = await tell(confiido)

    [mine], [theirs] = box.to(ADA), box.to(GRACE)
    assert told["mailed"] == 2
    assert mine["From"] == "Confiido <hello@confiido.example>"
    assert mine["To"] == "Ada <ada@example.org>"
    assert mine["Subject"] == "Confirmed: Video session with Grace, Wednesday, 4 March 2026"
    text, html = part(mine, "text/plain"), part(mine, "text/html")
    assert "14:30 to 15:00, Asia/Kolkata (UTC+05:30)" in text
    assert "With:    Grace" in text
    assert "https://meet.example.org/grace" in text
    assert "Pay here: https://confiido.example/pay/sessions/" in text
    assert "14:30 to 15:00" in html
    assert "09:00 to 09:30, Europe/London (UTC+00:00)" in part(theirs, "text/plain")
    assert "Pay here" not in part(theirs, "text/plain")
    event = vobject.readOne(part(mine, "text/calendar")).vevent
    assert event.uid.value == f"{change.session_id}@confiido-booking"
    assert event.dtstart.value == change.raw_session["startsAt"]
    assert event.status.value == "CONFIRMED"


async def test_nothing_is_sent_inside_a_command(confiido: Confiido, box: Mailbox, expert: Expert) -> None:
    await confirmed(confiido, expert)

    assert box.mails == []
    assert await stored(confiido) == []


async def test_what_was_sent_is_not_sent_again(confiido: Confiido, box: Mailbox, expert: Expert) -> None:
    await confirmed(confiido, expert)

    told = [(await tell(confiido))["mailed"] for _ in range(3)]

    assert (told, len(box.mails)) == ([2, 0, 0], 2)


async def test_a_move_and_a_cancellation_follow_under_the_same_event_with_a_higher_sequence(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await confirmed(confiido, expert)
    await tell(confiido)
    clock.advance(minutes=1)
    await confiido.bookings.reschedule(
        change.booking_id, change.session_id, actor=an_admin(), starts_at=clock.now + timedelta(hours=72)
    )
    await tell(confiido)
    clock.advance(minutes=1)
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=an_admin(), reason="The expert is ill")
    await tell(confiido)

    mails = box.to(ADA)
    calendars = [vobject.readOne(part(mail, "text/calendar")) for mail in mails]
    sequences = [int(calendar.vevent.sequence.value) for calendar in calendars]
    assert [str(mail["Subject"]).split(":")[0] for mail in mails] == ["Confirmed", "Moved", "Cancelled"]
    assert len({calendar.vevent.uid.value for calendar in calendars}) == 1
    assert sequences == sorted(set(sequences))
    assert [calendar.method.value for calendar in calendars] == ["REQUEST", "REQUEST", "CANCEL"]
    assert "from Wednesday, 4 March 2026, 14:30" in part(mails[1], "text/plain")
    assert "Reason: The expert is ill" in part(mails[2], "text/plain")
    assert len(box.to(GRACE)) == 3


async def test_a_confirmation_that_no_longer_holds_is_not_sent(
    confiido: Confiido, box: Mailbox, expert: Expert
) -> None:
    change = await confirmed(confiido, expert)
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=an_admin())

    await tell(confiido)

    assert {str(mail["Subject"]).split(":")[0] for mail in box.mails} == {"Cancelled"}
    assert {m["state"] for m in await stored(confiido, kind="booking_confirmed")} == {"dropped"}


async def test_of_two_moves_only_the_last_is_told(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await confirmed(confiido, expert)
    await tell(confiido)
    box.mails.clear()
    for hours in (60, 61):
        clock.advance(seconds=1)
        await confiido.bookings.reschedule(
            change.booking_id, change.session_id, actor=an_admin(), starts_at=clock.now + timedelta(hours=hours)
        )

    await tell(confiido)

    assert len(box.to(ADA)) == 1
    assert "Time:    03:30 to 04:00" in part(box.to(ADA)[0], "text/plain")


async def test_a_refused_move_is_not_told_as_a_move(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    client = a_client()
    change = await book(confiido, expert, client)
    ids = (change.booking_id, change.session_id)
    await confiido.bookings.confirm(*ids, actor=an_admin())
    await confiido.bookings.request_reschedule(*ids, actor=client, starts_at=clock.now + timedelta(hours=60))
    await confiido.bookings.respond_reschedule(*ids, actor=an_admin(), approve=False)

    await tell(confiido)

    assert {str(mail["Subject"]).split(":")[0] for mail in box.mails} == {"Confirmed"}


async def test_an_approved_move_is_told(confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock) -> None:
    client = a_client()
    change = await book(confiido, expert, client)
    ids = (change.booking_id, change.session_id)
    await confiido.bookings.confirm(*ids, actor=an_admin())
    await tell(confiido)
    box.mails.clear()
    clock.advance(minutes=1)
    await confiido.bookings.request_reschedule(*ids, actor=client, starts_at=clock.now + timedelta(hours=60))
    await confiido.bookings.respond_reschedule(*ids, actor=an_admin(), approve=True)

    await tell(confiido)

    assert sorted(str(mail["Subject"]).split(":")[0] for mail in box.mails) == ["Moved", "Moved"]


async def test_a_quote_is_sent_with_its_parts_and_where_to_accept_it(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    asked = await confiido.bookings.request(actor=a_client(), expert=str(expert.id), session_type="video", duration=30)
    ids = (asked.booking_id, asked.session_id)
    await confiido.bookings.quote(*ids, actor=an_admin(), amount=50, text="The first offer")
    clock.advance(minutes=1)
    await confiido.bookings.quote(
        *ids,
        actor=an_admin(),
        amount=40,
        add_ons=[AddOn(name="Workbook <1>", price=Decimal(5))],
        expires_at=clock.now + timedelta(days=2),
        text="A better offer",
    )

    await tell(confiido)

    [mail] = box.mails
    text, html = part(mail, "text/plain"), part(mail, "text/html")
    assert str(mail["Subject"]).endswith("₹45.00")
    assert "Workbook <1>: ₹5.00" in text
    assert "Workbook &lt;1&gt;" in html
    assert "A better offer" in text
    assert "It is good until Wednesday, 4 March 2026, 14:31" in text
    assert f"https://confiido.example/pay/sessions/{asked.session_id}" in text
    assert {m["state"] for m in await stored(confiido, kind="quote_sent")} == {"sent", "dropped"}


async def test_a_payment_is_told_with_what_is_left_to_pay(confiido: Confiido, box: Mailbox, expert: Expert) -> None:
    change = await book(confiido, expert)
    await confiido.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())

    await tell(confiido)

    [receipt] = [mail for mail in box.to(ADA) if str(mail["Subject"]).startswith("Payment")]
    assert "₹20.00" in part(receipt, "text/plain")
    assert "Still to pay" not in part(receipt, "text/plain")
    assert [str(mail["Subject"]).split(":")[0] for mail in box.to(GRACE)] == ["Confirmed"]


async def test_reminders_come_a_day_and_an_hour_before_to_both(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await confirmed(confiido, expert)
    starts_at = change.raw_session["startsAt"]
    await tell(confiido)
    sent = list[tuple[float, int]]()

    for hours in (25, 24.01, 24, 23, 1.01, 1, 0.5, -1):
        clock.now = starts_at - timedelta(hours=hours)
        box.mails.clear()
        if await tell(confiido) and box.mails:
            sent.append((hours, len(box.mails)))
            assert "It begins on Wednesday, 4 March 2026 at 14:30." in part(box.to(ADA)[0], "text/plain")

    assert sent == [(24, 2), (1, 2)]


async def test_reminders_move_with_the_session(confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock) -> None:
    change = await confirmed(confiido, expert)
    await tell(confiido)
    clock.advance(minutes=1)
    later = clock.now + timedelta(days=10)
    await confiido.bookings.reschedule(change.booking_id, change.session_id, actor=an_admin(), starts_at=later)
    await tell(confiido)

    reminded = list[float]()
    for hours in (216, 215, 24, 1):
        box.mails.clear()
        clock.now = later - timedelta(hours=hours)
        await tell(confiido)
        reminded += [hours] * len(box.to(ADA))

    assert reminded == [24, 1]
    states = [m["state"] for m in await stored(confiido, kind="reminder")]
    assert (states.count("sent"), states.count("dropped")) == (4, 4)


async def test_a_session_moved_back_to_its_old_time_is_still_reminded_of(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await confirmed(confiido, expert)
    starts_at = change.raw_session["startsAt"]
    await tell(confiido)
    for when in (starts_at + timedelta(days=1), starts_at):
        clock.advance(minutes=1)
        await confiido.bookings.reschedule(change.booking_id, change.session_id, actor=an_admin(), starts_at=when)
        await tell(confiido)
    box.mails.clear()

    clock.now = starts_at - timedelta(hours=1)
    await tell(confiido)

    assert len(box.to(ADA)) == 1


async def test_a_cancelled_sessions_reminder_is_not_sent(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await confirmed(confiido, expert)
    await tell(confiido)
    await confiido.bookings.cancel(change.booking_id, change.session_id, actor=an_admin())
    box.mails.clear()
    clock.now = change.raw_session["startsAt"] - timedelta(hours=1)

    await confiido.chores.telling.mail.run()  # before the cancellation is even read from the log

    assert box.mails == []
    assert {m["state"] for m in await stored(confiido, kind="reminder")} == {"dropped"}


async def test_a_reminder_that_comes_late_is_not_sent_beside_the_next_one(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await confirmed(confiido, expert)
    await tell(confiido)
    box.mails.clear()
    clock.now = change.raw_session["startsAt"] - timedelta(minutes=50)

    await tell(confiido)

    assert len(box.to(ADA)) == 1


async def test_there_is_no_reminder_of_what_is_past(confiido: Confiido, expert: Expert) -> None:
    await confirmed(confiido, expert, hours=10)

    await tell(confiido)

    assert {m["hours"] for m in await stored(confiido, kind="reminder")} == {1}


async def test_a_mail_server_that_is_away_is_tried_again_with_growing_pauses_and_then_it_has_failed(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, hours=24 * 30)
    box.answers = ["451 Later"] * 100
    begin = clock.now
    await confiido.messages.send(change.session_id, actor=an_admin(), subject="Hello", text="Are you there?")
    tried = list[float]()

    for _ in range(20):
        await tell(confiido)
        [message] = await stored(confiido, kind="custom")
        tried.append((clock.now - begin) / timedelta(minutes=1))
        if message["state"] != "queued":
            break
        clock.now = message["dueAt"]

    assert message["state"] == "failed"
    assert tried[:4] == [0, 1, 6, 21]
    assert len(tried) == len(sending.PAUSES) + 1
    assert box.mails == []


async def test_a_mail_that_is_taken_at_last_is_sent_once(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock
) -> None:
    change = await book(confiido, expert, hours=24 * 30)
    box.answers = ["451 Later"]
    await confiido.messages.send(change.session_id, actor=an_admin(), subject="Hello", text="Are you there?")

    mailed = []
    for _ in range(3):
        mailed.append((await tell(confiido))["mailed"])
        clock.advance(minutes=2)

    assert mailed == [0, 1, 0]


async def test_an_address_that_does_not_exist_has_failed_at_once(
    confiido: Confiido, box: Mailbox, expert: Expert
) -> None:
    box.refused = {ADA}
    await confirmed(confiido, expert)

    await tell(confiido)

    states = {(m["to"], m["state"]) for m in await stored(confiido, kind="booking_confirmed")}
    assert states == {("client", "failed"), ("expert", "sent")}


async def test_a_worker_that_dies_at_any_command_loses_no_mail_and_doubles_only_what_it_was_sending(
    confiido: Confiido, box: Mailbox, expert: Expert, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = list[str]()

    async def send(mail: Document, url: str) -> None:
        sent.append(str(mail["Message-ID"]))

    monkeypatch.setattr("confiido_booking.messaging.composing.send", send)
    await confirmed(confiido, expert, hours=24 * 30)
    await confiido.events.collect()
    for stop in range(MOST_COMMANDS):
        sent.clear()
        await confiido.store.collection("communications").delete_many({})
        await confiido.store.collection("event_log").delete_many({"_id": "messages"})
        async with processes(confiido, "worker") as (worker,):
            await worker.start(worker.confiido.chores.telling.once())
            ended = await worker.run_to(stop)
            clock.advance(minutes=3)

            await tell(confiido)

            mails = await stored(confiido, kind="booking_confirmed")
            assert {mail["state"] for mail in mails} == {"sent"}
            assert set(sent) == {f"<{mail['_id']}@confiido-booking>" for mail in mails}
            assert len(sent) <= 3
            assert len(await stored(confiido, kind="reminder")) == 4
        if ended:
            return
    pytest.fail("telling takes more commands than were tried")


async def test_an_administrator_writes_to_the_client(confiido: Confiido, box: Mailbox, expert: Expert) -> None:
    change = await book(confiido, expert)

    message = await confiido.messages.send(
        change.session_id, actor=an_admin(), subject="Before we meet", text="Please bring <b>tea</b>.\n{{ 7 * 7 }}"
    )
    await tell(confiido)

    [mail] = box.mails
    assert message["state"] == "queued"
    assert mail["Subject"] == "Before we meet"
    assert "Please bring <b>tea</b>.\n{{ 7 * 7 }}" in part(mail, "text/plain").replace("\r\n", "\n")
    assert "&lt;b&gt;tea&lt;/b&gt;" in part(mail, "text/html")


async def test_the_same_key_writes_once(confiido: Confiido, box: Mailbox, expert: Expert) -> None:
    change = await book(confiido, expert)

    ids = {
        (await confiido.messages.send(change.session_id, actor=an_admin(), subject="Hi", text="Hi", request_key="1"))[
            "_id"
        ]
        for _ in range(2)
    }
    await tell(confiido)

    assert (len(ids), len(box.mails)) == (1, 1)


async def test_a_template_is_refused_where_what_it_says_is_not_so(confiido: Confiido, expert: Expert) -> None:
    change = await book(confiido, expert)

    for template in ("booking_confirmed", "session_cancelled", "session_rescheduled", "quote_sent", "reminder"):
        with pytest.raises(Conflict) as refusal:
            await confiido.messages.send(change.session_id, actor=an_admin(), template=template)
        assert refusal.value.code == "not_applicable"
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())
    await confiido.messages.send(change.session_id, actor=an_admin(), template="booking_confirmed")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"subject": "Hi"},
        {"text": "Hi"},
        {"subject": " ", "text": "Hi"},
        {"template": "reminder", "text": "Hi"},
        {"template": "custom"},
        {"template": "invoice_issued"},
        {"template": "../../etc/passwd"},
        {"subject": "a" * 201, "text": "Hi"},
        {"subject": "Hi", "text": "a" * 10_001},
        {"subject": "Hi\0", "text": "Hi"},
    ],
)
async def test_what_is_no_message_is_refused(confiido: Confiido, expert: Expert, asked: dict[str, str]) -> None:
    change = await book(confiido, expert)

    with pytest.raises(Invalid):
        await confiido.messages.send(change.session_id, actor=an_admin(), **asked)


async def test_only_an_administrator_writes_and_only_of_sessions_that_are_there(
    confiido: Confiido, expert: Expert
) -> None:
    change = await book(confiido, expert)

    for actor in (a_client(), a_service()):
        with pytest.raises(NotAllowed):
            await confiido.messages.send(change.session_id, actor=actor, subject="Hi", text="Hi")
    with pytest.raises(NotFound):
        await confiido.messages.send(ObjectId(), actor=an_admin(), subject="Hi", text="Hi")


async def test_a_client_without_an_address_is_not_written_to(confiido: Confiido, box: Mailbox, expert: Expert) -> None:
    change = await book(confiido, expert, a_client(email=None))
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    await tell(confiido)

    with pytest.raises(Conflict) as refusal:
        await confiido.messages.send(change.session_id, actor=an_admin(), subject="Hi", text="Hi")
    assert refusal.value.code == "no_address"
    assert {m["state"] for m in await stored(confiido, kind="booking_confirmed", to="client")} == {"dropped"}
    assert len(box.to(GRACE)) == 1


async def test_no_name_subject_or_address_adds_a_header_or_a_recipient(
    confiido: Confiido, box: Mailbox, expert: Expert
) -> None:
    evil = 'Ada\r\nBcc: eve@example.org\r\n\r\n<script>"'
    change = await book(confiido, expert, a_client(name=evil))
    await confiido.store.update("spoil", "bookings", {}, {"$set": {"sessions.0.title": evil, "clientName": evil}})
    await confiido.messages.send(change.session_id, actor=an_admin(), subject=evil, text=evil)
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    await tell(confiido)

    assert len(box.mails) == 3
    assert all(mail["Bcc"] is None for mail in box.mails)
    assert {address for to in box.recipients for address in to} == {ADA, GRACE}
    assert all("<script>" not in part(mail, "text/html") for mail in box.mails)


@pytest.mark.parametrize("address", ["ada@example.org\r\nBcc: eve@example.org", "a@b, eve@example.org", "<x@y>", "no"])
async def test_what_is_no_plain_address_is_written_to_nowhere(
    confiido: Confiido, box: Mailbox, expert: Expert, address: str
) -> None:
    change = await book(confiido, expert)
    await confiido.store.update("spoil", "bookings", {}, {"$set": {"clientEmail": address}})
    await confiido.bookings.confirm(change.booking_id, change.session_id, actor=an_admin())

    await tell(confiido)

    assert {address for to in box.recipients for address in to} == {GRACE}


async def test_an_operators_template_takes_the_place_of_the_built_in_one(
    confiido: Confiido, box: Mailbox, expert: Expert, tmp_path: Path
) -> None:
    (tmp_path / "booking_confirmed.txt").write_text("Ja, {{ name }}!\n\nBis {{ session.date }}.\n")
    own = Confiido.over(
        confiido.store, confiido.settings.model_copy(update={"mail_templates": tmp_path}), confiido.clock
    )
    await confirmed(own, expert)

    await tell(own)

    [mail] = box.to(ADA)
    assert mail["Subject"] == "Ja, Ada!"
    assert part(mail, "text/plain").startswith("Bis Wednesday")
    assert "Your session is confirmed" in part(mail, "text/html")


async def test_a_wrong_template_fails_its_own_messages_alone(
    confiido: Confiido, box: Mailbox, expert: Expert, tmp_path: Path
) -> None:
    (tmp_path / "payment_received.txt").write_text("{% if %}")
    own = Confiido.over(
        confiido.store, confiido.settings.model_copy(update={"mail_templates": tmp_path}), confiido.clock
    )
    change = await book(own, expert)
    await own.bookings.complete_payment(change.booking_id, change.session_id, actor=an_admin())

    await tell(own)

    assert {m["state"] for m in await stored(own, kind="payment_received")} == {"failed"}
    assert len(box.mails) == 2


async def test_without_a_mail_server_events_pass_by_and_are_not_told_later(
    confiido: Confiido, box: Mailbox, expert: Expert
) -> None:
    silent = Confiido.over(confiido.store, confiido.settings.model_copy(update={"smtp_url": None}), confiido.clock)
    change = await confirmed(silent, expert)
    await tell(silent)
    with pytest.raises(Unavailable) as refusal:
        await silent.messages.send(change.session_id, actor=an_admin(), subject="Hi", text="Hi")

    await tell(confiido)

    assert refusal.value.code == "provider_not_configured"
    assert box.mails == []


async def test_an_issued_invoice_is_sent_with_its_page_and_where_to_pay(
    confiido: Confiido, box: Mailbox, expert: Expert
) -> None:
    change = await confirmed(confiido, expert)
    await tell(confiido)
    box.mails.clear()
    statement = await confiido.invoices.of_sessions(session_ids=[change.session_id], actor=an_admin())

    await tell(confiido)

    [mail] = box.mails
    text = part(mail, "text/plain")
    assert mail["To"] == "Ada <ada@example.org>"
    assert mail["Subject"] == f"Invoice {statement.invoice.number} from Confiido: ₹20.00"
    assert f"Pay here: https://confiido.example/pay/invoices/{statement.invoice.id}" in text
    [page] = [each for each in mail.walk() if each.get_content_type() == "application/pdf"]
    assert page.get_filename() == f"{statement.invoice.number}.pdf"
    assert page.get_content().startswith(b"%PDF")


async def test_a_payment_of_a_standalone_invoice_is_thanked_for(confiido: Confiido, box: Mailbox) -> None:
    workbook = LineWish("Workbook", 2, 250)
    party = Party(name="Ada", email=ADA)
    stated = await confiido.invoices.standalone(actor=an_admin(), currency="INR", lines=[workbook], client=party)
    await tell(confiido)
    box.mails.clear()

    for amount in (200, None):
        await confiido.invoices.mark_paid(stated.invoice.id, actor=an_admin(), amount=amount)
        await tell(confiido)

    [first, last] = box.to(ADA)
    assert first["Subject"] == last["Subject"] == f"Payment received: {stated.invoice.number}"
    assert "Paid so far: ₹200.00" in part(first, "text/plain")
    assert f"Pay here: https://confiido.example/pay/invoices/{stated.invoice.id}" in part(first, "text/plain")
    assert "Still to pay: ₹300.00" in part(first, "text/html")
    assert "Paid so far: ₹500.00" in part(last, "text/plain")
    assert "Still to pay" not in part(last, "text/plain")
    assert "Pay here" not in part(last, "text/plain")
