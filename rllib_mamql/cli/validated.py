"""Mappings of a YAML file as pydantic models: one line says what is wrong, and names the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rllib_mamql.errors import ConfigError, nearest


class Strict(BaseModel):
    """A mapping whose keys are all known, and whose values are of their types."""

    model_config = ConfigDict(extra="forbid", strict=True)


Model = TypeVar("Model", bound=Strict)


def validated(where: str, body: Any, model: type[Model], example: str = "") -> Model:
    """A mapping as a model.

    Args:
        where: The file, and the keys that lead to the mapping, for the error's message.
        body: What was read.
        model: The model, of keys without nested models.
        example: What to write where a key is missing.

    Raises:
        ConfigError: If it is no mapping, a key is unknown or missing, or a value is wrong.
    """
    if not isinstance(body, Mapping):
        raise ConfigError(f"{where} is {body!r}; give a mapping of keys")
    for key in body:
        if key not in model.model_fields:
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(str(key), model.model_fields)}")
    try:
        return model.model_validate(dict(body))
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise ConfigError(f"{where}: key {location!r} is missing; for example '{example}'") from None
        raise ConfigError(f"{where}: {location} is {first['input']!r}; {first['msg'].lower()}") from None
