"""What lists can be asked for, and how it becomes a filter of the library."""

from datetime import datetime, time, timedelta
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas import SHOWN, WireId
from confiido_booking import times
from confiido_booking.bookings.reading import SessionFilter
from confiido_booking.bookings.statuses import Medium, PaymentStatus, SessionStatus, spelled
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.settings import Settings

Word = Annotated[str | None, Field(max_length=50)]
_STATUSES = [status.value for status in SessionStatus]
_PAYMENT_STATUSES = [status.value for status in PaymentStatus]
_MEDIA = [medium.value for medium in Medium]


class ListQuery(BaseModel):
    """Filters and page of a list of sessions. ``from`` and ``to``: an instant with an offset, or a whole day."""

    model_config = SHOWN

    page: int = Field(1, ge=1, le=10_000)
    limit: int = Field(20, ge=1, le=100, description="Sessions on a page")
    cursor: str | None = Field(
        None, max_length=200, description="`nextCursor` of the page before; `page` is then ignored"
    )
    status: Word = Field(None, description="Spelling and case do not matter", examples=["confirmed"])
    payment_status: Word = Field(None, examples=["paid"])
    expert_id: WireId | None = None
    client_id: WireId | None = None
    session_type: Word = Field(None, examples=["video"])
    service_id: WireId | None = None
    from_: str | None = Field(None, alias="from", max_length=40, examples=["2025-08-01"])
    to: str | None = Field(None, max_length=40, description="A day is included whole", examples=["2025-08-31"])
    q: str | None = Field(None, max_length=100, description="A part of the client's name or e-mail")
    source: Word = Field(None, examples=["website"])
    sort: str = Field(
        "-startsAt", max_length=20, description="startsAt or createdTime; a leading - for the latest first"
    )

    def filter(self, settings: Settings, **fixed: object) -> SessionFilter:
        """The filter; ``fixed`` replaces what the caller may not choose."""
        asked: dict[str, object] = {
            "status": None if "status" in fixed else word(self.status, "status", _STATUSES),
            "payment_status": word(self.payment_status, "paymentStatus", _PAYMENT_STATUSES),
            "session_type": word(self.session_type, "sessionType", _MEDIA),
            "expert_id": self.expert_id,
            "client_id": self.client_id,
            "service_id": self.service_id,
            "from_": moment(self.from_, "from", settings.timezone),
            "to": moment(self.to, "to", settings.timezone, whole_day=True),
            "q": self.q,
            "source": self.source,
            "sort": self.sort,
        }
        return SessionFilter(**{**asked, **fixed})  # type: ignore[arg-type]


def word(given: str | None, field: str, known: list[str]) -> str | None:
    if given is None or given == "":
        return None
    folded = spelled(given)
    for word in known:
        if folded.replace("-", "_") == word.replace("-", "_"):
            return word
    wrong = FieldError(field, f"must be one of {', '.join(known)}", "query")
    raise Invalid(f"{field} {wrong.message}", errors=[wrong])


def moment(given: str | None, field: str, zone: str, *, whole_day: bool = False) -> datetime | None:
    """An instant, or the start of a local day; for ``to`` the start of the next one."""
    if given is None or given == "":
        return None
    if len(given) > 10:
        return times.parse_instant(given, field=field, location="query")
    day = times.parse_date(given, field=field, location="query") + timedelta(days=int(whole_day))
    return datetime.combine(day, time(), tzinfo=times.zone(zone))
