"""When an expert can be booked: slots for those who book, hours for the expert (FRONTEND 2.11-2.13)."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, Field

from api import render
from api.door import Asking, Caller, Writing, router
from api.envelope import Answer, success
from api.schemas import READS, SHOWN, WRITES, Asked, Reply, Succeeded, WireId, refusals
from confiido_booking import times
from confiido_booking.calendar.availability import Availability, AvailabilityException, Period
from confiido_booking.calendar.models import Busy
from confiido_booking.calendar.slots import GRID_MINUTES
from confiido_booking.errors import FieldError, Invalid
from confiido_booking.experts.models import Expert
from confiido_booking.ids import Id

api = router("Availability", "/api/availability")

_NO_HOURS = "No availability found for this date"
Number = Annotated[str, Path(alias="user_id", description="The expert's 4-digit number", examples=["1534"])]
Day = Annotated[str, Path(alias="date", description="The local day", examples=["2025-08-29"])]
WhoseHours = Annotated[
    str | None, Query(alias="expertId", max_length=64, description="Admin and service: whose; an expert's are the own")
]


class TimeShown(BaseModel):
    model_config = SHOWN

    time: str = Field(examples=["09:00"])
    display_time: str = Field(examples=["9:00 AM"])
    available: bool
    starts_at: str = Field(examples=["2025-08-29T03:30:00.000Z"])


class Slots(BaseModel):
    """``date`` is absent, and ``message`` says why, where the expert has set no hours for that day."""

    model_config = SHOWN

    available_slots: list[TimeShown]
    date: str | None = None
    message: str | None = None


class SlotShown(BaseModel):
    model_config = SHOWN

    start_time: str
    end_time: str
    start_display_time: str
    end_display_time: str
    duration: int
    available: bool
    starts_at: str


class ConsecutiveSlots(BaseModel):
    model_config = SHOWN

    consecutive_slots: list[SlotShown]
    date: str | None = None
    duration: int | None = None
    total_slots: int | None = None
    available_slots: int | None = None
    message: str | None = None


class PeriodList(BaseModel):
    availability: list[Period]
    exceptions: list[AvailabilityException]


class AllHours(BaseModel):
    availability: Availability


class Blocked(Asked):
    starts_at: str = Field(max_length=40, examples=["2025-08-29T09:00:00+05:30"])
    ends_at: str = Field(max_length=40, examples=["2025-08-29T18:00:00+05:30"])
    reason: str | None = Field(None, max_length=500)


class BlockShown(BaseModel):
    model_config = SHOWN

    id: Id = Field(alias="_id")
    starts_at: datetime
    ends_at: datetime
    reason: str | None = None


class OneBlock(BaseModel):
    block: BlockShown


class BlockList(BaseModel):
    blocks: list[BlockShown]


@api.get(
    "/userid/{user_id}/slots/{date}",
    response_model=Succeeded[Slots],
    responses=READS,
    summary="The quarter hours of a day",
)
async def quarter_hours(caller: Asking, user_id: Number, day: Day) -> Answer:
    expert, on = await _expert_and_day(caller, user_id, day)
    slots = await caller.confiido.calendar.slots(str(expert.id), on)
    if not slots:
        return success({"availableSlots": [], "message": _NO_HOURS})
    zone = times.zone(expert.timezone)
    shown = [
        {
            "time": _clock(slot.starts_at.astimezone(zone)),
            "displayTime": _display(slot.starts_at.astimezone(zone)),
            "available": slot.available,
            "startsAt": slot.starts_at,
        }
        for slot in slots
    ]
    return success({"availableSlots": shown, "date": on.isoformat()})


@api.get(
    "/userid/{user_id}/consecutive-slots/{date}/{duration}",
    response_model=Succeeded[ConsecutiveSlots],
    responses=READS,
    summary="Where a session of that length fits on a day",
)
async def consecutive_slots(
    caller: Asking,
    user_id: Number,
    day: Day,
    duration: Annotated[int, Path(ge=5, le=1440, description="Minutes", examples=[30])],
    exclude: Annotated[
        WireId | None,
        Query(alias="excludeSessionId", description="A session that is to be moved: its own time counts as free"),
    ] = None,
) -> Answer:
    """Only starts that booking accepts now; `totalSlots` counts the taken ones too."""
    expert, on = await _expert_and_day(caller, user_id, day)
    slots = await caller.confiido.calendar.consecutive_slots(
        str(expert.id), on, duration, exclude_session=exclude, actor=caller.actor
    )
    if not slots:
        return success({"consecutiveSlots": [], "message": _NO_HOURS})
    zone = times.zone(expert.timezone)
    free = [slot for slot in slots if slot.available]
    shown = [
        {
            "startTime": _clock(slot.starts_at.astimezone(zone)),
            "endTime": _clock(slot.ends_at.astimezone(zone)),
            "startDisplayTime": _display(slot.starts_at.astimezone(zone)),
            "endDisplayTime": _display(slot.ends_at.astimezone(zone)),
            "duration": duration,
            "available": True,
            "startsAt": slot.starts_at,
        }
        for slot in free
    ]
    data = {
        "consecutiveSlots": shown,
        "date": on.isoformat(),
        "duration": duration,
        "totalSlots": len(slots),
        "availableSlots": len(free),
        "stepMinutes": GRID_MINUTES,
    }
    return success(data)


async def _expert_and_day(caller: Caller, user_id: str, day: str) -> tuple[Expert, date]:
    if len(user_id) != 4 or not (user_id.isascii() and user_id.isdigit()):
        wrong = FieldError("user_id", "must be a 4-digit number", "path")
        raise Invalid("Invalid user_id format. Must be a 4-digit number.", errors=[wrong])
    try:
        on = times.parse_date(day, field="date", location="path")
    except Invalid as error:
        raise Invalid("Invalid date format", code=error.code, errors=error.errors) from None
    return await caller.confiido.experts.get(user_id), on


def _clock(local: datetime) -> str:
    return f"{local:%H:%M}"


def _display(local: datetime) -> str:
    return f"{local.hour % 12 or 12}:{local:%M %p}"


@api.get("", response_model=Succeeded[PeriodList], responses=READS | refusals(403), summary="The active periods")
async def read_availability(caller: Asking, whose: WhoseHours = None) -> Answer:
    hours = await caller.confiido.calendar.availability(caller.actor, expert=whose)
    data = {
        "availability": [render.model(period) for period in hours.periods if period.is_active],
        "exceptions": [render.model(exception) for exception in hours.exceptions],
    }
    return success(data)


@api.post("", status_code=201, response_model=Succeeded[AllHours], responses=WRITES, summary="Add weekly hours")
async def add_period(writer: Writing, period: Period, whose: WhoseHours = None) -> Answer:
    """For a range of dates, in the expert's zone. Active periods must not overlap."""
    hours = await writer.confiido.calendar.add_period(writer.actor, period, expert=whose)
    return success({"availability": render.model(hours)}, "Availability created successfully", status=201)


@api.put("/{periodId}", response_model=Succeeded[AllHours], responses=WRITES, summary="Replace a period")
async def replace_period(
    writer: Writing, period_id: Annotated[WireId, Path(alias="periodId")], period: Period, whose: WhoseHours = None
) -> Answer:
    hours = await writer.confiido.calendar.replace_period(writer.actor, period_id, period, expert=whose)
    return success({"availability": render.model(hours)}, "Availability updated successfully")


@api.delete("/{periodId}", response_model=Succeeded[AllHours], responses=WRITES, summary="Remove a period")
async def remove_period(
    writer: Writing, period_id: Annotated[WireId, Path(alias="periodId")], whose: WhoseHours = None
) -> Answer:
    hours = await writer.confiido.calendar.remove_period(writer.actor, period_id, expert=whose)
    return success({"availability": render.model(hours)}, "Availability deleted successfully")


@api.post(
    "/exceptions",
    status_code=201,
    response_model=Succeeded[AllHours],
    responses=WRITES,
    summary="Close a date, or give it hours of its own",
)
async def add_exception(writer: Writing, exception: AvailabilityException, whose: WhoseHours = None) -> Answer:
    hours = await writer.confiido.calendar.add_exception(writer.actor, exception, expert=whose)
    return success({"availability": render.model(hours)}, "Exception created successfully", status=201)


@api.delete(
    "/exceptions/{exceptionId}", response_model=Succeeded[AllHours], responses=WRITES, summary="Remove an exception"
)
async def remove_exception(
    writer: Writing, exception_id: Annotated[WireId, Path(alias="exceptionId")], whose: WhoseHours = None
) -> Answer:
    hours = await writer.confiido.calendar.remove_exception(writer.actor, exception_id, expert=whose)
    return success({"availability": render.model(hours)}, "Exception deleted successfully")


@api.get("/blocks", response_model=Succeeded[BlockList], responses=READS | refusals(403), summary="The blocked periods")
async def list_blocks(caller: Asking, whose: WhoseHours = None) -> Answer:
    blocks = await caller.confiido.calendar.blocks(caller.actor, expert=whose)
    return success({"blocks": [_block(block) for block in blocks]})


@api.post("/blocks", status_code=201, response_model=Succeeded[OneBlock], responses=WRITES, summary="Block a period")
async def add_block(writer: Writing, blocked: Blocked, whose: WhoseHours = None) -> Answer:
    """Nobody can book these minutes; sessions that are there already stay."""
    starts_at = times.parse_instant(blocked.starts_at)
    ends_at = times.parse_instant(blocked.ends_at, field="endsAt")
    block = await writer.confiido.calendar.block(writer.actor, starts_at, ends_at, blocked.reason, expert=whose)
    return success({"block": _block(block)}, "Period blocked successfully", status=201)


@api.delete("/blocks/{blockId}", response_model=Reply, responses=WRITES, summary="Free a blocked period")
async def remove_block(
    writer: Writing, block_id: Annotated[WireId, Path(alias="blockId")], whose: WhoseHours = None
) -> Answer:
    await writer.confiido.calendar.unblock(writer.actor, block_id, expert=whose)
    return success(message="Blocked period removed successfully")


def _block(block: Busy) -> dict[str, Any]:
    shown = {"_id": block.claim_id, "startsAt": block.from_, "endsAt": block.until, "reason": block.reason}
    return {name: value for name, value in shown.items() if value is not None}
