"""What is sold, and what it was when it was sold (issue 7; SPEC 9; seed 4.20)."""

import asyncio
from decimal import Decimal

import pytest
from bson import ObjectId
from pydantic import ValidationError

from confiido_booking import Actor, Confiido, Expert, Invalid, NotAllowed, NotFound
from confiido_booking.catalog.models import Service, ServiceType
from confiido_booking.catalog.service import ServiceFilter, ServiceInput
from tests.builders import a_client, an_admin, an_expert, make_expert


def wanted(**fields: object) -> ServiceInput:
    known = {"service_type": "workshop", "name": "Breathing", "price_cents": 50000, "currency": "INR", "duration": 60}
    return ServiceInput.model_validate({**known, "max_participants": 25, **fields})


async def sold_by(confiido: Confiido, expert: Expert, **fields: object) -> Service:
    return await confiido.catalog.create(actor=an_expert(expert), service=wanted(**fields))


@pytest.fixture
async def grace(confiido: Confiido) -> Expert:
    return await make_expert(confiido)


@pytest.mark.parametrize("kind", ["individual", "workshop", "course"])
async def test_an_expert_offers_the_own_service(confiido: Confiido, grace: Expert, kind: str) -> None:
    made = await sold_by(confiido, grace, service_type=kind, max_participants=None)

    shown = await confiido.catalog.get(made.id or ObjectId())

    assert (shown.service_type, shown.price, shown.version) == (kind, Decimal("500.00"), 1)
    assert shown.expert_id == grace.id


@pytest.mark.parametrize(
    ("currency", "cents", "price"), [("JPY", 500, "500"), ("KWD", 1250, "1.250"), ("INR", 1, "0.01")]
)
async def test_minor_units_are_the_currencys_own(
    confiido: Confiido, grace: Expert, currency: str, cents: int, price: str
) -> None:
    made = await sold_by(confiido, grace, currency=currency, price_cents=cents)

    assert (await confiido.catalog.get(made.id or ObjectId())).price == Decimal(price)


async def test_a_package_and_a_bundle_name_what_they_give(confiido: Confiido, grace: Expert) -> None:
    yoga = await sold_by(confiido, grace)
    advice = await sold_by(confiido, grace, service_type="individual", name="Advice", max_participants=1)
    children = [{"service_id": yoga.id, "quantity": 2}, {"service_id": advice.id, "quantity": 3}]

    package = await sold_by(
        confiido, grace, service_type="package", name="Start", children=children, duration=None, max_participants=None
    )
    bundle = await sold_by(confiido, grace, service_type="bundle", name="Pass", children=children[:1], validity_days=90)

    assert [child.quantity for child in package.children] == [2, 3]
    assert (bundle.children[0].service_id, bundle.validity_days, bundle.on_expiry) == (yoga.id, 90, "forfeit")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"service_type": "package", "children": []}, "invalid_input"),
        ({"service_type": "bundle", "children": ["yoga", "advice"]}, "invalid_input"),
        ({"service_type": "package", "children": ["course"]}, "invalid_child"),
        ({"service_type": "package", "children": ["yoga", "yoga"]}, "invalid_child"),
        ({"service_type": "package", "children": ["kens"]}, "invalid_child"),
        ({"service_type": "package", "children": ["nothing"]}, "unknown_child"),
        ({"service_type": "package", "children": ["gone"]}, "unknown_child"),
        ({"service_type": "package", "children": ["yoga", "euro"]}, "mixed_currency"),
        ({"service_type": "package", "children": ["yoga"], "currency": "EUR"}, "mixed_currency"),
        ({"service_type": "workshop", "children": ["yoga"]}, "invalid_input"),
        ({"service_type": "individual", "max_participants": 2}, "invalid_input"),
        ({"duration": None}, "invalid_input"),
        ({"duration": 4}, "invalid_input"),
        ({"duration": 1441}, "invalid_input"),
        ({"max_participants": 0}, "invalid_input"),
        ({"max_participants": 2001}, "invalid_input"),
        ({"currency": "XXX"}, "invalid_currency"),
        ({"currency": "INR", "price_cents": 10**15}, "invalid_amount"),
        ({"name": "  "}, "invalid_input"),
        ({"name": "a\0b"}, "invalid_input"),
        ({"name": None}, "invalid_input"),
        ({"price_cents": None}, "invalid_input"),
    ],
)
async def test_what_no_service_can_be_is_refused_and_leaves_nothing(
    confiido: Confiido, grace: Expert, fields: dict[str, object], code: str
) -> None:
    named = {
        "yoga": (await sold_by(confiido, grace)).id,
        "advice": (await sold_by(confiido, grace, name="Advice")).id,
        "course": (await sold_by(confiido, grace, service_type="course")).id,
        "kens": (await sold_by(confiido, await make_expert(confiido))).id,
        "euro": (await sold_by(confiido, grace, currency="EUR")).id,
        "gone": (await sold_by(confiido, grace, is_active=False)).id,
        "nothing": ObjectId(),
    }
    if isinstance(fields.get("children"), list):
        fields = {**fields, "children": [{"service_id": named[name], "quantity": 1} for name in fields["children"]]}  # type: ignore[attr-defined]

    with pytest.raises(Invalid) as refused:
        await sold_by(confiido, grace, **fields)

    assert refused.value.code == code
    assert await confiido.store.count("count", "services", {}) == 6


@pytest.mark.parametrize(
    "fields",
    [
        {"price_cents": -1},
        {"price_cents": True},
        {"price_cents": 10.5},
        {"service_type": "party"},
        {"children": [{"service_id": {"$ne": None}, "quantity": 1}]},
        {"children": [{"service_id": str(ObjectId()), "quantity": True}]},
        {"validity_days": 0},
        {"on_expiry": "burn"},
        {"name": "n" * 201},
    ],
)
def test_what_cannot_be_read_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        wanted(**fields)


async def test_what_was_sold_stays_what_it_was(confiido: Confiido, grace: Expert) -> None:
    service = await sold_by(confiido, grace)
    key = service.id or ObjectId()

    dearer = await confiido.catalog.update(key, actor=an_expert(grace), changes=ServiceInput(price_cents=60000))
    renamed = await confiido.catalog.update(key, actor=an_admin(), changes=ServiceInput(name="Breath"))

    assert (dearer.version, renamed.version) == (2, 3)
    versions = [await confiido.catalog.version(key, number) for number in (1, 2, 3)]
    assert [(each.name, each.price) for each in versions] == [
        ("Breathing", Decimal("500.00")),
        ("Breathing", Decimal("600.00")),
        ("Breath", Decimal("600.00")),
    ]
    with pytest.raises(NotFound):
        await confiido.catalog.version(key, 4)


async def test_changes_at_once_each_make_a_version_and_none_is_lost(confiido: Confiido, grace: Expert) -> None:
    service = await sold_by(confiido, grace)
    key = service.id or ObjectId()
    changes = [ServiceInput(description="Slow"), ServiceInput(category="Health"), ServiceInput(max_participants=30)]

    await asyncio.gather(*(confiido.catalog.update(key, actor=an_admin(), changes=change) for change in changes))

    after = await confiido.catalog.get(key)
    assert (after.description, after.category, after.max_participants, after.version) == ("Slow", "Health", 30, 4)
    assert [(await confiido.catalog.version(key, number)).version for number in (1, 2, 3, 4)] == [1, 2, 3, 4]


async def test_a_field_can_be_taken_away_and_a_repeated_change_changes_nothing(
    confiido: Confiido, grace: Expert
) -> None:
    service = await sold_by(confiido, grace, category="Health")
    key, none = service.id or ObjectId(), ServiceInput(category=None)

    first = await confiido.catalog.update(key, actor=an_admin(), changes=none)
    again = await confiido.catalog.update(key, actor=an_admin(), changes=none)

    assert (first.category, first.version, again.version) == (None, 2, 2)
    assert (await confiido.catalog.get(key)).category is None


async def test_a_service_that_is_part_of_another_keeps_the_currency(confiido: Confiido, grace: Expert) -> None:
    yoga = await sold_by(confiido, grace)
    children = [{"service_id": yoga.id, "quantity": 10}]
    await sold_by(confiido, grace, service_type="bundle", children=children)

    with pytest.raises(Invalid) as refused:
        await confiido.catalog.update(yoga.id or ObjectId(), actor=an_admin(), changes=ServiceInput(currency="EUR"))

    assert refused.value.code == "mixed_currency"
    assert (await confiido.catalog.get(yoga.id or ObjectId())).currency == "INR"


async def test_the_kind_of_a_service_is_fixed(confiido: Confiido, grace: Expert) -> None:
    service = await sold_by(confiido, grace)
    changes = ServiceInput(service_type=ServiceType.COURSE)

    with pytest.raises(Invalid) as refused:
        await confiido.catalog.update(service.id or ObjectId(), actor=an_admin(), changes=changes)

    assert refused.value.code == "service_type_fixed"


async def test_what_is_off_sale_or_private_is_seen_by_who_runs_it(confiido: Confiido, grace: Expert) -> None:
    private = await sold_by(confiido, grace, name="Private", visibility="private")
    gone = await sold_by(confiido, grace, name="Gone")
    await sold_by(confiido, grace, name="On sale")
    ken, key = await make_expert(confiido), private.id or ObjectId()
    assert (await confiido.catalog.deactivate(gone.id or ObjectId(), actor=an_expert(grace))).version == 1
    callers: dict[str, Actor | None] = {
        "nobody": None, "client": a_client(), "other": an_expert(ken), "own": an_expert(grace), "admin": an_admin()
    }  # fmt: skip

    counted = {name: (await confiido.catalog.list(actor=actor)).total for name, actor in callers.items()}

    assert counted == {"nobody": 1, "client": 1, "other": 1, "own": 3, "admin": 3}
    for name, actor in callers.items():
        if name in ("own", "admin"):
            assert (await confiido.catalog.get(key, actor=actor)).name == "Private"
        else:
            with pytest.raises(NotFound):
                await confiido.catalog.get(key, actor=actor)


async def test_only_who_runs_a_service_changes_it(confiido: Confiido, grace: Expert) -> None:
    service = await sold_by(confiido, grace)
    ken = await make_expert(confiido)
    key, changes = service.id or ObjectId(), ServiceInput(price_cents=1)

    for actor in (a_client(), an_expert(ken)):
        with pytest.raises(NotAllowed):
            await confiido.catalog.update(key, actor=actor, changes=changes)
    with pytest.raises(NotAllowed):
        await confiido.catalog.create(actor=a_client(), service=wanted())
    with pytest.raises(NotAllowed):
        await confiido.catalog.create(actor=an_expert(ken), service=wanted(expert=str(grace.id)))
    with pytest.raises(Invalid):
        await confiido.catalog.create(actor=an_admin(), service=wanted())

    assert (await confiido.catalog.get(key)).price == Decimal("500.00")


async def test_a_repeated_creation_makes_one_service(confiido: Confiido, grace: Expert) -> None:
    made = [
        await confiido.catalog.create(actor=an_expert(grace), service=wanted(), request_key="one") for _ in range(2)
    ]

    assert made[0].id == made[1].id
    assert (await confiido.catalog.list()).total == 1


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (ServiceFilter(q="breath"), ["Breathing"]),
        (ServiceFilter(q=".*"), []),
        (ServiceFilter(q="health"), ["Breathing", "Yoga"]),
        (ServiceFilter(category="Health"), ["Breathing", "Yoga"]),
        (ServiceFilter(service_type=ServiceType.COURSE), ["Yoga"]),
        (ServiceFilter(expert_id=ObjectId()), []),
        (ServiceFilter(), ["Breathing", "Cooking", "Yoga"]),
    ],
)
async def test_the_public_finds_services(
    confiido: Confiido, grace: Expert, filters: ServiceFilter, names: list[str]
) -> None:
    await sold_by(confiido, grace, category="Health")
    await sold_by(confiido, grace, name="Yoga", service_type="course", category="Health")
    await sold_by(confiido, grace, name="Cooking")

    found = await confiido.catalog.list(filters=filters)

    assert [service.name for service in found.services] == names
    assert found.total == len(names)
