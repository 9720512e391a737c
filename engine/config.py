"""The base of every configuration: frozen, and unknown keys are errors."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.errors import ConfigError


class FrozenConfig(BaseModel):
    """A frozen pydantic model that refuses unknown keys and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file.

        Raises
        ------
        ConfigError
            If the file cannot be read, is no TOML, or holds unknown keys or impossible values.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(
                f"{path} cannot be read as a TOML configuration: {error}",
                hint="Check the path and the syntax.",
                code="config.unreadable",
            ) from error
        except ValidationError as error:
            raise ConfigError(
                f"{path} is not a valid configuration: {describe_validation(error)}",
                hint="Correct or remove the keys named.",
                code="config.invalid",
            ) from error


def describe_validation(error: ValidationError) -> str:
    """Put a pydantic error in one line: ``key: reason; key: reason``, without the values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}" for item in error.errors()
    )
