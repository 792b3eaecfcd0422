"""For load balancers and monitors: alive, ready, measured. No identity, no rate limit."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from api.door import library
from api.envelope import Answer, success
from api.observability import metrics
from api.schemas import Reply, refusals

router = APIRouter(tags=["Operations"])


@router.get("/health/live", response_model=Reply, summary="The process answers")
async def live() -> Answer:
    return success({"status": "live"})


@router.get(
    "/health/ready", response_model=Reply, responses=refusals(503), summary="The store answers; 503 while it does not"
)
async def ready(request: Request) -> Answer:
    await library(request).ping()
    return success({"status": "ready"})


@router.get("/metrics", response_class=Response, summary="Figures in Prometheus' text format")
async def figures() -> Response:
    return Response(metrics(), media_type=CONTENT_TYPE_LATEST)
