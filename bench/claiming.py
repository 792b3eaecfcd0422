"""What the guard of an expert's minutes costs as the calendar fills (DESIGN 3)."""

from datetime import timedelta
from statistics import median

from bson import ObjectId

from bench.timing import seconds
from confiido_booking import Confiido
from confiido_booking.calendar import claims
from confiido_booking.calendar.claims import Claim
from confiido_booking.database.store import Document

SIZES = (0, 100, 600)


async def measure(confiido: Confiido, *, repeats: int) -> dict[int, float]:
    """Milliseconds of a claim that succeeds, by how many busy entries the calendar has; taken in turn."""
    now = confiido.clock().replace(microsecond=0)
    calendars = {size: ObjectId() for size in SIZES}

    def taken(expert_id: ObjectId, hour: int) -> Claim:
        return Claim(
            id=ObjectId(),
            expert_id=expert_id,
            from_=now + timedelta(hours=hour),
            until=now + timedelta(hours=hour, minutes=30),
            client_id=ObjectId(),
            session_id=ObjectId(),
            service_session_id=ObjectId(),
            claimed_at=now,
            request_key=str(ObjectId()),
        )

    def calendar(expert_id: ObjectId, size: int) -> Document:
        return {"_id": expert_id, "busy": [taken(expert_id, 1 + hour).entry() for hour in range(size)]}

    collection = confiido.store.collection("calendars")
    await collection.insert_many([calendar(expert_id, size) for size, expert_id in calendars.items()])
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(repeats):
        for size, expert_id in calendars.items():
            wanted = taken(expert_id, 5000)
            took, claimed = await seconds(lambda: claims.claim(confiido.store, wanted))  # noqa: B023
            if not claimed:
                raise RuntimeError("A claim on free minutes was refused")
            times[size].append(took)
            await claims.release(confiido.store, expert_id, wanted.id)
    return {size: median(each) * 1000 for size, each in times.items()}
