"""Reports: what the marketplace's numbers say."""

from dataclasses import dataclass
from datetime import datetime

from confiido_booking.actors import Actor
from confiido_booking.bookings.service import Bookings
from confiido_booking.reports.overview import Overview, overview


@dataclass(frozen=True, slots=True)
class Reports:
    """``confiido.reports``."""

    bookings: Bookings

    async def overview(
        self,
        *,
        actor: Actor,
        from_: datetime | None = None,
        to: datetime | None = None,
        currency: str | None = None,
    ) -> Overview:
        """Money, counts and the next sessions: everybody's for staff, the own for an expert.

        ``from_``, ``to``: sessions that start, and invoices issued, in [from, to). ``currency``: only of that one.

        Raises:
            NotAllowed: a client asks. Invalid: ``invalid_currency``.
        """
        actor = await self.bookings.context.experts.identify(actor)
        return await overview(self.bookings, actor, from_=from_, to=to, currency=currency)
