"""The catalogue over HTTP (seed 4.20): what is sold, for everybody to see, and for those who sell it to change."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.door import Visiting, Writing, open_router, router
from api.envelope import Answer, success
from api.schemas import READS, WRITES, Succeeded, WireId
from confiido_booking.bookings.models import CancellationPolicy
from confiido_booking.bookings.statuses import Medium
from confiido_booking.catalog.models import OnExpiry, PartialCancel, Service, ServiceType
from confiido_booking.catalog.rules import cents
from confiido_booking.catalog.service import ServiceFilter, ServiceInput
from confiido_booking.database.documents import to_mongo
from confiido_booking.ids import Id

shown = open_router("Services", "/api/v1/services")
changed = router("Services", "/api/v1/services")

ServiceId = Annotated[WireId, Path(alias="id")]
SNAKE = ConfigDict(arbitrary_types_allowed=True, extra="ignore")


class ChildAsked(BaseModel):
    model_config = SNAKE

    service_id: Id
    quantity: int = Field(1, ge=1, le=100, strict=True)


class ServiceChanged(BaseModel):
    """Only what is given changes; null takes a field away. ``price_cents``: the currency's minor units."""

    model_config = SNAKE

    service_type: ServiceType | None = None
    name: str | None = Field(None, min_length=1, max_length=200, examples=["8-Week Mindfulness"])
    description: str | None = Field(None, max_length=5000)
    price_cents: int | None = Field(None, ge=0, strict=True, examples=[20000])
    currency: str | None = Field(None, max_length=10, examples=["INR"])
    duration_minutes: int | None = Field(None, strict=True, examples=[90])
    max_participants: int | None = Field(None, strict=True, examples=[25])
    medium: Medium | None = None
    primary_practitioner: str | None = Field(
        None,
        max_length=24,
        description="The expert: _id, the user's _id or the 4-digit number; an expert's default: self",
    )
    children: list[ChildAsked] | None = Field(None, max_length=50, description="Of a package or a bundle")
    validity_days: int | None = Field(None, ge=1, le=3650, strict=True)
    on_expiry: OnExpiry | None = None
    visibility: Literal["public", "private"] | None = None
    category: str | None = Field(None, min_length=1, max_length=100)
    partial_cancel: PartialCancel | None = None
    cancellation_policy: CancellationPolicy | None = Field(None, description="Wins over the expert's")
    is_active: bool | None = None

    def given(self) -> ServiceInput:
        names = {"duration_minutes": "duration", "primary_practitioner": "expert"}
        fields: dict[str, Any] = {names.get(name, name): getattr(self, name) for name in self.model_fields_set}
        if fields.get("children") is not None:
            fields["children"] = [child.model_dump() for child in fields["children"]]
        return ServiceInput.model_validate(fields)


class ServiceAsked(ServiceChanged):
    """A service to sell. What its type has no use for is refused."""

    service_type: ServiceType = Field(examples=["workshop"])
    name: str = Field(min_length=1, max_length=200, examples=["8-Week Mindfulness"])
    price_cents: int = Field(ge=0, strict=True, examples=[20000])


class ServiceView(BaseModel):
    id: Id
    version: int
    service_type: ServiceType
    name: str
    description: str | None = None
    price_cents: int
    currency: str
    duration_minutes: int | None = None
    max_participants: int | None = None
    medium: Medium
    primary_practitioner: Id
    children: list[ChildAsked] | None = None
    validity_days: int | None = None
    on_expiry: OnExpiry
    visibility: str
    category: str | None = None
    partial_cancel: PartialCancel
    cancellation_policy: dict[str, Any] | None = None
    is_active: bool
    created_at: str
    updated_at: str

    model_config = SNAKE


class OneService(BaseModel):
    service: ServiceView


class PlainPagination(BaseModel):
    page: int
    limit: int
    total: int
    pages: int


class ServiceList(BaseModel):
    services: list[ServiceView]
    pagination: PlainPagination


class ServiceQuery(BaseModel):
    model_config = SNAKE

    type: ServiceType | None = None
    q: str | None = Field(None, max_length=100, description="A part of the name, the description or the category")
    category: str | None = Field(None, max_length=100)
    expert_id: WireId | None = None
    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100)


@shown.get("", response_model=Succeeded[ServiceList], responses=READS, summary="What is sold")
async def list_services(visitor: Visiting, query: Annotated[ServiceQuery, Query()]) -> Answer:
    """What is public and active, for everybody; besides, for who runs them, the own services whatever their state."""
    wanted = ServiceFilter(service_type=query.type, category=query.category, expert_id=query.expert_id, q=query.q)
    found = await visitor.confiido.catalog.list(actor=visitor.actor, filters=wanted, page=query.page, limit=query.limit)
    counts = {"page": found.page, "limit": found.limit, "total": found.total, "pages": found.pages}
    return success({"services": [wire(service) for service in found.services], "pagination": counts})


@shown.get("/{id}", response_model=Succeeded[OneService], responses=READS, summary="One service")
async def read_service(visitor: Visiting, service_id: ServiceId) -> Answer:
    return _one(await visitor.confiido.catalog.get(service_id, actor=visitor.actor))


@changed.post("", status_code=201, response_model=Succeeded[OneService], responses=WRITES, summary="Offer a service")
async def create_service(writer: Writing, asked: ServiceAsked) -> Answer:
    service = await writer.confiido.catalog.create(
        actor=writer.actor, service=asked.given(), request_key=writer.request_key
    )
    return _one(service, "Service created successfully", status=201)


@changed.put("/{id}", response_model=Succeeded[OneService], responses=WRITES, summary="Change a service")
async def change_service(writer: Writing, service_id: ServiceId, asked: ServiceChanged) -> Answer:
    """What was sold stays as it was sold: a change makes a new version."""
    service = await writer.confiido.catalog.update(service_id, actor=writer.actor, changes=asked.given())
    return _one(service, "Service updated successfully")


@changed.delete("/{id}", response_model=Succeeded[OneService], responses=WRITES, summary="Take a service off sale")
async def deactivate_service(writer: Writing, service_id: ServiceId) -> Answer:
    service = await writer.confiido.catalog.deactivate(service_id, actor=writer.actor)
    return _one(service, "Service deactivated successfully")


def wire(service: Service) -> dict[str, Any]:
    """A service as the wire has it: snake_case, money in minor units."""
    found: dict[str, Any] = {
        "id": service.id,
        "version": service.version,
        "service_type": service.service_type.value,
        "name": service.name,
        "description": service.description,
        "price_cents": cents(service.price, service.currency),
        "currency": service.currency,
        "duration_minutes": service.duration,
        "max_participants": service.max_participants,
        "medium": service.medium.value,
        "primary_practitioner": service.expert_id,
        "children": [{"service_id": child.service_id, "quantity": child.quantity} for child in service.children]
        or None,
        "validity_days": service.validity_days,
        "on_expiry": service.on_expiry.value,
        "visibility": service.visibility,
        "category": service.category,
        "partial_cancel": service.partial_cancel.value,
        "cancellation_policy": to_mongo(service.cancellation_policy) if service.cancellation_policy else None,
        "is_active": service.is_active,
        "created_at": service.created_at,
        "updated_at": service.updated_at,
    }
    return {name: value for name, value in found.items() if value is not None}


def _one(service: Service, message: str | None = None, *, status: int = 200) -> Answer:
    return success({"service": wire(service)}, message, status=status)
