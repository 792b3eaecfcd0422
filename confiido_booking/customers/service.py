"""Customers: the person behind a clientId (MONEY, "Who the client is")."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.bookings import finding, guards, merging
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.rules import text
from confiido_booking.bookings.views import ClientRef
from confiido_booking.customers import rules
from confiido_booking.customers.linking import link
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict, FieldError, Invalid, NotAllowed, NotFound

_LONGEST_CHAIN = 20  # of merges into one another
_IDENTITY_FOR = timedelta(seconds=30)


@dataclass(slots=True)
class Customers:
    """``confiido.customers``."""

    context: Context
    _identities: dict[tuple[ObjectId, str | None], tuple[ObjectId, datetime]] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.context.store

    async def identify(self, actor: Actor) -> Actor:
        """The client as whom this caller acts: where their id leads, else themselves. Remembered for 30 s.

        A caller whose e-mail address is verified takes over the provisional user of that address, if they own no
        booking yet; without ``email_verified`` nothing is ever linked, for an address alone proves nothing.
        """
        if actor.role is not Role.CLIENT or actor.id is None or actor.subject is not None:
            return actor
        now, key = self.context.clock(), (actor.id, actor.email if actor.email_verified else None)
        known = self._identities.get(key)
        if known is None or not timedelta(0) <= now - known[1] < _IDENTITY_FOR:
            if len(self._identities) > 10_000:
                self._identities.clear()
            known = self._identities[key] = (await self._person(actor, now), now)
        return actor.as_client(known[0])

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

    async def _of_address(self, key: str) -> list[Document]:
        """The users of an address; of those who lead to one client, one."""
        users = await self.store.find("find user", "users", {"emailKey": key}, sort=[("_id", 1)])
        if len(users) < 2:
            return users
        heirs = [await self.heir(user["_id"]) for user in users]
        return [user for place, user in enumerate(users) if heirs.index(heirs[place]) == place]

    async def merge(self, client_id: ObjectId, *, from_: ObjectId, actor: Actor) -> Document:
        """Everything of ``from_`` becomes ``client_id``'s: sessions, history, invoices, payments, reviews, and whoever
        signs in as ``from_``. Returns the client's document. Repeatable; stopped anywhere, a repeat or the doctor ends
        it. Sessions that then overlap stay, flagged ``conflict``.

        Raises:
            NotAllowed: the actor is no administrator; Invalid: ``same_client``.
            NotFound: ``client_not_found``: nothing is known of ``from_``.
            Conflict: ``merged_elsewhere``; ``booking_full``, where one document cannot hold all of it; ``try_again``,
                where a rival merges the same clients otherwise.
        """
        if actor.role is not Role.ADMIN:
            raise NotAllowed("Only an administrator can merge clients")
        if client_id == from_:
            wrong = FieldError("from", "must be another client")
            raise Invalid("A client cannot be merged with itself", code="same_client", errors=[wrong])
        now, into = self.context.clock(), await self.heir(client_id)
        if self.context.old.known:
            await self.context.old.convert(from_)
        if await self.heir(from_) != into:
            await self._check_merge(from_, into, now)
            await link(self.store, from_, into, now)
        self._identities.clear()
        if from_ != into:
            await merging.merge(self.store, from_, into, actor, now)
        return await finding.of_client(self.context, into, actor)

    async def _check_merge(self, from_: ObjectId, into: ObjectId, now: datetime) -> None:
        store = self.store
        elsewhere = await self.heir(from_)
        if elsewhere != from_:
            details = {"into": str(elsewhere)}
            raise Conflict("This client was merged with another already", code="merged_elsewhere", details=details)
        old = await store.find_one("read booking", "bookings", guards.of_client(from_))
        if old is None and await store.find_one("find user", "users", {"_id": from_}, {"_id": 1}) is None:
            raise NotFound("Client not found", code="client_not_found")
        coming = guards.weight(*old["sessions"]) + len(old["sessions"]) * guards.CLOSING_BYTES if old else 0
        there = await store.find_one("read booking", "bookings", guards.of_client(into))
        if there is None or guards.has_room(there, coming):
            return
        await Archive(store).make_room(into, coming, now=now, keep=into)
        there = await store.find_one("read booking", "bookings", guards.of_client(into))
        if there is not None and not guards.has_room(there, coming):
            raise Conflict("There is not enough room in this client's booking", code="booking_full")

    async def _person(self, actor: Actor, now: datetime) -> ObjectId:
        assert actor.id is not None
        heir = await self.heir(actor.id)
        if heir != actor.id or not actor.email_verified or actor.email is None:
            return heir
        try:
            email = rules.address(actor.email)
        except Invalid:
            return heir
        return await self._signed_in(actor.id, email, actor, now)

    async def _signed_in(self, subject: ObjectId, email: str, actor: Actor, now: datetime) -> ObjectId:
        """Whom a caller with a verified address is: the provisional user of it, taken over, or themselves, met under
        this address from now on."""
        key = rules.email_key(email)
        users = await self.store.find("find user", "users", {"emailKey": key})
        if not users and await self._is_known_by_address(key):
            users = [await self._found_or_made(email, None, None, None)]
        provisional = next((user for user in users if user.get("provisional") and user["_id"] != subject), None)
        if provisional is not None and not await self._owns_bookings(subject):
            heir = await self._take_over(provisional["_id"], subject, actor, now)
            if heir is not None:
                return heir
        if any(user["_id"] == subject for user in users):
            return subject
        heir = await self.heir(subject)
        if heir != subject:
            return heir  # the same caller took over at this moment
        known = {"email": email, "emailKey": key} | ({"name": actor.name} if actor.name else {})
        sign = {"$set": {**known, "provisional": False, "updatedAt": now}, "$setOnInsert": {"createdAt": now}}
        with suppress(Duplicate):  # a rival signed the same caller in
            await self.store.update("sign user", "users", {"_id": subject}, sign, upsert=True)
        return await self.heir(subject)

    async def _take_over(self, user_id: ObjectId, subject: ObjectId, actor: Actor, now: datetime) -> ObjectId | None:
        """None = somebody else did. What the caller books meanwhile as themselves goes with them."""
        taken = {"$addToSet": {"subjects": subject}, "$set": {"provisional": False, "updatedAt": now}}
        try:
            if not await self.store.update("take over", "users", {"_id": user_id, "provisional": True}, taken):
                return None
        except Duplicate:
            return await self.heir(subject)
        return await merging.merge(self.store, subject, user_id, actor, now)

    async def _is_known_by_address(self, key: str) -> bool:
        """Whether an old system knew a client by this address alone, and left no user."""
        client_id = rules.provisional_id(key)
        return await self._owns_bookings(client_id) and await self.heir(client_id) == client_id

    async def _owns_bookings(self, client_id: ObjectId) -> bool:
        columns = {"totalSessions": 1, "mergedInto": 1}
        there = await self.store.find_one("read booking", "bookings", guards.of_client(client_id), columns)
        return there is not None and bool(there["totalSessions"] or "mergedInto" in there)

    async def _found_or_made(self, email: str, name: str | None, phone: str | None, user_id: str | None) -> Document:
        key = rules.email_key(email)
        now = self.context.clock()
        given = {"name": name, "phone": phone, "userId": user_id}
        known: Document = {"email": email, "emailKey": key} | {field: value for field, value in given.items() if value}
        chosen = rules.choose(await self._of_address(key))
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
