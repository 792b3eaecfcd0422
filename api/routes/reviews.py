"""What clients say of sessions (ROUTES, reviews). An expert's reviews are read by anybody, without a token."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, StrictInt
from starlette.requests import Request

from api.door import Writing, library, router
from api.envelope import Answer, success
from api.schemas import READS, SHOWN, WRITES, Asked, Pagination, Succeeded
from confiido_booking.database.documents import to_mongo
from confiido_booking.ids import Id
from confiido_booking.money import Money
from confiido_booking.reviews.models import Review

api = router("Reviews", "/api/reviews")
administration = router("Administration", "/api/admin/reviews")
public = APIRouter(prefix="/api/reviews", tags=["Reviews"])

_PUBLIC = ("_id", "expertId", "rating", "comment", "author", "createdAt")
_OWN = (*_PUBLIC, "sessionId", "clientId")
_ALL = (*_OWN, "hidden", "hiddenReason", "updatedAt", "history")


class Written(Asked):
    """The session is named by ``sessionId``, or by ``bookingId``, also written ``booking_id``."""

    session_id: Id | None = None
    booking_id: Annotated[str, Field(min_length=1, max_length=100)] | StrictInt | None = Field(
        None, description="A booking with one completed session, or an id of before a migration"
    )
    rating: StrictInt = Field(ge=1, le=5, examples=[5])
    comment: str | None = Field(None, max_length=500, examples=["Sharp questions, kind answers"])


class Hidden(Asked):
    hidden: bool = Field(strict=True)
    reason: str = Field(min_length=1, max_length=500)


class OneReview(BaseModel):
    review: Review


class ReviewStats(BaseModel):
    average: Money = Field(description="To two decimals; 0 where there is none", examples=[4.67])
    count: int


class PublicReview(BaseModel):
    model_config = SHOWN

    id: str = Field(alias="_id")
    expert_id: Id
    rating: float
    comment: str | None = None
    author: str | None = Field(None, description="The client's first name")
    created_at: str


class ReviewList(BaseModel):
    reviews: list[PublicReview]
    stats: ReviewStats
    pagination: Pagination


@api.post("", status_code=201, response_model=Succeeded[OneReview], responses=WRITES, summary="Review a session")
async def write_review(writer: Writing, asked: Written) -> Answer:
    """One for each completed session, by its client. Of a `bookingId` its one completed session without a review is
    meant; where there are several, 422 names them."""
    review = await writer.confiido.reviews.write(
        actor=writer.actor,
        rating=asked.rating,
        comment=asked.comment,
        session_id=asked.session_id,
        booking=None if asked.booking_id is None else str(asked.booking_id),
        request_key=writer.request_key,
    )
    return success({"review": _shown(review, _OWN)}, "Review submitted successfully", status=201)


@public.get(
    "/expert/{id}", response_model=Succeeded[ReviewList], responses=READS, summary="What clients say of an expert"
)
async def read_reviews(
    request: Request,
    expert_id: Annotated[str, Path(alias="id", max_length=64, description="As booking names an expert")],
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=140, description="`nextCursor` of the page before")] = None,
) -> Answer:
    """Hidden ones are neither listed nor counted."""
    found = await library(request).reviews.of_expert(expert_id, page=page, limit=limit, cursor=cursor)
    pagination = {"page": found.page, "limit": found.limit, "total": found.count, "pages": found.pages}
    return success(
        {
            "reviews": [_shown(review, _PUBLIC) for review in found.reviews],
            "stats": {"average": found.average, "count": found.count},
            "pagination": pagination | ({"nextCursor": found.next_cursor} if found.next_cursor else {}),
        }
    )


@administration.put(
    "/{id}/hide", response_model=Succeeded[OneReview], responses=WRITES, summary="Hide a review, or show it again"
)
async def hide_review(
    writer: Writing, review_id: Annotated[str, Path(alias="id", min_length=1, max_length=100)], asked: Hidden
) -> Answer:
    review = await writer.confiido.reviews.hide(review_id, actor=writer.actor, hidden=asked.hidden, reason=asked.reason)
    return success({"review": _shown(review, _ALL)}, "Review hidden" if asked.hidden else "Review shown")


def _shown(review: Review, names: tuple[str, ...]) -> dict[str, object]:
    stored = to_mongo(review)
    wire = {name: stored[name] for name in names if name in stored}
    rating = review.rating
    return wire | {"rating": int(rating) if rating == int(rating) else rating}
