"""What the user's agents need beside Rubato: packages, what pip installs or an image, environment, secrets by name."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from .tables import Table

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = ("RAY_", "RUBATO_")  # as they begin


def _is_variable(name: str) -> str:
    if not VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of an environment variable")
    if name.startswith(RESERVED) or name == "PYTHONPATH":
        raise ValueError(
            f"{name} is not yours to set here: {', '.join(f'{each}*' for each in RESERVED)} and PYTHONPATH"
        )
    return name


def _is_text(value: str) -> str:
    if "\0" in value:
        raise ValueError("a value of the environment has no zero byte")
    return value


Variable = Annotated[str, AfterValidator(_is_variable)]


class RuntimeTable(Table):
    """What workers and replicas have when they load agents.

    `packages` are folders, each one Python package; `pip` is requirements, or the path of a file with them; both travel
    from here to every node. With `image` workers and replicas run in containers of it, and it has to have all of that.
    `env` is plain; of `secrets` only the names are here, and the values are taken from the environment of who deploys.
    """

    packages: list[str] = Field(default_factory=list)
    pip: list[str] | str = Field(default_factory=list)
    image: str = ""
    env: dict[Variable, Annotated[str, AfterValidator(_is_text)]] = Field(default_factory=dict)
    secrets: list[Variable] = Field(default_factory=list)

    @field_validator("pip")
    @classmethod
    def _are_requirements(cls, pip: list[str] | str) -> list[str] | str:
        for requirement in pip if isinstance(pip, list) else ():
            if not requirement.strip() or requirement.startswith("-") or "\n" in requirement:
                raise ValueError(f"{requirement!r} is not a requirement; options belong into a requirements file")
        return pip

    @model_validator(mode="after")
    def _fits_together(self) -> RuntimeTable:
        inside = [name for name in ("packages", "pip") if getattr(self, name)]
        if self.image and inside:
            raise ValueError(f"image and {' and '.join(inside)} exclude each other: put them into the image")
        both = sorted(self.env.keys() & set(self.secrets))
        if both:
            raise ValueError(f"{', '.join(both)}: in env and in secrets; what is secret must not be in env")
        return self
