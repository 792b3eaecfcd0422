"""Book and confirm for a client with 10,000 sessions of history, against one who has only the 50 of the document."""

from dataclasses import dataclass, field
from datetime import timedelta

from bench import marketplace
from bench.commands import SESSIONS, Scene, scenes
from bench.marketplace import DURATION, Likeness
from bench.timing import Times, in_turn, seconds
from confiido_booking import Confiido
from confiido_booking.bookings.archive import Archive
from confiido_booking.database.store import Document

HISTORY = 10_000
TARGET = 1.5
_BATCH = 400


@dataclass(slots=True)
class _Regular:
    """A client who books, has it confirmed, and whose document is then set back to what it was."""

    confiido: Confiido
    scene: Scene
    before: Document = field(default_factory=dict)

    async def __call__(self, number: int) -> dict[str, float]:
        scene, bookings = self.scene, self.confiido.bookings
        collection = self.confiido.store.collection("bookings")
        if not self.before:
            self.before = await collection.find_one({"_id": scene.booking_id}) or {}
        booking, change = await seconds(
            lambda: bookings.book(
                actor=scene.client,
                expert=scene.expert_id,
                session_type="video",
                duration=DURATION,
                starts_at=scene.starts_at,
            )
        )
        confirming, _ = await seconds(lambda: bookings.confirm(scene.booking_id, change.session_id, actor=scene.owner))
        await bookings.cancel(scene.booking_id, change.session_id, actor=scene.client)
        await collection.replace_one({"_id": scene.booking_id}, self.before)
        return {"book": booking, "confirm": confirming}


async def measure(
    confiido: Confiido, like: Likeness, *, rounds: int, repeats: int, sessions: int = HISTORY
) -> tuple[dict[str, Times], dict[str, Times]]:
    """Times of book and confirm without history and with it; both documents hold 50 sessions."""
    [plain, old] = await scenes(confiido, like, 2, sessions=SESSIONS)
    await _live_through(confiido, like, old, sessions)
    ways = {"plain": _Regular(confiido, plain), "old": _Regular(confiido, old)}
    times = await in_turn(ways, rounds=rounds, repeats=repeats)
    return times["plain"], times["old"]


async def _live_through(confiido: Confiido, like: Likeness, scene: Scene, sessions: int) -> None:
    """Give the scene's client so many finished sessions, and let the archive take them."""
    client_id, now = scene.client.id, confiido.clock()
    assert client_id is not None
    bookings, archive = confiido.store.collection("bookings"), Archive(confiido.store)
    last = now.replace(second=0, microsecond=0) - timedelta(days=100)
    for start in range(0, sessions, _BATCH):
        numbers = range(start, min(start + _BATCH, sessions))
        old = [like.session(scene.expert_id, last - timedelta(hours=number)) for number in numbers]
        await bookings.update_one({"clientId": client_id}, {"$push": {"sessions": {"$each": old}}})
        events = [marketplace.service_session(session, client_id) for session in old]
        await marketplace.insert(confiido, "service_sessions", events)
        moved = await archive.client(client_id, now=now, older_than=timedelta(days=99))
        if moved != len(old):
            raise RuntimeError(f"The archive took {moved} of {len(old)} sessions")
