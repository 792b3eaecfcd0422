"""Numbers without a hole and without a twin (MONEY, Invoices; DEFECTS, numbering).

One document for each series and year: ``{_id: "INV-2026", seq, pending: [{invoiceId, number, at}]}``.

    take    one update raises ``seq`` and adds to ``pending``, guarded by the invoice not being in it
    (issue  the invoice gets the number, guarded by its ``lost`` not having it)
    settle  a pending number older than 30 s: on its invoice, it leaves ``pending``; else it is written into the
            invoice's ``lost``, which is the fence, then stored as a void invoice, then it leaves ``pending``

A number therefore stays in ``pending`` for half a minute: who asks again for the same invoice gets the same one.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId

from confiido_booking.billing import rules
from confiido_booking.billing.models import SERIES, Invoice, Kind, Stored
from confiido_booking.bookings.healing import YOUNG
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict

COLLECTION = "invoice_numbers"
INTERRUPTED = "The issuing was interrupted; nothing was billed under this number"
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Taken:
    """A number, and whether older ones of its series wait to be settled."""

    number: str
    to_settle: bool


@dataclass(frozen=True, slots=True)
class Numbers:
    store: Store

    async def take(self, kind: Kind, invoice_id: ObjectId, now: datetime, year: int) -> Taken:
        """The next number of the series, or the one this invoice has taken within the last half minute."""
        name = f"{SERIES[kind]}-{year}"
        for _ in range(5):
            counter = await self.store.find_and_update(
                "take number",
                COLLECTION,
                {"_id": name, "pending.invoiceId": {"$ne": invoice_id}},
                [
                    {"$set": {"seq": {"$add": ["$seq", 1]}}},
                    {"$set": {"pending": {"$concatArrays": ["$pending", [_entry(invoice_id, now)]]}}},
                ],
            ) or await self.store.find_one("read numbers", COLLECTION, {"_id": name})
            if counter is None:
                await self._begin(name)
                continue
            taken = next((entry for entry in counter["pending"] if entry["invoiceId"] == invoice_id), None)
            if taken is not None:
                to_settle = any(entry["at"] <= now - YOUNG for entry in counter["pending"])
                return Taken(rules.number(SERIES[kind], year, taken["seq"]), to_settle)
        raise Conflict("The invoice is changing; please try again", code="try_again")

    async def _begin(self, name: str) -> None:
        try:
            await self.store.insert("begin numbers", COLLECTION, {"_id": name, "seq": 0, "pending": []})
        except Duplicate:
            return

    async def settle(self, now: datetime, *, older_than: timedelta = YOUNG) -> int:
        """Settle what is pending for so long, in every series. How many numbers became void."""
        due = {"pending.at": {"$lte": now - older_than}}
        voided = 0
        for counter in await self.store.find("find numbers", COLLECTION, due):
            series, _, year = counter["_id"].partition("-")
            old = [entry for entry in counter["pending"] if entry["at"] <= now - older_than][:_BATCH]
            for entry in old:
                voided += await self._settle(series, rules.number(series, int(year), entry["seq"]), entry)
                pull = {"$pull": {"pending": {"seq": entry["seq"]}}}
                await self.store.update("forget number", COLLECTION, {"_id": counter["_id"]}, pull)
        return voided

    async def _settle(self, series: str, number: str, entry: Document) -> bool:
        """Whether the number became void."""
        await self.store.update(
            "fence number",
            "invoices",
            {"_id": entry["invoiceId"], "number": {"$ne": number}},
            {"$addToSet": {"lost": number}},
        )
        meant_for = await self.store.find_one(
            "read invoice", "invoices", {"_id": entry["invoiceId"]}, {"number": 1, "currency": 1}
        )
        if meant_for is not None and meant_for.get("number") == number:
            return False
        void = Invoice(
            id=_void_id(number),
            kind=next(kind for kind, name in SERIES.items() if name == series),
            series=series,
            status=Stored.VOID,
            number=number,
            currency=(meant_for or {}).get("currency", "INR"),
            created_at=entry["at"],
            dated_at=entry["at"],
            voided_at=entry["at"],
            void_reason=INTERRUPTED,
        )
        try:
            await self.store.insert("store void", "invoices", to_mongo(void))
        except Duplicate:
            return False
        return True


def _entry(invoice_id: ObjectId, now: datetime) -> Document:
    return {"invoiceId": {"$literal": invoice_id}, "seq": "$seq", "at": {"$literal": now}}


def _void_id(number: str) -> ObjectId:
    """The same for everybody who settles this number."""
    return ObjectId(hashlib.sha256(number.encode()).digest()[:12])
