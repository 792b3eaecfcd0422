"""``confiido migrate rollback``: undo a run. What was booked since, and what was changed since, stays.

A client whose sessions all came with the run loses the document; another one loses the run's sessions only. What
stands on a session goes first and the document last, so that a killed rollback is finished by the next.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson import Decimal128, ObjectId

from confiido_booking.bookings import guards, totals
from confiido_booking.bookings.book import claim_of
from confiido_booking.bookings.statuses import ACTIVE
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document, Store
from confiido_booking.errors import Conflict
from confiido_booking.migration import inplace
from confiido_booking.migration.intake import Progress, no_progress
from confiido_booking.migration.options import derived_claim_id
from confiido_booking.migration.runs import Run, Runs, RunState
from confiido_booking.migration.shared import release_events

_BATCH = 100
_COMPANIONS = (
    "users",
    "orders",
    "experts",
    "reviews",
    "invoices",
    "communications",
    "migration_quarantine",
    "legacy_ids",
)


@dataclass(slots=True)
class RolledBack:
    """``kept``: sessions of the run that were changed since, and so stay."""

    run: Run
    counts: Counter[str] = field(default_factory=Counter)
    kept: list[ObjectId] = field(default_factory=list)


async def rollback(
    store: Store, run: Run, *, now: datetime, refuse: bool = False, progress: Progress = no_progress
) -> RolledBack:
    """Undo the run. ``refuse``: undo nothing where anything was booked or changed since.

    Raises:
        Conflict: ``changed_since``, with ``refuse``; ``already_rolled_back``.
    """
    if run.state is RunState.ROLLED_BACK:
        raise Conflict(f"The run {run.id} is rolled back already", code="already_rolled_back")
    if refuse and (changed := await _changed_since(store, run)):
        raise Conflict(
            f"{changed} sessions were booked or changed since, by clients of the run {run.id}", code="changed_since"
        )
    run.state = RunState.ROLLING_BACK
    await Runs(store).save(run)
    result = RolledBack(run)
    await _restore_replaced(store, run, result)
    last: ObjectId | None = None
    while True:
        query: Document = _of_run(run) | ({"_id": {"$gt": last}} if last else {})
        batch = await store.find("read run's bookings", "bookings", query, sort=[("_id", 1)], limit=_BATCH)
        if not batch:
            break
        await _undo(store, batch, run, now, result)
        last = batch[-1]["_id"]
        progress("undone", result.counts["sessions"])
    await _archived_only(store, run, result)
    for name in _COMPANIONS:
        field_name = "runId" if name in ("migration_quarantine", "legacy_ids") else "legacy.runId"
        result.counts[name] = await _delete(store, name, {field_name: run.id})
    await _empty_calendars(store)
    if run.in_place:
        await _experts_back(store)
        await _unreach(store, run)
        result.counts["originals"] = await inplace.put_back(store)
    run.state, run.finished_at = RunState.ROLLED_BACK, now
    await Runs(store).save(run)
    return result


def _is_untouched(session: Document, run: Run) -> bool:
    """Nobody changed it since it came."""
    mine = (session.get("legacy") or {}).get("runId") == run.id
    return mine and [entry.get("action") for entry in session.get("history", [])] == ["import"]


async def _changed_since(store: Store, run: Run) -> int:
    changed, last = 0, None
    while True:
        query: Document = _of_run(run) | ({"_id": {"$gt": last}} if last else {})
        columns = {"sessions.legacy.runId": 1, "sessions.history.action": 1}
        batch = await store.find("read run's bookings", "bookings", query, columns, sort=[("_id", 1)], limit=_BATCH)
        if not batch:
            return changed
        changed += sum(
            not _is_untouched(session, run) and not _is_import(session) for b in batch for session in b["sessions"]
        )
        last = batch[-1]["_id"]


def _is_import(session: Document) -> bool:
    return [entry.get("action") for entry in session.get("history", [])] == ["import"]


def _of_run(run: Run) -> Document:
    return {"$or": [{"legacy.runId": run.id}, {"sessions.legacy.runId": run.id}]}


async def _undo(store: Store, bookings: Sequence[Document], run: Run, now: datetime, result: RolledBack) -> None:
    with_history = [booking["clientId"] for booking in bookings if booking["archived"]["sessions"]]
    archived: dict[ObjectId, list[Document]] = {}
    for client_id in with_history:
        kept = await store.find("read archive", "booking_archive", {"clientId": client_id})
        archived[client_id] = [entry["session"] for entry in kept if _is_untouched(entry["session"], run)]
    live = {b["clientId"]: [session for session in b["sessions"] if _is_untouched(session, run)] for b in bookings}
    gone = [session for part in (*live.values(), *archived.values()) for session in part]
    await _leave(store, gone, run.options.as_of)
    for booking in bookings:
        own, history = live[booking["clientId"]], archived.get(booking["clientId"], [])
        result.kept += [
            session["sessionId"]
            for session in booking["sessions"]
            if (session.get("legacy") or {}).get("runId") == run.id and not _is_untouched(session, run)
        ]
        whole = len(own) == len(booking["sessions"]) and len(history) == booking["archived"]["sessions"]
        ids = [session["sessionId"] for session in own]
        # the guard: nothing but the run's sessions, so that what was booked meanwhile is not lost
        only_ours = {"_id": booking["_id"], "sessions": {"$not": {"$elemMatch": {"sessionId": {"$nin": ids}}}}}
        if whole and await store.delete("delete booking", "bookings", only_ours):
            result.counts["bookings"] += 1
        elif own or history:
            await _pull(store, booking, ids, history, now)
    await _delete(
        store, "booking_archive", {"_id": {"$in": [s["sessionId"] for part in archived.values() for s in part]}}
    )
    result.counts["sessions"] += len(gone)


async def _leave(store: Store, sessions: Sequence[Document], as_of: datetime) -> None:
    """Service sessions, seats in shared ones, and the minutes of sessions to come."""
    own = [session["serviceSessionId"] for session in sessions]
    ids = [session["sessionId"] for session in sessions]
    await _delete(store, "service_sessions", {"_id": {"$in": own}, "visibility": "private"})
    await _delete(store, "service_sessions", {"_id": {"$in": ids}, "visibility": "seat"})
    if any("eventId" in session["legacy"] for session in sessions):
        stay = {"$filter": {"input": "$seats", "as": "s", "cond": {"$eq": [{"$in": ["$$s.sessionId", ids]}, False]}}}
        stages: list[Document] = [{"$set": {"seats": stay}}, {"$set": {"currentParticipants": {"$size": "$seats"}}}]
        await store.run(
            "leave seats",
            lambda: store.collection("service_sessions").update_many({"_id": {"$in": own}}, stages),
        )
        gone = {"_id": {"$in": own}, "visibility": {"$ne": "private"}, "seats": [], "history": []}
        empty = await store.find("read events", "service_sessions", gone, {"_id": 1})
        await release_events(store, [event["_id"] for event in empty])
        await _delete(store, "service_sessions", gone)
    held: dict[ObjectId, list[ObjectId]] = {}
    for session in sessions:
        if session["status"] in ACTIVE and session.get("endsAt", as_of) > as_of and "expertId" in session:
            held.setdefault(session["expertId"], []).append(session["claimId"])
    await claims.release_each(store, held)


async def _pull(
    store: Store, booking: Document, ids: Sequence[ObjectId], history: Sequence[Document], now: datetime
) -> None:
    """Only the run's sessions go; the sums of its archived ones with them, in the same update."""
    stays = {"$eq": [{"$in": ["$$s.sessionId", {"$literal": list(ids)}]}, False]}
    sums = totals.of(map(totals.line, history))
    changed: Document = {
        "sessions": {"$filter": {"input": "$sessions", "as": "s", "cond": stays}},
        **guards.stamped(now),
    }
    guard: Document = {"_id": booking["_id"]}
    if history:
        left = _less(booking["archived"]["sums"], sums)
        changed["archived"] = {"$literal": {"sessions": booking["archived"]["sessions"] - len(history), "sums": left}}
        guard["archived.sessions"] = booking["archived"]["sessions"]
    await store.update("pull imported", "bookings", guard, [{"$set": changed}, *totals.stages()])


def _less(sums: Document, minus: Any) -> Document:
    left: Document = {}
    for currency, parts in sums.items():
        own = {name: value.to_decimal() - minus.get(currency, {}).get(name, 0) for name, value in parts.items()}
        if any(own.values()):
            left[currency] = {name: Decimal128(value) for name, value in own.items()}
    return left


async def _restore_replaced(store: Store, run: Run, result: RolledBack) -> None:
    """What a catch-up took over goes back to what was there before it, unless it was changed since."""
    while batch := await store.find("read replaced", "migration_replaced", {"runId": run.id}, limit=_BATCH):
        for entry in batch:
            old = entry["session"]
            this = {"$eq": ["$$s.sessionId", {"$literal": old["sessionId"]}]}
            restored = {"$map": {"input": "$sessions", "as": "s", "in": {"$cond": [this, {"$literal": old}, "$$s"]}}}
            guard = {
                "clientId": entry["clientId"],
                "sessions": {
                    "$elemMatch": {
                        "sessionId": old["sessionId"],
                        "legacy.runId": run.id,
                        "history.1": {"$exists": False},
                    }
                },
            }
            if await store.update("restore", "bookings", guard, [{"$set": {"sessions": restored}}, *totals.stages()]):
                await store.update(
                    "restore service session",
                    "service_sessions",
                    {"_id": old["serviceSessionId"]},
                    {"$set": {**claims.service_session(old, entry["clientId"]), "rev": old["version"]}},
                )
                await _restore_claim(store, old, entry["clientId"])
                result.counts["restored"] += 1
            await store.delete("forget replaced", "migration_replaced", {"_id": entry["_id"]})


async def _restore_claim(store: Store, old: Document, client_id: ObjectId) -> None:
    if "expertId" not in old:
        return
    await claims.release(store, old["expertId"], derived_claim_id(old["sessionId"], old["version"] + 1))
    if old["status"] in ACTIVE and "endsAt" in old and not old.get("conflict"):
        wanted = claim_of(old, old["expertId"], client_id, old["createdTime"], claim_id=old["claimId"])
        await claims.claim(store, wanted)


async def _archived_only(store: Store, run: Run, result: RolledBack) -> None:
    """What a killed ``apply`` left in the archive or the service sessions before its document came to be."""
    while batch := await store.find(
        "read run's archive", "booking_archive", {"session.legacy.runId": run.id}, limit=_BATCH
    ):
        orphans = []
        for entry in batch:
            booking = await store.find_one("read booking", "bookings", {"clientId": entry["clientId"]}, {"_id": 1})
            if booking is None:
                orphans.append(entry)
        if not orphans:
            return
        await _leave(store, [entry["session"] for entry in orphans], run.options.as_of)
        await _delete(store, "booking_archive", {"_id": {"$in": [entry["_id"] for entry in orphans]}})
        result.counts["sessions"] += len(orphans)


async def _empty_calendars(store: Store) -> None:
    """Calendars of experts that are gone."""
    while True:
        empty = await store.find("read calendars", "calendars", {"busy": []}, {"_id": 1}, limit=5000)
        ids = [calendar["_id"] for calendar in empty]
        there = {e["_id"] for e in await store.find("read experts", "experts", {"_id": {"$in": ids}}, {"_id": 1})}
        gone = [identifier for identifier in ids if identifier not in there]
        if not gone:
            return
        await _delete(store, "calendars", {"_id": {"$in": gone}, "busy": []})


async def _experts_back(store: Store) -> None:
    while batch := await store.find("read backup", "experts_flat_backup", {}, limit=_BATCH):
        for original in batch:
            await store.run(
                "restore expert",
                lambda original=original: store.collection("experts").replace_one(  # type: ignore[misc]
                    {"_id": original["_id"]}, original, upsert=True
                ),
            )
        await _delete(store, "experts_flat_backup", {"_id": {"$in": [original["_id"] for original in batch]}})


async def _unreach(store: Store, run: Run) -> None:
    added = {"$unset": {"emailKey": "", "emailKeyRun": ""}}
    await store.update_many("unreach users", "users", {"emailKeyRun": run.id}, added)


async def _delete(store: Store, collection: str, query: Document) -> int:
    result = await store.run(f"delete {collection}", lambda: store.collection(collection).delete_many(query))
    return result.deleted_count
