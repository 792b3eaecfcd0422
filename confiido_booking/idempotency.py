"""Idempotency keys: the first answer to a command, kept for a day (SPEC 8, L9).

One document per caller and key::

    (absent) ──begin──> running ──finish──> done
        ^                  │ └── begin, 60 s later: taken over, the command runs again
        └────── free ──────┘

That a command taken over has one effect is the command's own doing: it stores the key with its effect.
Here only the answer is kept, so losing this document loses no guarantee but the wording of the answer.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from bson import ObjectId
from pymongo import ASCENDING, IndexModel

from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict, Invalid
from confiido_booking.times import Clock, utc_now

KEPT = timedelta(hours=24)
ABANDONED = timedelta(seconds=60)
COLLECTION = "idempotency_keys"
INDEXES = [IndexModel([("removeAt", ASCENDING)], name="kept_for_a_day", expireAfterSeconds=0)]
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it was first given."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Running:
    """The right to run a command under a key; lost when somebody takes it over."""

    id: str
    claim: ObjectId


@dataclass(frozen=True, slots=True)
class IdempotencyKeys:
    store: Store
    clock: Clock

    async def begin(self, id: str, fingerprint: str) -> Running | KeptAnswer:
        """Start a command under a key, or get the answer it had.

        ``id`` stands for caller and key, ``fingerprint`` for the command; both from :func:`digest`.

        Raises:
            Invalid: ``idempotency_key_reused``: the key belongs to another command.
            Conflict: ``idempotency_key_running``: the first one has not been answered yet.
        """
        running = Running(id, ObjectId())
        for _ in range(_ATTEMPTS):
            try:
                await self.store.insert("insert key", COLLECTION, {"_id": id, **self._fresh(running, fingerprint)})
            except Duplicate:
                pass
            else:
                return running
            found = await self.store.find_one("read key", COLLECTION, {"_id": id})
            if found is None:
                continue
            if found["claim"] == running.claim:  # our own insert, sent twice
                return running
            age = self.clock() - found["createdAt"]
            if age < KEPT:
                if found["fingerprint"] != fingerprint:
                    raise Invalid("This Idempotency-Key was used for another request", code="idempotency_key_reused")
                if found["state"] == "done":
                    return KeptAnswer(found["status"], zlib.decompress(found["body"]), found["headers"])
                if age < ABANDONED:
                    break
            if await self._take_over(found, running, fingerprint):
                return running
        raise Conflict("A request with this Idempotency-Key is still running", code="idempotency_key_running")

    async def finish(self, running: Running, answer: KeptAnswer) -> None:
        """Keep the answer, unless the command was taken over meanwhile."""
        fields = {
            "state": "done",
            "status": answer.status,
            "body": zlib.compress(answer.body, 1),
            "headers": dict(answer.headers),
        }
        await self.store.update("finish key", COLLECTION, {"_id": running.id, "claim": running.claim}, {"$set": fields})

    async def free(self, running: Running) -> None:
        """Forget the key: the command has no final answer, so the caller may send it again."""
        await self.store.delete("free key", COLLECTION, {"_id": running.id, "claim": running.claim})

    async def _take_over(self, found: Document, running: Running, fingerprint: str) -> bool:
        guard = {"_id": running.id, "claim": found["claim"], "state": found["state"]}
        fresh = {"$set": self._fresh(running, fingerprint), "$unset": {"status": "", "body": "", "headers": ""}}
        if await self.store.update("take over key", COLLECTION, guard, fresh):
            return True
        mine = {"_id": running.id, "claim": running.claim}
        return await self.store.find_one("read key", COLLECTION, mine, {"_id": 1}) is not None

    def _fresh(self, running: Running, fingerprint: str) -> Document:
        return {
            "fingerprint": fingerprint,
            "state": "running",
            "claim": running.claim,
            "createdAt": self.clock(),
            "removeAt": utc_now() + KEPT,  # the server removes by its own clock, whatever ours says
        }


def digest(*parts: str | bytes) -> str:
    """A hash of the parts, each told apart from the next."""
    sha = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        sha.update(len(encoded).to_bytes(8) + encoded)
    return sha.hexdigest()
