"""Customers: the person behind a clientId (MONEY, "Who the client is")."""

from dataclasses import dataclass

from bson import ObjectId

from confiido_booking.bookings.rules import text
from confiido_booking.bookings.views import ClientRef
from confiido_booking.customers import rules
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict, Invalid
from confiido_booking.times import Clock

_LONGEST_CHAIN = 20  # of merges into one another


@dataclass(slots=True)
class Customers:
    """``confiido.customers``."""

    store: Store
    clock: Clock

    async def client_of(
        self,
        *,
        client_id: ObjectId | None = None,
        email: str | None = None,
        name: str | None = None,
        phone: str | None = None,
        user_id: str | None = None,
    ) -> ClientRef:
        """For whom staff acts: the named client, or the one of that e-mail address, who is made where there is none.

        A ``client_id`` is taken as it is, never matched by e-mail. Racing calls for one new address make one client.

        Raises:
            Invalid: ``client_required``, ``invalid_email``, or a text that cannot be stored.
            Conflict: ``several_clients`` have that address.
        """
        shown = rules.address(email) if email is not None else None
        if name is not None:
            text(name, "clientName", limit=200)
        if phone is not None:
            text(phone, "clientPhone", limit=40)
        if client_id is not None:
            heir = await self.heir(client_id)
            return ClientRef(client_id=heir, client_user_id=user_id, client_email=shown, client_name=name)
        if shown is None:
            raise Invalid("clientId or clientEmail is needed", code="client_required")
        user = await self._found_or_made(shown, name, phone, user_id)
        return ClientRef(
            client_id=await self.heir(user["_id"]),
            client_user_id=user.get("userId"),
            client_email=user.get("email") or shown,
            client_name=user.get("name"),
        )

    async def heir(self, client_id: ObjectId) -> ObjectId:
        """The client this id leads to: itself, unless its person has another (a takeover, a merge)."""
        seen = [client_id]
        while len(seen) <= _LONGEST_CHAIN:
            user = await self.store.find_one("read alias", "users", {"subjects": seen[-1]}, {"_id": 1})
            if user is None or user["_id"] in seen:
                return seen[-1]
            seen.append(user["_id"])
        raise Conflict("This client was merged too many times", code="merged_too_often")

    async def _found_or_made(self, email: str, name: str | None, phone: str | None, user_id: str | None) -> Document:
        key = rules.email_key(email)
        now = self.clock()
        given = {"name": name, "phone": phone, "userId": user_id}
        known: Document = {"email": email, "emailKey": key} | {field: value for field, value in given.items() if value}
        chosen = rules.choose(await self.store.find("find user", "users", {"emailKey": key}))
        if chosen is None:
            made = {
                "_id": rules.provisional_id(key),
                **known,
                "provisional": True,
                "createdAt": now,
                "updatedAt": now,
            }
            try:
                await self.store.insert("insert user", "users", made)
            except Duplicate:  # a rival made it
                chosen = await self.store.find_one("find user", "users", {"_id": made["_id"]})
            else:
                return made
        assert chosen is not None
        missing: Document = {field: value for field, value in known.items() if field not in chosen}
        if missing:
            await self.store.update(
                "complete user", "users", {"_id": chosen["_id"]}, {"$set": {**missing, "updatedAt": now}}
            )
        return {**chosen, **missing}
