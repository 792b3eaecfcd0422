"""The catalogue: services as they are sold now, and as they were when they were sold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field

from confiido_booking import money
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.models import CancellationPolicy
from confiido_booking.bookings.rules import text
from confiido_booking.bookings.statuses import Medium
from confiido_booking.catalog import rules
from confiido_booking.catalog.models import Child, OnExpiry, PartialCancel, Service, ServiceType
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict, FieldError, Invalid, NotAllowed, NotFound
from confiido_booking.experts.service import Experts
from confiido_booking.ids import Id
from confiido_booking.settings import Settings
from confiido_booking.times import Clock

_TRIES = 5
_NEEDED = ("serviceType", "name", "currency", "medium", "onExpiry", "visibility", "partialCancel", "isActive")
_STATE = frozenset({"_id", "isActive", "updatedAt", "requestKey"})  # of a service, and of none of its versions


class ServiceInput(BaseModel):
    """What may be written of a service; of an existing one only what is given changes, and None takes it away."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

    service_type: ServiceType | None = None
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[str, Field(max_length=5000)] | None = None
    price_cents: Annotated[int, Field(ge=0, strict=True)] | None = None  # the currency's minor units
    currency: Annotated[str, Field(max_length=10)] | None = None
    duration: Annotated[int, Field(strict=True)] | None = None
    max_participants: Annotated[int, Field(strict=True)] | None = None
    medium: Medium | None = None
    expert: Annotated[str, Field(max_length=24)] | Id | None = None
    children: Annotated[list[Child], Field(max_length=50)] | None = None
    validity_days: Annotated[int, Field(ge=1, le=3650, strict=True)] | None = None
    on_expiry: OnExpiry | None = None
    visibility: Literal["public", "private"] | None = None
    category: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    partial_cancel: PartialCancel | None = None
    cancellation_policy: CancellationPolicy | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFilter:
    """What a list of services is asked for. ``q``: a part of the name, the description or the category."""

    service_type: ServiceType | None = None
    category: str | None = None
    expert_id: ObjectId | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePage:
    services: list[Service]
    total: int
    page: int
    limit: int

    @property
    def pages(self) -> int:
        return -(-self.total // self.limit)


@dataclass(frozen=True, slots=True)
class Catalog:
    """``confiido.catalog``. Staff change every service, an expert the own ones; everybody sees what is offered."""

    store: Store
    settings: Settings
    clock: Clock
    experts: Experts

    async def create(self, *, actor: Actor, service: ServiceInput, request_key: str | None = None) -> Service:
        """A new service of version 1; an expert's is the expert's own.

        Raises:
            NotAllowed: neither staff nor an expert, or an expert for somebody else.
            NotFound: ``expert_not_found``.
            Invalid: see :func:`confiido_booking.catalog.rules.check`.
        """
        actor = await self._who_sells(actor)
        now = self.clock()
        missing = [name for name in ("service_type", "name", "price_cents") if getattr(service, name) is None]
        if missing:
            errors = [FieldError(name, "is required") for name in missing]
            raise Invalid(f"{errors[0].path} is required", errors=errors)
        made = {
            "_id": ObjectId() if request_key is None else _id_for(request_key),
            "currency": self.settings.currency,
            "createdAt": now,
            "updatedAt": now,
            "requestKey": request_key,
            **await self._given(service, actor, None),
        }
        if "expertId" not in made:
            raise Invalid(
                "primary_practitioner is required", errors=[FieldError("primary_practitioner", "is required")]
            )
        checked = await self._checked(made, actor)
        try:
            await self.store.insert("insert service", "services", to_mongo(checked))
        except Duplicate:  # an earlier try with this key made it
            return await self._read(checked.id or ObjectId())
        return checked

    async def update(self, service_id: ObjectId, *, actor: Actor, changes: ServiceInput) -> Service:
        """Change the given fields. What was sold keeps the version it was sold in.

        Raises:
            NotFound: ``service_not_found``; NotAllowed; Invalid, also ``service_type_fixed``.
            Conflict: ``try_again``: it keeps changing.
        """
        actor = await self.experts.identify(actor)
        for _ in range(_TRIES):
            document = await self._own(service_id, actor)
            if changes.service_type not in (None, document["serviceType"]):
                raise Invalid(
                    "What kind of service it is cannot change",
                    code="service_type_fixed",
                    errors=[FieldError("service_type", "cannot change")],
                )
            given = await self._given(changes, actor, document)
            checked = await self._checked({**document, **given}, actor)
            written = to_mongo(checked)
            del written["_id"]
            if _content(written) == _content(document):
                if written["isActive"] == document["isActive"]:
                    return checked
                state = {"isActive": written["isActive"], "updatedAt": self.clock()}
            else:
                await self._keep(document)
                state = {**written, "version": document["version"] + 1, "updatedAt": self.clock()}
            gone = dict.fromkeys(document.keys() - written.keys() - {"_id"}, "")
            changed = await self.store.find_and_update(
                "update service",
                "services",
                {"_id": service_id, "version": document["version"]},
                {"$set": state} | ({"$unset": gone} if gone and "version" in state else {}),
            )
            if changed is not None:
                return _service(changed)
        raise Conflict("The service is changing; please try again", code="try_again")

    async def deactivate(self, service_id: ObjectId, *, actor: Actor) -> Service:
        """No longer sold nor shown; what was sold of it stays. Repeatable."""
        return await self.update(service_id, actor=actor, changes=ServiceInput(is_active=False))

    async def get(self, service_id: ObjectId, *, actor: Actor | None = None) -> Service:
        """One service. Raises NotFound ``service_not_found``, also where it is not theirs to see."""
        service = await self._read(service_id)
        if rules.is_offered(service):
            return service
        if actor is not None and rules.runs(service, await self.experts.identify(actor)):
            return service
        raise _not_found()

    async def version(self, service_id: ObjectId, version: int) -> Service:
        """A service as it was in that version, whatever has become of it. Raises NotFound ``service_not_found``."""
        service = await self._read(service_id)
        if service.version == version:
            return service
        kept = await self.store.find_one("read version", "service_versions", {"_id": _version_id(service_id, version)})
        if kept is None:
            raise _not_found()
        return _service({**kept["service"], "_id": service_id})

    async def many(self, ids: list[ObjectId]) -> dict[ObjectId, Service]:
        """Services by ``_id``, active or not."""
        found = await self.store.find("read services", "services", {"_id": {"$in": ids}}) if ids else []
        return {document["_id"]: _service(document) for document in found}

    async def list(
        self, *, actor: Actor | None = None, filters: ServiceFilter | None = None, page: int = 1, limit: int = 20
    ) -> ServicePage:
        """Services by name: what is offered, and what the actor runs, active or not."""
        wanted = filters or ServiceFilter()
        query: Document = {
            name: value
            for name, value in (
                ("serviceType", wanted.service_type),
                ("category", wanted.category),
                ("expertId", wanted.expert_id),
            )
            if value is not None
        }
        conditions = [*await self._visible(actor), *_called(wanted.q)]
        if conditions:
            query["$and"] = conditions
        order = [("name", 1), ("_id", 1)]
        found = await self.store.find(
            "list services", "services", query, sort=order, skip=(page - 1) * limit, limit=limit
        )
        total = await self.store.count("count services", "services", query)
        return ServicePage(services=[_service(document) for document in found], total=total, page=page, limit=limit)

    async def _visible(self, actor: Actor | None) -> Sequence[Document]:
        offered: Document = {"isActive": True, "visibility": "public"}
        if actor is None or actor.role is Role.CLIENT:
            return [offered]
        if actor.is_staff:
            return []
        return [{"$or": [offered, {"expertId": (await self.experts.identify(actor)).own_expert_id}]}]

    async def _who_sells(self, actor: Actor) -> Actor:
        actor = await self.experts.identify(actor)
        if not actor.is_staff and (actor.role is not Role.EXPERT or actor.expert_id is None):
            raise NotAllowed("Only an expert or an administrator can offer a service")
        return actor

    async def _given(self, given: ServiceInput, actor: Actor, before: Document | None) -> Document:
        """The given fields as stored; a field that was given as None is there as None."""
        fields: Document = {
            Service.model_fields[name].alias or name: getattr(given, name)
            for name in given.model_fields_set
            if name not in ("expert", "price_cents")
        }
        if given.price_cents is not None:
            code = money.currency(given.currency or (before or {}).get("currency") or self.settings.currency)
            fields["price"] = rules.price_of(given.price_cents, code)
        for name in _NEEDED:
            if fields.get(name, ...) is None:
                del fields[name]
        if fields.get("children", ...) is None:
            fields["children"] = []
        for name in ("name", "description", "category"):
            if fields.get(name) is not None:
                fields[name] = text(fields[name], name, limit=5000).strip()
        if given.expert is not None:
            fields["expertId"] = await self._whose(given.expert, actor)
        elif before is None and actor.role is Role.EXPERT:
            fields["expertId"] = actor.own_expert_id
        return fields

    async def _whose(self, expert: str | ObjectId, actor: Actor) -> ObjectId:
        found = (await self.experts.get(expert)).id
        if not actor.is_staff and found != actor.expert_id:
            raise NotAllowed("You can offer only your own services")
        return found or ObjectId()

    async def _checked(self, fields: Mapping[str, Any], actor: Actor) -> Service:
        code = money.currency(fields["currency"])
        price = money.amount(money.exact(fields["price"]), code, field="price_cents")
        known = {name: value for name, value in fields.items() if value is not None}
        service = _service({**known, "currency": code, "price": price})
        if not service.name:
            raise Invalid("name is required", errors=[FieldError("name", "is required")])
        children = list((await self.many([child.service_id for child in service.children])).values())
        rules.check(service, children)
        if not actor.is_staff and any(child.expert_id != service.expert_id for child in children):
            raise Invalid(
                "children must be your own services",
                code="invalid_child",
                errors=[FieldError("children", "must be your own services")],
            )
        if service.id is not None and await self._is_in_another_currency(service):
            raise rules.mixed_currency()
        return service

    async def _is_in_another_currency(self, child: Service) -> bool:
        """Whether a package or bundle that is on sale counts on this service's currency."""
        parents = {"children.serviceId": child.id, "isActive": True, "currency": {"$ne": child.currency}}
        return await self.store.find_one("read parents", "services", parents, {"_id": 1}) is not None

    async def _keep(self, document: Document) -> None:
        """Before a version goes it is kept; made twice it is the same."""
        version = {
            "_id": _version_id(document["_id"], document["version"]),
            "serviceId": document["_id"],
            "version": document["version"],
            "service": _content(document),
        }
        try:
            await self.store.insert("keep version", "service_versions", version)
        except Duplicate:
            return

    async def _own(self, service_id: ObjectId, actor: Actor) -> Document:
        document = await self.store.find_one("read service", "services", {"_id": service_id})
        if document is None:
            raise _not_found()
        service = _service(document)
        if not rules.runs(service, actor):
            if rules.is_offered(service):
                raise NotAllowed("Only the expert whose service it is, or an administrator, can change it")
            raise _not_found()
        return document

    async def _read(self, service_id: ObjectId) -> Service:
        document = await self.store.find_one("read service", "services", {"_id": service_id})
        if document is None:
            raise _not_found()
        return _service(document)


def _content(document: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if name not in _STATE}


def _version_id(service_id: ObjectId, version: int) -> str:
    return f"{service_id}:{version}"


def _id_for(request_key: str) -> ObjectId:
    """A repeated creation makes the same service."""
    return ObjectId(sha256(b"service" + request_key.encode()).digest()[:12])


def _called(q: str | None) -> list[Document]:
    if q is None or not q.strip():
        return []
    like = {"$regex": re.escape(text(q, "q", limit=100).strip()), "$options": "i"}
    return [{"$or": [{"name": like}, {"description": like}, {"category": like}]}]


def _service(document: Mapping[str, Any]) -> Service:
    service: Service = Service.model_validate(document)
    return service


def _not_found() -> NotFound:
    return NotFound("Service not found", code="service_not_found")
