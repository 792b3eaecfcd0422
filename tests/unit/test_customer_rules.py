"""Who is who, without a database."""

import pytest
from bson import ObjectId

from confiido_booking import Conflict, Invalid
from confiido_booking.customers import rules
from confiido_booking.migration.coercions import same_email
from confiido_booking.migration.options import derived_id


@pytest.mark.parametrize("email", ["Ada@Example.org", " ada@example.ORG ", "ADA@EXAMPLE.ORG\t"])
def test_addresses_are_compared_trimmed_and_casefolded(email: str) -> None:
    assert rules.email_key(rules.address(email)) == "ada@example.org"


@pytest.mark.parametrize(
    "email", ["", " ", "ada", "@example.org", "ada@", "a b@example.org", "Ada <ada@example.org>", "ada@example.org\0",
              "ada@exa\nmple.org", "\ud800@example.org", "a" * 255 + "@example.org", '{"$ne": null}']
)  # fmt: skip
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.address(email)

    assert refused.value.code == "invalid_email"


def test_the_provisional_client_of_an_address_is_whom_a_migration_knew_by_it() -> None:
    assert rules.provisional_id("ada@example.org") == derived_id("client-email", same_email(" Ada@example.org"))


def test_of_one_address_whoever_signed_in_comes_before_the_provisional_user() -> None:
    settled, provisional = {"_id": ObjectId()}, {"_id": ObjectId(), "provisional": True}

    assert rules.choose([]) is None
    assert rules.choose([provisional]) == provisional
    assert rules.choose([provisional, settled]) == settled


def test_an_address_of_several_persons_names_nobody() -> None:
    users = [{"_id": ObjectId()}, {"_id": ObjectId()}]

    with pytest.raises(Conflict) as refused:
        rules.choose(users)

    assert refused.value.code == "several_clients"
    assert refused.value.details == {"clientIds": sorted(str(user["_id"]) for user in users)}
