"""Who can be booked: the directory, the expert's own profile, and profiles as admins keep them (SPEC 8)."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel

from api import render
from api.door import Asking, Writing, router
from api.envelope import Answer, success
from api.schemas import READS, WRITES, Succeeded, WireId, refusals
from confiido_booking.errors import NotAllowed
from confiido_booking.experts.models import Expert
from confiido_booking.experts.service import ExpertInput

directory = router("Experts", "/api/users")
own = router("Experts", "/api/experts")
administration = router("Administration", "/api/admin/experts")


class Directory(BaseModel):
    """``_id`` is the expert's user _id, as booking takes it; ``expertId`` the profile's."""

    experts: list[dict[str, Any]]
    total: int


class OneExpert(BaseModel):
    expert: Expert


@directory.get("/experts", response_model=Succeeded[Directory], responses=READS, summary="The experts to choose from")
async def list_experts(caller: Asking) -> Answer:
    experts = [_entry(expert) for expert in await caller.confiido.experts.directory()]
    return success({"experts": experts, "total": len(experts)})


def _entry(expert: Expert) -> dict[str, Any]:
    profile = render.model(expert)
    shown = render.expert(profile)
    names = shown["userId"]
    kept = ("name", "description", "expertise", "timezone", "sessionTypes", "cancellationPolicy")
    return {
        **shown,
        **{name: profile[name] for name in kept if name in profile},
        "_id": profile["userId"],
        "expertId": profile["_id"],
        "firstName": names["firstName"],
        "lastName": names["lastName"],
        "isAvailable": expert.is_active,
        "hasAvailability": bool(expert.availability and expert.availability.periods),
    }


@own.get("/me", response_model=Succeeded[OneExpert], responses=READS | refusals(403), summary="The own profile")
async def read_own_profile(caller: Asking) -> Answer:
    return _one(await caller.confiido.experts.own(caller.actor))


@own.put("/me", response_model=Succeeded[OneExpert], responses=WRITES, summary="Change the own profile")
async def change_own_profile(writer: Writing, changes: ExpertInput) -> Answer:
    """Only the fields given change."""
    return _one(await writer.confiido.experts.put_own(writer.actor, changes), "Profile updated successfully")


@administration.post(
    "", status_code=201, response_model=Succeeded[OneExpert], responses=WRITES, summary="Create an expert"
)
async def create_expert(writer: Writing, profile: ExpertInput) -> Answer:
    expert = await writer.confiido.experts.create(actor=writer.actor, profile=profile)
    return _one(expert, "Expert created successfully", status=201)


@administration.put("/{expertId}", response_model=Succeeded[OneExpert], responses=WRITES, summary="Change an expert")
async def change_expert(
    writer: Writing, expert_id: Annotated[WireId, Path(alias="expertId")], changes: ExpertInput
) -> Answer:
    if not writer.actor.is_staff:
        raise NotAllowed("Only an administrator can change another's profile")
    expert = await writer.confiido.experts.update(expert_id, actor=writer.actor, changes=changes)
    return _one(expert, "Expert updated successfully")


def _one(expert: Expert, message: str | None = None, *, status: int = 200) -> Answer:
    return success({"expert": render.model(expert)}, message, status=status)
