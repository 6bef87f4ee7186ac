"""What every table of the settings is: a frozen record in which an unknown key is a problem."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """One table of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
