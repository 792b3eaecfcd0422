"""The bare driver doing the very same writes: what the library sent once, sent again without the library.

A :class:`Recorder` stands in the place of the store while the library does a command, and keeps every call it makes
of the driver: collection, method, filter, pipeline, projection, and which calls were under way together. A
:class:`Recording` makes the same calls on another client's document, with nothing changed but the ids. Nothing of
that is prepared on the clock: between the first call and the last there is only the driver.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.asynchronous.database import AsyncDatabase

from confiido_booking.database.store import Document, Filter, Store, Update

Ids = Mapping[ObjectId | str, ObjectId | str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the driver. Calls of one ``stage`` were under way together."""

    stage: int
    collection: str
    method: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """The calls of one command, in their stages."""

    calls: Sequence[Call]

    @property
    def stages(self) -> list[list[Call]]:
        return [[call for call in self.calls if call.stage == stage] for stage in sorted({c.stage for c in self.calls})]

    def ready(self, database: AsyncDatabase[Document], ids: Ids) -> Callable[[], Awaitable[None]]:
        """The same calls with other ids, to be started by calling the result."""
        stages = [
            [(database[call.collection], call.method, _with_ids(call.arguments, ids), call.options) for call in stage]
            for stage in self.stages
        ]

        async def run() -> None:
            for stage in stages:
                calls = [_call(*call) for call in stage]
                if len(calls) == 1:
                    await calls[0]
                else:
                    await asyncio.gather(*calls)

        return run


async def _call(collection: Any, method: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> object:
    if method == "find":
        return await collection.find(*arguments, **options).to_list()
    result = await getattr(collection, method)(*arguments, **options)
    if method == "find_one_and_update" and result is None:
        raise RuntimeError("A recorded update was refused: the bench compares different work")
    return result


def _with_ids(value: Any, ids: Ids) -> Any:
    if isinstance(value, ObjectId | str):
        return ids.get(value, value)
    if isinstance(value, Mapping):
        return {key: _with_ids(item, ids) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_ids(item, ids) for item in value)
    return value


@dataclass(slots=True)
class Recorder(Store):
    """A store that keeps what passes through it."""

    calls: list[Call] = field(default_factory=list)
    _under_way: int = 0
    _stage: int = 0

    def cut(self) -> Recording:
        """What was recorded since the last cut."""
        recording, self.calls = Recording(self.calls), []
        return recording

    async def find_one(
        self, step: str, collection: str, query: Filter, projection: Filter | None = None
    ) -> Document | None:
        with self._recorded(collection, "find_one", (query, projection), {}):
            return await Store.find_one(self, step, collection, query, projection)

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
        options = {"skip": skip, "limit": limit, **({"sort": list(sort)} if sort else {})}
        with self._recorded(collection, "find", (query, projection), options):
            return await Store.find(self, step, collection, query, projection, sort=sort, skip=skip, limit=limit)

    async def insert(self, step: str, collection: str, document: Document) -> None:
        with self._recorded(collection, "insert_one", (document,), {}):
            await Store.insert(self, step, collection, document)

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
        with self._recorded(collection, "update_one", (query, update), {"upsert": upsert}):
            return await Store.update(self, step, collection, query, update, upsert=upsert, repeatable=repeatable)

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
        options = {
            "projection": projection,
            "return_document": ReturnDocument.BEFORE if before else ReturnDocument.AFTER,
        }
        with self._recorded(collection, "find_one_and_update", (query, update), options):
            return await Store.find_and_update(
                self, step, collection, query, update, projection=projection, before=before
            )

    def _recorded(
        self, collection: str, method: str, arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> "_UnderWay":
        return _UnderWay(self, collection, method, arguments, options)


@dataclass(slots=True)
class _UnderWay:
    """A call between its start and its answer."""

    recorder: Recorder
    collection: str
    method: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def __enter__(self) -> None:
        recorder = self.recorder
        if recorder._under_way == 0:
            recorder._stage += 1
        recorder._under_way += 1
        recorder.calls.append(Call(recorder._stage, self.collection, self.method, self.arguments, self.options))

    def __exit__(self, *_: object) -> None:
        self.recorder._under_way -= 1


def driver(uri: str) -> AsyncMongoClient[Document]:
    """A client as the library's own, but for its name."""
    return AsyncMongoClient(uri, document_class=dict, tz_aware=True, uuidRepresentation="standard")
