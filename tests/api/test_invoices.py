"""Invoices over HTTP (ROUTES; seed 1.15, 1.16)."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson import ObjectId
from fontTools.ttLib import TTFont

from confiido_booking import Actor, Confiido, Expert, billing
from confiido_booking.billing.pdf import render
from confiido_booking.database.store import Store
from confiido_booking.settings import Settings
from tests.api.conftest import Headers, wish
from tests.builders import MONDAY, a_client, a_service, an_admin, an_expert

ADMIN = an_admin()
LINES = [{"description": "Workbook", "quantity": 2, "unitPrice": 250}]
STANDALONE = {"client": {"name": "Bo", "email": "bo@example.org"}, "currency": "INR", "lines": LINES}
GST = {"name": "GST", "rate": 18}


@pytest.fixture
async def session(http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert) -> str:
    """A confirmed session of Ada's."""
    booked = await http.post("/api/bookings", json=wish(grace), headers=as_(ada))
    data = booked.json()["data"]
    named = {"sessionId": data["session"]["sessionId"]}
    await http.put(f"/api/bookings/{data['booking']['_id']}/confirm", json=named, headers=as_(ADMIN))
    return str(named["sessionId"])


@pytest.fixture
async def invoice(http: httpx.AsyncClient, as_: Headers) -> dict[str, Any]:
    answer = await http.post("/api/invoices/standalone", json=STANDALONE, headers=as_(ADMIN))
    invoice: dict[str, Any] = answer.json()["data"]["invoice"]
    return invoice


async def test_a_session_is_invoiced_and_then_says_so(http: httpx.AsyncClient, as_: Headers, session: str) -> None:
    answer = await http.post(f"/api/sessions/{session}/invoice", json={"taxes": [GST]}, headers=as_(ADMIN))
    listed = await http.get("/api/sessions?status=invoiced", headers=as_(ADMIN))

    data = answer.json()["data"]
    assert answer.status_code == 201
    assert {name: data["invoice"][name] for name in ("number", "series", "kind", "status", "currency", "dueDate")} == {
        "number": "INV-2026-000001",
        "series": "INV",
        "kind": "invoice",
        "status": "issued",
        "currency": "INR",
        "dueDate": "2026-03-16",
    }
    money = {name: data["invoice"][name] for name in ("subtotal", "tax", "total", "paidAmount", "outstanding")}
    assert money == {"subtotal": 16.95, "tax": 3.05, "total": 20, "paidAmount": 0, "outstanding": 20}
    assert data["invoice"]["lines"][0]["sessionId"] == session
    assert data["invoice"]["taxTotals"] == [{"name": "GST", "rate": 18, "amount": 3.05, "base": 16.95}]
    assert (data["session"]["status"], data["session"]["invoiceIds"]) == ("invoiced", [data["invoice"]["invoiceId"]])
    assert "invoice" not in data["session"]["allowedActions"]
    assert [each["sessionId"] for each in listed.json()["data"]["sessions"]] == [session]


async def test_a_stale_version_of_the_session_is_not_invoiced(
    http: httpx.AsyncClient, as_: Headers, session: str
) -> None:
    read = await http.get(f"/api/sessions/{session}", headers=as_(ADMIN))
    path, tag = f"/api/sessions/{session}/invoice", read.headers["etag"]

    stale = await http.post(path, json={}, headers=as_(ADMIN, if_match='"1"'))
    fresh = await http.post(path, json={}, headers=as_(ADMIN, if_match=tag))

    assert (stale.status_code, fresh.status_code) == (412, 201)


async def test_a_repeat_under_the_key_is_the_first_answer_also_when_it_was_not_kept(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, session: str
) -> None:
    ask = {"json": {"sessionIds": [session]}, "headers": as_(ADMIN, idempotency_key="k")}

    first = await http.post("/api/invoices", **ask)  # type: ignore[arg-type]
    again = await http.post("/api/invoices", **ask)  # type: ignore[arg-type]
    await confiido.store.collection("idempotency_keys").delete_many({})
    rerun = await http.post("/api/invoices", **ask)  # type: ignore[arg-type]

    assert first.content == again.content == rerun.content
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_second_invoice_is_refused_until_the_first_is_void(
    http: httpx.AsyncClient, as_: Headers, session: str
) -> None:
    path, headers = f"/api/sessions/{session}/invoice", as_(ADMIN)
    first = (await http.post(path, json={}, headers=headers)).json()["data"]["invoice"]

    refused = await http.post(path, json={}, headers=headers)
    void = await http.post(f"/api/invoices/{first['invoiceId']}/void", json={"reason": "typo"}, headers=headers)
    second = await http.post(path, json={}, headers=headers)

    assert (refused.status_code, refused.json()["code"]) == (409, "already_invoiced")
    assert (void.status_code, void.json()["data"]["invoice"]["status"]) == (200, "void")
    assert second.json()["data"]["invoice"]["number"] == "INV-2026-000002"


async def test_paid_by_put_and_seen_on_the_session(http: httpx.AsyncClient, as_: Headers, session: str) -> None:
    made = await http.post("/api/invoices", json={"sessionIds": [session], "issue": False}, headers=as_(ADMIN))
    path = f"/api/invoices/{made.json()['data']['invoice']['invoiceId']}"

    early = await http.put(path, json={"status": "paid"}, headers=as_(ADMIN))
    due = await http.put(path, json={"dueDate": "2026-04-01", "internalNotes": "Call"}, headers=as_(ADMIN))
    issued = await http.put(path, json={"status": "issued"}, headers=as_(ADMIN))
    part = await http.put(path, json={"status": "paid", "amount": 5, "paymentMethod": "bank"}, headers=as_(ADMIN))
    paid = await http.put(path, json={"status": "paid", "reference": "UTR 7"}, headers=as_(ADMIN))
    seen = await http.get(f"/api/sessions/{session}", headers=as_(ADMIN))

    assert (early.status_code, early.json()["code"]) == (409, "not_issued")
    assert due.json()["data"]["invoice"]["dueDate"] == "2026-04-01"
    assert issued.json()["data"]["invoice"]["number"] == "INV-2026-000001"
    assert part.json()["data"]["invoice"]["status"] == "partially_paid"
    assert [paid.json()["data"]["invoice"][name] for name in ("status", "paidAmount", "outstanding")] == ["paid", 20, 0]
    assert (seen.json()["data"]["session"]["paidAmount"], seen.json()["data"]["session"]["paymentStatus"]) == (
        20,
        "paid",
    )


async def test_a_credit_note_answers_with_itself_and_the_invoice(
    http: httpx.AsyncClient, as_: Headers, invoice: dict[str, Any]
) -> None:
    path = f"/api/invoices/{invoice['invoiceId']}/credit-note"

    part = await http.post(path, json={"lines": [{"line": 1, "amount": 99.5}], "reason": "x"}, headers=as_(ADMIN))
    rest = await http.post(path, json={"reason": "x"}, headers=as_(ADMIN))
    more = await http.post(path, json={"reason": "x"}, headers=as_(ADMIN))

    note, corrected = part.json()["data"]["creditNote"], part.json()["data"]["invoice"]
    assert (part.status_code, note["number"], note["kind"]) == (201, "CN-2026-000001", "credit_note")
    assert (note["refers"], note["refersNumber"], note["total"]) == (invoice["invoiceId"], invoice["number"], 99.5)
    assert (corrected["creditedAmount"], corrected["outstanding"]) == (99.5, 400.5)
    assert rest.json()["data"]["invoice"]["status"] == "paid"
    assert (more.status_code, more.json()["code"]) == (409, "already_credited")


async def test_each_sees_what_is_theirs(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, session: str
) -> None:
    made = await http.post("/api/invoices", json={"sessionIds": [session]}, headers=as_(a_service()))
    path = f"/api/invoices/{made.json()['data']['invoice']['invoiceId']}"
    await http.put(path, json={"internalNotes": "Pays late"}, headers=as_(ADMIN))
    callers = {"client": ada, "other": a_client(), "expert": an_expert(grace), "admin": ADMIN, "service": a_service()}

    one = {who: await http.get(path, headers=as_(actor)) for who, actor in callers.items()}
    page = {who: (await http.get(f"{path}/pdf", headers=as_(actor))).status_code for who, actor in callers.items()}
    lists = {who: await http.get("/api/invoices", headers=as_(actor)) for who, actor in callers.items()}
    notes = {"internalNotes": "x"}
    put = {who: (await http.put(path, json=notes, headers=as_(actor))).status_code for who, actor in callers.items()}

    statuses = {who: answer.status_code for who, answer in one.items()}
    assert statuses == page == {"client": 200, "other": 404, "expert": 404, "admin": 200, "service": 200}
    assert put == {"client": 403, "other": 404, "expert": 404, "admin": 200, "service": 403}
    assert {who: answer.status_code for who, answer in lists.items()} == {**dict.fromkeys(callers, 200), "expert": 403}
    assert [lists[who].json()["data"]["pagination"]["total"] for who in ("client", "other", "admin")] == [1, 0, 1]
    shown = one["client"].json()["data"]["invoice"]
    assert not {"internalNotes", "history", "lost", "releasing", "allocations", "bookingId"} & shown.keys()
    assert one["admin"].json()["data"]["invoice"]["internalNotes"] == "Pays late"
    assert "key" not in one["admin"].json()["data"]["invoice"]["history"][0]


@pytest.mark.parametrize("path", ["/api/invoices", "/api/invoices/standalone"])
async def test_clients_and_experts_make_no_invoices(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, grace: Expert, session: str, path: str
) -> None:
    body = {**STANDALONE, "sessionIds": [session]}

    answers = [await http.post(path, json=body, headers=as_(actor)) for actor in (ada, an_expert(grace))]

    assert [answer.status_code for answer in answers] == [403, 403]


async def test_the_list_has_sums_filters_and_csv(
    http: httpx.AsyncClient, as_: Headers, ada: Actor, session: str, invoice: dict[str, Any]
) -> None:
    await http.post("/api/invoices", json={"sessionIds": [session]}, headers=as_(ADMIN))
    headers = as_(ADMIN)

    everything = (await http.get("/api/invoices", headers=headers)).json()["data"]
    of_ada = (await http.get(f"/api/invoices?clientId={ada.id}&status=Issued", headers=headers)).json()["data"]
    of_session = (await http.get(f"/api/invoices?sessionId={session}", headers=headers)).json()["data"]
    before = (await http.get("/api/invoices?to=2026-03-01", headers=headers)).json()["data"]
    on_it = (await http.get("/api/invoices?from=2026-03-02&to=2026-03-02&limit=1", headers=headers)).json()["data"]
    sheet = await http.get("/api/invoices?format=csv", headers=headers)

    assert everything["totals"] == {"INR": {"issued": 520, "paid": 0, "outstanding": 520, "overdue": 0}}
    assert [each["total"] for each in of_ada["invoices"]] == [each["total"] for each in of_session["invoices"]] == [20]
    assert (before["pagination"]["total"], on_it["pagination"]["total"], len(on_it["invoices"])) == (0, 2, 1)
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(sheet.text.lstrip("\N{BYTE ORDER MARK}"))))
    assert {(row["number"], row["total"]) for row in rows} == {
        ("INV-2026-000001", "500.00"),
        ("INV-2026-000002", "20.00"),
    }


async def test_the_page_is_a_pdf_also_for_names_its_font_cannot_print(http: httpx.AsyncClient, as_: Headers) -> None:
    client = {"name": "अदा 李 🎈", "address": "x" * 480, "taxId": "<b>1</b>"}
    lines = [{"description": "**bold** " * 50, "quantity": 0.25, "unitPrice": 999_999_999.99}]
    asked = {**STANDALONE, "client": client, "lines": lines * 40, "notes": "n" * 1000}
    made = await http.post("/api/invoices/standalone", json=asked, headers=as_(ADMIN))

    page = await http.get(f"/api/invoices/{made.json()['data']['invoice']['invoiceId']}/pdf", headers=as_(ADMIN))

    assert page.status_code == 200
    assert page.headers["content-type"] == "application/pdf"
    assert page.headers["content-disposition"] == 'inline; filename="INV-2026-000001.pdf"'
    assert page.content.startswith(b"%PDF-")


async def test_the_page_prints_rupees_and_links_to_where_it_is_paid(
    store: Store, http: httpx.AsyncClient, as_: Headers
) -> None:
    made = await http.post("/api/invoices/standalone", json=STANDALONE, headers=as_(ADMIN))
    invoice_id = made.json()["data"]["invoice"]["invoiceId"]
    known = Settings(public_url="https://book.example.org")
    shop = Confiido.over(store, known, lambda: MONDAY)

    with TTFont(Path(billing.__file__ or "").parent / "fonts" / "NotoSans-Regular.ttf") as font:
        printed = font.getBestCmap()

    page = render(await shop.invoices.get(ObjectId(invoice_id), actor=ADMIN), known)

    assert f"(https://book.example.org/pay/invoices/{invoice_id})".encode() in page
    assert ord("₹") in printed


HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("", {"sessionIds": []}),
    ("", {"sessionIds": ["x"]}),
    ("", {"sessionIds": [{"$ne": None}]}),
    ("/standalone", {**STANDALONE, "currency": "XXX"}),
    ("/standalone", {**STANDALONE, "lines": []}),
    ("/standalone", {**STANDALONE, "lines": [{"description": "x", "unitPrice": "1"}]}),
    ("/standalone", {**STANDALONE, "lines": [{"description": "x", "unitPrice": 1e300}]}),
    ("/standalone", {**STANDALONE, "lines": [{"description": "x", "unitPrice": 0.001}]}),
    ("/standalone", {**STANDALONE, "lines": [{"description": "x", "quantity": 1e-300, "unitPrice": 1}]}),
    ("/standalone", {**STANDALONE, "taxes": [{"name": "GST", "rate": 1e-300}]}),
    ("/standalone", {**STANDALONE, "taxes": [{"name": "GST", "rate": True}]}),
    ("/standalone", {**STANDALONE, "taxes": [{"name": "GST", "rate": 1e300}]}),
    ("/standalone", {**STANDALONE, "dueDate": "2026-02-30"}),
    ("/standalone", {**STANDALONE, "client": {"email": "nobody"}}),
    ("/standalone", {"currency": "INR", "lines": LINES}),
]


@pytest.mark.parametrize(("path", "body"), HOSTILE)
async def test_what_is_no_invoice_is_refused_with_422(
    http: httpx.AsyncClient, as_: Headers, confiido: Confiido, path: str, body: dict[str, Any]
) -> None:
    answer = await http.post(f"/api/invoices{path}", json=body, headers=as_(ADMIN))

    assert (answer.status_code, answer.json()["success"]) == (422, False)
    assert await confiido.store.collection("invoices").count_documents({}) == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "overdue"},
        {"amount": 5},
        {"status": "void", "amount": 5},
        {"status": "paid", "dueDate": "2026-05-01"},
        {"status": "paid", "amount": 0},
        {"status": "paid", "amount": 501},
        {"status": "paid", "amount": 1e-300},
    ],
)
async def test_a_change_that_is_none_is_refused_with_422(
    http: httpx.AsyncClient, as_: Headers, invoice: dict[str, Any], body: dict[str, Any]
) -> None:
    answer = await http.put(f"/api/invoices/{invoice['invoiceId']}", json=body, headers=as_(ADMIN))

    assert answer.status_code == 422


@pytest.mark.parametrize("query", ["status=lost", "limit=0", "cursor=x", "from=yesterday", "format=xml", "clientId=x"])
async def test_a_list_is_not_asked_for_nonsense(http: httpx.AsyncClient, as_: Headers, query: str) -> None:
    assert (await http.get(f"/api/invoices?{query}", headers=as_(ADMIN))).status_code == 422


async def test_an_unknown_invoice_is_not_found(http: httpx.AsyncClient, as_: Headers) -> None:
    path = f"/api/invoices/{ObjectId()}"
    headers = as_(ADMIN)

    answers = [
        await http.get(path, headers=headers),
        await http.get(f"{path}/pdf", headers=headers),
        await http.put(path, json={"status": "paid"}, headers=headers),
        await http.post(f"{path}/void", json={"reason": "x"}, headers=headers),
        await http.post(f"{path}/credit-note", json={"reason": "x"}, headers=headers),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "invoice_not_found")}
