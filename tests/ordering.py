"""Services of all five types for tests to buy, and what is left of orders in the store."""

from datetime import datetime, timedelta
from decimal import Decimal

from bson import ObjectId

from confiido_booking import Confiido, Expert
from confiido_booking.catalog.models import Service
from confiido_booking.catalog.service import ServiceInput
from confiido_booking.database.store import Document
from tests.builders import MONDAY, an_admin

SIX = MONDAY + timedelta(days=1, hours=9)
WEEK = timedelta(weeks=1)


async def offered(confiido: Confiido, expert: Expert, service_type: str, **fields: object) -> Service:
    """A service of this type: 500 INR, 60 minutes."""
    known: dict[str, object] = {"service_type": service_type, "name": service_type, "price_cents": 50000}
    if service_type in ("individual", "workshop", "course"):
        known |= {"duration": 60}
    service = ServiceInput.model_validate({**known, "expert": expert.id, **fields})
    return await confiido.catalog.create(actor=an_admin(), service=service)


async def events_of(
    confiido: Confiido, service: Service, count: int = 1, *, first: datetime = SIX, places: int | None = None
) -> list[ObjectId]:
    """So many weekly service sessions of a workshop or course."""
    made = await confiido.workshops.create(
        id_of(service),
        actor=an_admin(),
        times=[first + week * WEEK for week in range(count)],
        max_participants=places,
    )
    return [view.document["_id"] for view in made]


async def package_of(
    confiido: Confiido, expert: Expert, *children: tuple[Service, int], service_type: str = "package", **fields: object
) -> Service:
    named = [{"service_id": id_of(service), "quantity": quantity} for service, quantity in children]
    return await offered(confiido, expert, service_type, children=named, **fields)


def id_of(service: Service) -> ObjectId:
    assert service.id is not None
    return service.id


async def all_of(confiido: Confiido, collection: str) -> list[Document]:
    return await confiido.store.collection(collection).find().to_list()


async def event(confiido: Confiido, event_id: ObjectId) -> Document:
    found = await confiido.store.collection("service_sessions").find_one({"_id": event_id})
    assert found is not None
    return found


async def order(confiido: Confiido, order_id: ObjectId) -> Document:
    """An order as it is stored."""
    found = await confiido.store.collection("orders").find_one({"_id": order_id})
    assert found is not None
    return found


def prices(sessions: list[Document]) -> list[Decimal]:
    return [session["price"].to_decimal() for session in sessions]
