"""The one way to the database: every command of every service passes through :meth:`Store.run`.

That gives one place for what holds for all of them: the retry of transient errors (bounded, with jitter), the
deadline, the translation of the driver's exceptions, the count of commands, and the hook by which tests stop,
count or interleave processes between any two commands (PROTOCOL.md, "to be tested").

A command is *repeatable* when a second run after an unknown outcome cannot do more than the first did: reads,
and writes whose filter excludes their own effect. Others are repeated only after errors that mean "not done".
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import AsyncMongoClient, IndexModel, ReturnDocument, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_random_exponential

from confiido_booking.errors import Unavailable

Document = dict[str, Any]
Filter = Mapping[str, Any]
Update = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Hook = Callable[[str], Awaitable[None]]

_WRITE_CONFLICT, _DEADLOCK = 112, 16908292
_NAMESPACE_NOT_FOUND = 26  # FerretDB, of a collection that is being made while others are made or dropped
_DUPLICATE = frozenset({11000, 11001})
_INDEX_CONFLICT = (85, 86)
# FerretDB answers 1 (internal error) while its PostgreSQL is away; the others are a server that steps down or stops.
_SERVER_IN_TROUBLE = frozenset({1, 6, 7, 89, 91, 189, 10107, 11600, 11602, 13435, 13436})
# FerretDB tells by code 1 of a deadlock of PostgreSQL, and of a collection that another command makes at this moment;
# mongoeco has no code for a locked file.
_NOT_DONE = ("deadlock detected", "Unable to create the specified collection", "database is locked")
RETRY_SECONDS = 8.0
WALK_BATCH = 200


class Duplicate(Exception):
    """A unique key already exists. Never leaves the library."""


@dataclass(slots=True)
class Store:
    """A database and its collections. Services hold one; nothing else touches the driver."""

    client: AsyncMongoClient[Document]
    name: str
    hook: Hook | None = None
    commands: int = field(default=0)

    @property
    def database(self) -> AsyncDatabase[Document]:
        return self.client[self.name]

    def collection(self, name: str) -> AsyncCollection[Document]:
        return self.client[self.name][name]

    async def run[T](self, step: str, command: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
        """Run one database command.

        Raises:
            Duplicate: a unique key exists.
            Unavailable: the store did not answer, or kept failing, within the deadline.
        """
        if self.hook is not None:
            await self.hook(step)
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _is_transient(error, repeatable)),
            wait=wait_random_exponential(multiplier=0.01, max=0.5),
            stop=stop_after_delay(RETRY_SECONDS),
            retry_error_callback=_last_error,
        )
        try:
            return await retrying(self._counted, command)
        except DuplicateKeyError as error:
            raise Duplicate(str(error)) from error
        except OperationFailure as error:
            if _codes(error) & _DUPLICATE or "exclusion constraint" in str(error):
                raise Duplicate(str(error)) from error
            if _is_transient(error, True) or error.code in _SERVER_IN_TROUBLE:
                raise Unavailable() from error
            raise
        except ConnectionFailure as error:
            raise Unavailable() from error

    async def _counted[T](self, command: Callable[[], Awaitable[T]]) -> T:
        self.commands += 1
        return await command()

    async def find_one(
        self, step: str, collection: str, query: Filter, projection: Filter | None = None
    ) -> Document | None:
        return await self.run(step, lambda: self.collection(collection).find_one(query, projection))

    async def find(
        self,
        step: str,
        collection: str,
        query: Filter,
        projection: Filter | None = None,
        *,
        sort: Sequence[tuple[str, int]] = (),
        skip: int = 0,
        limit: int = 0,
    ) -> list[Document]:
        def command() -> Awaitable[list[Document]]:
            cursor = self.collection(collection).find(query, projection, skip=skip, limit=limit)
            return (cursor.sort(list(sort)) if sort else cursor).to_list()

        return await self.run(step, command)

    async def walk(self, collection: str, query: Filter, projection: Filter | None = None) -> AsyncIterator[Document]:
        """Every document that matches, in batches by ``_id``, so that nothing large is held."""
        last: Any = None
        while True:
            after = {"$and": [query, {"_id": {"$gt": last}}]} if last is not None else query
            batch = await self.find("walk", collection, after, projection, sort=[("_id", 1)], limit=WALK_BATCH)
            for document in batch:
                yield document
            if len(batch) < WALK_BATCH:
                return
            last = batch[-1]["_id"]

    async def aggregate(self, step: str, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        async def command() -> list[Document]:
            cursor = await self.collection(collection).aggregate(pipeline)
            return await cursor.to_list()

        return await self.run(step, command)

    async def count(self, step: str, collection: str, query: Filter) -> int:
        return await self.run(step, lambda: self.collection(collection).count_documents(query))

    async def insert(self, step: str, collection: str, document: Document) -> None:
        """Insert with a chosen ``_id``: repeatable, because a second insert is a :class:`Duplicate`."""
        await self.run(step, lambda: self.collection(collection).insert_one(document))

    async def insert_missing(self, step: str, collection: str, documents: Sequence[Document]) -> None:
        """Insert those whose ``_id`` is not there yet. Afterwards all are there."""
        try:
            await self.run(step, lambda: self.collection(collection).insert_many(documents, ordered=False))
        except Duplicate:  # which of the others were stored is not told
            ids = [document["_id"] for document in documents]
            there = {found["_id"] for found in await self.find(step, collection, {"_id": {"$in": ids}}, {"_id": 1})}
            for document in documents:
                if document["_id"] not in there:
                    await self._insert_unless_there(step, collection, document)

    async def _insert_unless_there(self, step: str, collection: str, document: Document) -> None:
        try:
            await self.insert(step, collection, document)
        except Duplicate:
            return

    async def update(
        self,
        step: str,
        collection: str,
        query: Filter,
        update: Update,
        *,
        upsert: bool = False,
        repeatable: bool = True,
    ) -> bool:
        """Update one document; whether one matched (or was made)."""
        result = await self.run(
            step, lambda: self.collection(collection).update_one(query, update, upsert=upsert), repeatable=repeatable
        )
        return bool(result.matched_count) or result.upserted_id is not None

    async def update_many(self, step: str, collection: str, query: Filter, update: Update) -> int:
        """Update all that match; how many. The filter excludes what is done, so that a repeat goes on."""
        result = await self.run(step, lambda: self.collection(collection).update_many(query, update))
        return result.modified_count

    async def update_each(self, step: str, collection: str, writes: Sequence[UpdateOne]) -> None:
        """Many updates in one command, each with its guard in its filter. Raises Duplicate once all were tried."""
        await self.run(step, lambda: self.collection(collection).bulk_write(writes, ordered=False))

    async def find_and_update(
        self,
        step: str,
        collection: str,
        query: Filter,
        update: Update,
        *,
        projection: Filter | None = None,
        before: bool = False,
    ) -> Document | None:
        """Update one document and return it as it is after (or was before); None = the guard said no."""
        which = ReturnDocument.BEFORE if before else ReturnDocument.AFTER
        return await self.run(
            step,
            lambda: self.collection(collection).find_one_and_update(
                query, update, projection=projection, return_document=which
            ),
        )

    async def create_indexes(
        self, collection: str, indexes: Sequence[IndexModel], *, former: Sequence[str] = ()
    ) -> list[str]:
        """Create what is missing. An index that was declared otherwise before is made anew under its name.

        ``former`` ones are dropped after what stands in their stead is there; before, where both cannot be.
        """

        async def create() -> list[str]:
            held = self.collection(collection)
            names = await held.index_information() if former else {}
            gone = [name for name in former if name in names]
            try:
                made = await held.create_indexes(list(indexes))
            except OperationFailure as error:
                if not _is_index_conflict(error):
                    raise
                made = []
                for index in indexes:
                    made += await _made_anew(held, index, gone)
            for name in gone:
                await held.drop_index(name)
            return made

        return await self.run("create indexes", create)

    async def delete(self, step: str, collection: str, query: Filter) -> bool:
        result = await self.run(step, lambda: self.collection(collection).delete_one(query))
        return bool(result.deleted_count)


async def _made_anew(held: AsyncCollection[Document], index: IndexModel, former: list[str]) -> list[str]:
    """Create an index in the place of one that is in its way."""
    try:
        return await held.create_indexes([index])
    except OperationFailure as error:
        if not _is_index_conflict(error):
            raise
    name = index.document["name"]
    for in_the_way in [name] if name in await held.index_information() else former:
        await held.drop_index(in_the_way)
    former[:] = [name for name in former if name in await held.index_information()]
    return await held.create_indexes([index])


def _is_index_conflict(error: OperationFailure) -> bool:
    return error.code in _INDEX_CONFLICT or "Conflicting index definition" in str(error)  # mongoeco has no code for it


def _codes(error: OperationFailure) -> set[int]:
    """The code of a failed command, or of each write that failed in a bulk."""
    failures = (error.details or {}).get("writeErrors", []) if isinstance(error, BulkWriteError) else []
    return {code for code in [error.code, *(failure.get("code") for failure in failures)] if code is not None}


def _is_transient(error: BaseException, repeatable: bool) -> bool:
    if isinstance(error, OperationFailure) and (
        _codes(error) & {_WRITE_CONFLICT, _DEADLOCK, _NAMESPACE_NOT_FOUND}
        or any(told in str(error) for told in _NOT_DONE)
    ):
        return True  # the server says: not done
    if isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError"):
        return True
    if isinstance(error, ServerSelectionTimeoutError):
        return False  # it waited long enough already
    return repeatable and isinstance(error, AutoReconnect)


def _last_error(state: RetryCallState) -> Any:
    assert state.outcome is not None
    return state.outcome.result()
