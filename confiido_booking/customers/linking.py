"""LINK: one client's id leads to another's, for ever, and never in a circle, however many are linked at once.

1 the heir's user gets a pending link with a token of its own   2 whoever was provisional is so no longer, so that
nobody takes them over   3 all links from the heir on are walked, the pending ones of others too: the last of several
that would close a circle sees it, and withdraws   4 the pending link becomes one, guard: its token is still there.
A pending link older than a minute is pulled by whom it hinders; what sleeps at 4 then finds its token gone.
"""

from datetime import datetime, timedelta

from bson import ObjectId

from confiido_booking.database.store import Duplicate, Store
from confiido_booking.errors import Conflict

PATIENCE = timedelta(minutes=1)
_CHANGING = "The clients are changing; please try again"


async def link(store: Store, from_: ObjectId, into: ObjectId, now: datetime) -> None:
    """Raises Conflict ``try_again`` where a rival links the same clients otherwise."""
    token = ObjectId()
    pending = {"$push": {"linking": {"from": from_, "token": token, "at": now}}, "$set": {"updatedAt": now}}
    known = {"$setOnInsert": {"provisional": False, "createdAt": now}}
    try:
        await store.update("link", "users", {"_id": into}, pending | known, upsert=True)
    except Duplicate:
        await store.update("link", "users", {"_id": into}, pending)
    of_provisional = {"_id": from_, "provisional": True}
    settled = await store.update("settle user", "users", of_provisional, {"$set": {"provisional": False}})
    withdrawn = {"$pull": {"linking": {"token": token}}}
    linked = False
    try:
        if not await _leads_back(store, into, from_, now):
            done = withdrawn | {"$addToSet": {"subjects": from_}}
            linked = await store.update("linked", "users", {"_id": into, "linking.token": token}, done)
    except Duplicate:  # it leads elsewhere already
        linked = False
    if not linked:
        await store.update("unlink", "users", {"_id": into}, withdrawn)
        if settled:
            await store.update("unsettle user", "users", {"_id": from_}, {"$set": {"provisional": True}})
        raise Conflict(_CHANGING, code="try_again")


async def _leads_back(store: Store, into: ObjectId, from_: ObjectId, now: datetime) -> bool:
    """Whether ``into`` leads to ``from_``, by links or by those that are being made."""
    seen, ahead = {into}, [into]
    while ahead:
        named = {"$or": [{"subjects": {"$in": ahead}}, {"linking.from": {"$in": ahead}}]}
        found = await store.find("walk links", "users", named, {"subjects": 1, "linking": 1})
        for user in found:
            stale = [entry["token"] for entry in user.get("linking", []) if entry["at"] < now - PATIENCE]
            if stale:
                pull = {"$pull": {"linking": {"token": {"$in": stale}}}}
                await store.update("pull stale link", "users", {"_id": user["_id"]}, pull)
        # what was pulled may have become a link just before: it is looked at again
        if any(entry["at"] < now - PATIENCE for user in found for entry in user.get("linking", [])):
            found = await store.find("walk links", "users", named, {"subjects": 1, "linking": 1})
        reached = {user["_id"] for user in found}
        if from_ in reached:
            return True
        ahead = sorted(reached - seen)
        seen |= reached
    return False
