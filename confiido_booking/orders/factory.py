"""The five purchases of seed 004 (4.10), one method each, over :class:`Orders`. Each returns every session it made."""

from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from confiido_booking.actors import Actor
from confiido_booking.bookings.models import Session
from confiido_booking.bookings.views import ClientRef
from confiido_booking.catalog.models import Service, ServiceType
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.orders.service import Orders


@dataclass(frozen=True, slots=True)
class BookingFactory:
    """``confiido.factory``. ``actor`` buys for themselves or, as staff, for ``client``; ``session.order_id`` is the
    order by which it is paid.

    Raises, each:
        Invalid: ``wrong_service_type``; and as of :meth:`Orders.create`.
    """

    orders: Orders

    async def create_individual_booking(
        self,
        service: ObjectId,
        *,
        actor: Actor,
        starts_at: datetime | str,
        client: ClientRef | None = None,
        request_key: str | None = None,
    ) -> list[Session]:
        """One session with the expert at that time; its private service session is made with it."""
        await self._expect(service, ServiceType.INDIVIDUAL, actor)
        made = await self.orders.create(
            service, actor=actor, client=client, starts_at=starts_at, request_key=request_key
        )
        return made.sessions

    async def create_workshop_booking(
        self,
        service: ObjectId,
        *,
        actor: Actor,
        service_session: ObjectId,
        client: ClientRef | None = None,
        request_key: str | None = None,
    ) -> list[Session]:
        """One session in an event that many share."""
        await self._expect(service, ServiceType.WORKSHOP, actor)
        made = await self.orders.create(
            service, actor=actor, client=client, service_session_id=service_session, request_key=request_key
        )
        return made.sessions

    async def create_course_booking(
        self, course: ObjectId, *, actor: Actor, client: ClientRef | None = None, request_key: str | None = None
    ) -> list[Session]:
        """One session in each class of the course, all of one order."""
        return await self._bought(course, ServiceType.COURSE, actor, client, request_key)

    async def create_package_booking(
        self, package: ObjectId, *, actor: Actor, client: ClientRef | None = None, request_key: str | None = None
    ) -> list[Session]:
        """A draft for each session of each service in the package, to be scheduled later."""
        return await self._bought(package, ServiceType.PACKAGE, actor, client, request_key)

    async def create_bundle_booking(
        self, bundle: ObjectId, *, actor: Actor, client: ClientRef | None = None, request_key: str | None = None
    ) -> list[Session]:
        """So many drafts of one service, to be scheduled later."""
        return await self._bought(bundle, ServiceType.BUNDLE, actor, client, request_key)

    async def _bought(
        self, service: ObjectId, kind: ServiceType, actor: Actor, client: ClientRef | None, key: str | None
    ) -> list[Session]:
        await self._expect(service, kind, actor)
        return (await self.orders.create(service, actor=actor, client=client, request_key=key)).sessions

    async def _expect(self, service_id: ObjectId, kind: ServiceType, actor: Actor) -> Service:
        service = await self.orders.catalog.get(service_id, actor=actor)
        if service.service_type is not kind:
            errors = [FieldError("service_id", f"is no {kind} service")]
            raise Invalid(f"This service is no {kind} service", code="wrong_service_type", errors=errors)
        return service
