"""Experts' profiles in the store."""

import asyncio

from bson import ObjectId

from confiido_booking import Confiido
from confiido_booking.database.store import Store
from confiido_booking.errors import Conflict
from tests.builders import make_expert


async def test_a_user_whose_profile_is_made_five_times_at_once_gets_one(confiido: Confiido, store: Store) -> None:
    user = ObjectId()

    outcomes = await asyncio.gather(*(make_expert(confiido, user_id=user) for _ in range(5)), return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(each) for each in refused] == [Conflict] * 4
    assert await store.count("count", "experts", {"userId": user}) == 1
