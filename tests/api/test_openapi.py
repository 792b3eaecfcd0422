"""Generated requests over the whole OpenAPI: no 5xx, and every answer is one that the document describes.

Half of the requests name what is really there, so that answers of success are held against their schemas too.
"""

import warnings
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from confiido_booking import Confiido
from confiido_booking.times import utc_now
from tests.api.marketplace import Marketplace, open_marketplace
from tests.api.server import serving, token
from tests.builders import Clock
from tests.providers import environment, stand_in

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MOST_SUCCEED = {"client": 10, "admin": 15}
EXAMPLES = hypothesis.settings(
    max_examples=5,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def clock() -> Clock:
    """The served process has the real one."""
    return Clock(utc_now())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("caller", ["client", "admin"])
async def test_every_answer_is_one_that_the_document_describes(
    caller: str, confiido: Confiido, uri: str, clock: Clock, tmp_path: Path
) -> None:
    market = await open_marketplace(confiido, clock)
    actor = market.callers[caller]
    assert actor is not None
    answered: dict[str, set[int]] = {}
    wrong: list[str] = []

    with stand_in() as provider, serving(tmp_path, uri, further=environment(provider.base_url)) as server:
        schema = schemathesis.openapi.from_url(f"{server.base}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()
            statuses = answered.setdefault(operation.label, set())
            try:
                _try(operation, market, token(actor), statuses)
            except BaseExceptionGroup as group:
                wrong += [f"{operation.label}: {error}" for error in group.exceptions]

    assert wrong == []
    assert len(answered) > 35
    assert sum(min(statuses) < 300 for statuses in answered.values()) > MOST_SUCCEED[caller]


def _try(operation: Any, market: Marketplace, headers: dict[str, str], statuses: set[int]) -> None:
    @EXAMPLES
    @given(case=operation.as_strategy(), real=st.booleans())
    def check(case: Any, real: bool) -> None:
        if real:
            _name_what_is_there(case, market)
        statuses.add(case.call_and_validate(headers=headers, checks=CHECKS, timeout=20).status_code)

    check()


def _name_what_is_there(case: Any, market: Marketplace) -> None:
    ids = market.ids
    named = {"/services": "service", "/service-sessions": "event"}
    its = next((ids[name] for part, name in named.items() if part in case.path), ids["sessionId"])
    known = {
        **ids,
        "id": its,
        "service_id": ids["service"],
        "user_id": ids["number"],
        "date": "2030-01-01",
        "expertId": ids["grace"],
    }
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            place.update({name: known[name] for name in place if name in known})
