"""Old data made to order: every era and every irregularity of HISTORY, in any amount, the same for the same seed.

``Samples(seed=1).documents(10_000)`` streams documents of seed 002's collection: about a half flat (eras A and B),
the others nested (C to F) with up to eight sessions, hybrids (H), several documents of one client. A share of the
sessions (``irregular``) carries one irregularity each, taken in turn from :data:`IRREGULARITIES`, so that any amount
above 700 has them all. ``users()`` and ``experts()`` are the collections beside it. Foreign systems: ``rows_*``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from random import Random
from typing import Any

from bson import Decimal128, ObjectId

Raw = dict[str, Any]
AS_OF = datetime(2026, 1, 15, 6, 0, tzinfo=UTC)
_BEGIN = datetime(2025, 8, 9, tzinfo=UTC)
_SHARES = {"A": 14, "B": 34, "C": 12, "D": 8, "E": 12, "F": 15, "H": 5}
_STARTS = {"A": 0, "B": 23, "C": 27, "D": 28, "E": 33, "F": 108}
_KINDS = (("video", 60, 50), ("video", 30, 25), ("audio", 30, 25), ("chat", 30, 20), ("video", 60, 1150))
_NOTES = ("Service: Resume Review", "Career switch to data science", "", "Mock interview, system design")


def _set(name: str, value: Any) -> Callable[[Raw, Random], None]:
    def change(session: Raw, _: Random) -> None:
        session[name] = value(session) if callable(value) else value

    return change


def _drop(*names: str) -> Callable[[Raw, Random], None]:
    def change(session: Raw, _: Random) -> None:
        for name in names:
            session.pop(name, None)

    return change


def _midnight(session: Raw, _: Random) -> None:
    session |= {"startTime": "23:30", "duration": 60, "endTime": "00:30"}


def _contradiction(session: Raw, _: Random) -> None:
    session |= {"status": "completed", "paymentStatus": "paid", "scheduledDate": datetime(2026, 5, 4, tzinfo=UTC)}


def _cancelled_confirmed(session: Raw, _: Random) -> None:
    session |= {"status": "confirmed", "cancelledBy": "client", "cancellationTime": session["scheduledDate"]}


def _text_ids(session: Raw, _: Random) -> None:
    for name in ("expertId", "clientId"):
        if name in session:
            session[name] = str(session[name])


# HISTORY 3, each as a change of one session; the number is its row. Rows 11 and 13 are made by documents().
IRREGULARITIES: tuple[tuple[int, str, Callable[[Raw, Random], None]], ...] = (
    (1, "no client fields", _drop("clientUserId", "expertUserId", "clientEmail", "expertEmail")),
    (2, "shared number", _set("clientUserId", "0000")),
    (2, "Firebase id", _set("clientUserId", "kJ3mQ0xT7uVbY1zR5wNpL8sDfGhA")),
    (3, "US dollars", _set("currency", "USD")),
    (3, "lower case currency", _set("currency", "inr")),
    (3, "currency symbol", _set("currency", "₹")),
    (3, "unknown currency", _set("currency", "XXQ")),
    (4, "automatic price", _set("price", 49.99)),
    (5, "price as text", _set("price", "25.00")),
    (5, "price as Decimal128", _set("price", Decimal128("33.30"))),
    (5, "price with a tail", _set("price", 24.999999)),
    (5, "no price", _drop("price")),
    (5, "price null", _set("price", None)),
    (6, "one-digit hour", lambda s, _: s.update(startTime="9:30", endTime="10:30", duration=60)),
    (6, "12-hour clock", lambda s, _: s.update(startTime="9:30 AM", endTime="10:30 AM", duration=60)),
    (7, "across midnight", _midnight),
    (8, "end disagrees", _set("endTime", "23:59")),
    (8, "duration as text", _set("duration", lambda s: str(s["duration"]))),
    (8, "ten minutes", lambda s, _: s.update(duration=10, endTime=None)),
    (9, "Indian midnight", _set("scheduledDate", lambda s: s["scheduledDate"] - timedelta(hours=5, minutes=30))),
    (9, "date as text", _set("scheduledDate", lambda s: f"{s['scheduledDate']:%Y-%m-%dT00:00:00.000+00:00}")),
    (9, "date as epoch", _set("scheduledDate", lambda s: int(s["scheduledDate"].timestamp() * 1000))),
    (9, "date with a time", _set("scheduledDate", lambda s: s["scheduledDate"] + timedelta(hours=7, minutes=3))),
    (12, "booked afterwards", _set("createdAt", lambda s: s["scheduledDate"] + timedelta(days=3))),
    (14, "ids as text", _text_ids),
    (14, "paid as a flag", _set("paymentStatus", True)),
    (14, "extended JSON", _set("expertId", lambda s: {"$oid": str(s["expertId"])})),
    (15, "capital letters", _set("status", "Confirmed")),
    (15, "one l", _set("status", "canceled")),
    (15, "underscore", _set("status", "no_show")),
    (15, "unknown status", _set("status", "zombie")),
    (16, "completed too early", _contradiction),
    (16, "confirmed and cancelled", _cancelled_confirmed),
    (16, "cancelled and paid", lambda s, _: s.update(status="cancelled", paymentStatus="paid")),
    (17, "deleted expert", lambda s, r: s.update(expertId=ObjectId(r.randbytes(12)), expertEmail="gone@example.org")),
    (17, "expertId null", _set("expertId", None)),
    (18, "no sessionId", _drop("sessionId", "_id")),
    (18, "sessionId as text", lambda s, _: s.update(sessionId=str(s["sessionId"])) if "sessionId" in s else None),
    (19, "long notes", _set("notes", "x" * 1500)),
    (19, "odd e-mail", _set("clientEmail", "not an address")),
)


@dataclass(slots=True)
class Samples:
    """A client has four documents or so. ``irregular``: the share of sessions with an irregularity; ``eras``: ``"AB"``
    gives flat documents only; ``huge``: so many documents of 1,200 sessions besides (row 20)."""

    seed: int = 1
    irregular: float = 0.15
    as_of: datetime = AS_OF
    experts_count: int = 40
    eras: str = "ABCDEFH"
    huge: int = 0
    _random: Random = field(init=False)
    _turn: Iterator[tuple[int, str, Callable[[Raw, Random], None]]] = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311
        self._turn = cycle(IRREGULARITIES)

    def _id(self, moment: datetime, of: Random | None = None) -> ObjectId:
        return ObjectId(int(moment.timestamp()).to_bytes(4) + (of or self._random).randbytes(8))

    def person(self, kind: str, index: int) -> Raw:
        """A user, the same at each call; one in seven has no number of their own (HISTORY 5)."""
        own = Random(f"{self.seed} {kind} {index}")  # noqa: S311
        born = _BEGIN + timedelta(minutes=index % 5000)
        return {
            "_id": self._id(born, own),
            "user_id": "0000" if index % 7 == 3 else f"{1000 + index % 9000:04d}",
            "email": f"{kind}{index}@example.org",
            "firstName": kind.capitalize(),
            "lastName": str(index),
            "location": {"timezone": "UTC"},
            "createdAt": born,
        }

    def expert(self, index: int) -> Raw:
        user = self.person("mentor", index)
        own = Random(f"{self.seed} expert {index}")  # noqa: S311
        kinds = [{"sessionType": kind, "duration": minutes, "price": price} for kind, minutes, price in _KINDS[:4]]
        return {
            "_id": self._id(user["createdAt"], own),
            "userId": user["_id"],
            "title": "Mentor",
            "sessionTypes": kinds,
            "currency": "INR",
            "rating": 4.5,
            "createdAt": user["createdAt"],
        }

    def users(self, documents: int) -> Iterator[Raw]:
        for index in range(self._clients(documents)):
            if index % 50 != 49:  # one in fifty was deleted
                yield self.person("client", index)
        for index in range(self.experts_count):
            yield self.person("mentor", index)

    def experts(self) -> Iterator[Raw]:
        for index in range(self.experts_count):
            yield self.expert(index)

    @staticmethod
    def _clients(documents: int) -> int:
        return max(3, documents // 4)

    def documents(self, amount: int) -> Iterator[Raw]:
        """``amount`` documents of all eras, oldest era first within a client only by chance."""
        clients, last = self._clients(amount), None
        shares = [_SHARES[era] for era in self.eras]
        for number in range(amount):
            era = self._random.choices(self.eras, shares)[0]
            client = self.person("client", self._random.randrange(clients))
            if number % 97 == 13 and last is not None:
                document = {**last, "_id": self._id(last["createdAt"])}  # 13: a double click
            elif era in "AB":
                document = last = self._flat(era, client)
            else:
                document = self._nested(era, client)
            yield document
        for _ in range(self.huge):
            yield self._nested("F", self.person("client", self._random.randrange(clients)), sessions=1200)

    def _session(self, era: str) -> Raw:
        random = self._random
        expert = self.expert(random.randrange(self.experts_count))
        mentor = self.person("mentor", int(expert["userId"].generation_time.timestamp() - _BEGIN.timestamp()) // 60)
        kind, minutes, price = random.choice(_KINDS)
        created = _BEGIN + timedelta(days=_STARTS.get(era, 20) + random.random() * 40, seconds=random.randrange(86400))
        ahead = random.randrange(1, 30) if random.random() < 0.93 else random.randrange(160, 320)
        day = (created + timedelta(days=ahead)).replace(hour=0, minute=0, second=0, microsecond=0)
        hour, minute = random.randrange(8, 21), random.choice((0, 15, 30))
        end = hour * 60 + minute + minutes
        return {
            "expertId": expert["_id"],
            "expertUserId": mentor["user_id"],
            "expertEmail": mentor["email"],
            "sessionType": kind,
            "duration": minutes,
            "scheduledDate": day,
            "startTime": f"{hour:02d}:{minute:02d}",
            "endTime": f"{end // 60 % 24:02d}:{end % 60:02d}",
            "status": random.choices(("pending", "confirmed", "completed", "cancelled", "no-show"), (3, 3, 6, 2, 1))[0],
            "price": price,
            "currency": "INR",
            "paymentStatus": random.choices(("pending", "paid", "failed", "refunded"), (4, 10, 1, 1))[0],
            "notes": random.choice(_NOTES),
            "createdAt": created.replace(microsecond=0),
        }

    def _spoiled(self, session: Raw) -> Raw:
        if self._random.random() < self.irregular:
            next(self._turn)[2](session, self._random)
        return session

    def _flat(self, era: str, client: Raw) -> Raw:
        session = self._session(era)
        created = session["createdAt"]
        document = {"_id": self._id(created), "clientId": client["_id"], **session, "__v": 0}
        document["updatedAt"] = created + timedelta(hours=1)
        if era == "A":
            document["currency"] = "USD"
            for name in ("expertUserId", "expertEmail"):
                del document[name]
        else:
            document |= {"clientUserId": client["user_id"], "clientEmail": client["email"]}
        if document["notes"] == "":
            del document["notes"]
        return self._spoiled(document)

    def _nested(self, era: str, client: Raw, sessions: int | None = None) -> Raw:
        own = "F" if era == "H" else era
        count = sessions or self._random.choice((1, 1, 2, 3, 5, 8))
        made = [self._nested_session(own) for _ in range(count)]
        created = min(session.pop("createdAt", _BEGIN) for session in made)
        document: Raw = {"_id": self._id(created), "clientId": client["_id"]}
        document |= {"clientUserId": client["user_id"], "clientEmail": client["email"]}
        if era == "H":  # an era B document that got nested ones
            document |= {k: v for k, v in self._flat("B", client).items() if k not in ("_id", "clientId", "__v")}
        document["sessions"] = made
        document |= {"totalSessions": self._random.randrange(9), "totalSpent": self._random.randrange(900)}
        return document | {"createdAt": created, "updatedAt": created + timedelta(days=2), "__v": len(made)}

    def _nested_session(self, era: str) -> Raw:
        session = self._session(era)
        created = session["createdAt"]
        session = {"_id": self._id(created), "sessionId": self._id(created), **session}
        if era in "DEF":
            expired = session["status"] == "pending" and session["paymentStatus"] == "pending"
            session["timeoutAt"] = created + timedelta(minutes=5)
            session["timeoutStatus"] = "expired" if expired else "active" if era == "D" else "completed"
            if session["paymentStatus"] == "paid" and self._random.random() < 0.5:
                session |= {"finalAmount": session["price"], "paymentCompletedAt": created + timedelta(minutes=2)}
        if era in "EF":
            session["createdTime"] = created
        if era == "F":
            session["rescheduleHistory"] = []
        return self._spoiled(session)
