"""Lists of 50 sessions among 100,000: by client, expert, status and range of dates, by the library and over HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from urllib.parse import urlencode

from bson import ObjectId

from bench import marketplace
from bench.marketplace import Likeness
from bench.server import Served
from bench.timing import seconds
from confiido_booking import Actor, Confiido
from confiido_booking.bookings.reading import SessionFilter
from confiido_booking.database.store import Document

CLIENTS, EXPERTS, PER_CLIENT = 2000, 200, 50
TARGET_MS = 50.0
_AHEAD = timedelta(days=60)
_EVERY = timedelta(hours=35)  # an expert's sessions: two years of them


@dataclass(frozen=True, slots=True)
class Marketplace:
    """Who is in the 100,000 sessions, and until when they go."""

    clients: Sequence[ObjectId]
    experts: Sequence[ObjectId]
    last: datetime


@dataclass(frozen=True, slots=True)
class Listed:
    """Milliseconds of one kind of list: the median and the slowest twentieth's edge."""

    kind: str
    way: str
    p50: float
    p95: float


def _status(starts_at: datetime, now: datetime, number: int) -> str:
    if starts_at > now:
        return "pending" if number % 5 == 0 else "confirmed"
    return ("completed", "completed", "completed", "cancelled", "no-show")[number % 5]


async def build(confiido: Confiido, like: Likeness, *, clients: int = CLIENTS) -> Marketplace:
    """2,000 clients with 50 sessions each at 200 experts, from two years ago to 60 days ahead; no two overlap."""
    now = confiido.clock().replace(second=0, microsecond=0)
    actors = [
        Actor.client(ObjectId(), user_id=str(1000 + number), email=f"c{number}@example.org", name=f"Client {number}")
        for number in range(clients)
    ]
    experts = [like.another_expert(number) for number in range(EXPERTS)]
    last = now + _AHEAD

    def sessions(client: int) -> list[Document]:
        numbers = range(client, clients * PER_CLIENT, clients)
        return [session(number) for number in numbers]

    def session(number: int) -> Document:
        expert = experts[(number + number // clients) % EXPERTS]
        starts_at = last - (number // EXPERTS) * _EVERY
        return like.session(expert["_id"], starts_at, status=_status(starts_at, now, number))

    await marketplace.insert(confiido, "experts", experts)
    await marketplace.insert(confiido, "calendars", [{"_id": expert["_id"], "busy": []} for expert in experts])
    for start in range(0, clients, 100):
        chunk = [(actor, sessions(start + place)) for place, actor in enumerate(actors[start : start + 100])]
        await marketplace.insert(
            confiido, "bookings", (marketplace.booking(actor, own, now) for actor, own in chunk), batch=20
        )
        events = (marketplace.service_session(s, actor.id) for actor, own in chunk for s in own if actor.id)
        await marketplace.insert(confiido, "service_sessions", events, batch=1000)
    return Marketplace([actor.id for actor in actors if actor.id], [expert["_id"] for expert in experts], last)


def _queries(there: Marketplace, count: int) -> Iterator[tuple[str, SessionFilter]]:
    for number in range(count):
        yield "client", SessionFilter(client_id=there.clients[number * 37 % len(there.clients)])
        yield "expert", SessionFilter(expert_id=there.experts[number * 37 % len(there.experts)])
        yield "status", SessionFilter(status=("completed", "confirmed", "cancelled", "pending")[number % 4])
        start = there.last - timedelta(days=number * 23 % 700 + 7)
        yield "dates", SessionFilter(from_=start, to=start + timedelta(days=7))


def _asked(wanted: SessionFilter) -> str:
    given = {
        "clientId": wanted.client_id,
        "expertId": wanted.expert_id,
        "status": wanted.status,
        "from": wanted.from_ and wanted.from_.isoformat(),
        "to": wanted.to and wanted.to.isoformat(),
    }
    return urlencode({"limit": 50, **{name: value for name, value in given.items() if value is not None}})


async def measure(confiido: Confiido, there: Marketplace, served: Served | None, *, count: int) -> list[Listed]:
    """``count`` lists of each kind, asked for by an admin, every one another."""
    admin = Actor.admin(ObjectId())
    caller = served.caller(admin) if served else None
    taken: dict[tuple[str, str], list[float]] = {}
    for kind, wanted in _queries(there, count):
        took, page = await seconds(lambda: confiido.bookings.list(actor=admin, filters=wanted, limit=50))  # noqa: B023
        if len(page.sessions) != min(50, page.total):
            raise RuntimeError(f"A list by {kind} has {len(page.sessions)} sessions")
        taken.setdefault((kind, "library"), []).append(took)
        if caller:
            took, _ = caller.timed("GET", f"/api/bookings?{_asked(wanted)}")
            taken.setdefault((kind, "HTTP"), []).append(took)
    return [
        Listed(kind, way, median(times) * 1000, sorted(times)[-max(1, len(times) // 20)] * 1000)
        for (kind, way), times in taken.items()
    ]
