"""How models meet MongoDB: camelCase names, and values the store gives back as the types we use."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

from bson import Decimal128
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

_NOT_CAMEL = {"id": "_id", "revision_id": "revision_id"}


def stored_name(attribute: str) -> str:
    """``expert_user_id`` → ``expertUserId``; Beanie's own ``id`` and ``revision_id`` keep their names."""
    return _NOT_CAMEL.get(attribute) or to_camel(attribute)


def _aware(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


Instant = Annotated[datetime, AfterValidator(_aware)]
STORED = ConfigDict(alias_generator=stored_name, populate_by_name=True, arbitrary_types_allowed=True, extra="ignore")


class Embedded(BaseModel):
    """A part of a document."""

    model_config = STORED

    @model_validator(mode="before")
    @classmethod
    def _no_number(cls, value: Any) -> Any:
        """FastAPI reads bodies ``from_attributes``: a Decimal would pass for an object that names nothing."""
        if isinstance(value, Decimal):
            raise ValueError("must be an object")
        return value


def to_mongo(value: Any) -> Any:
    """A model, or anything made of models, as the store keeps it; what is absent is omitted, never null."""
    if isinstance(value, BaseModel):
        return {
            field.alias or name: to_mongo(item)
            for name, field in type(value).model_fields.items()
            if (item := getattr(value, name)) is not None
        }
    if isinstance(value, dict):
        return {key: to_mongo(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [to_mongo(item) for item in value]
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, Enum):
        return value.value
    return value
