"""The settings as one frozen value, made from a mapping; only `app.py` passes the environment in.

Reads nothing by itself and creates nothing on disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BACKENDS = ("local",)


class InvalidSetting(ValueError):
    """A setting with a value that cannot be used: names it, what was found, and what was expected."""


@dataclass(frozen=True)
class Settings:
    """What hosting decides. secret signs sessions; empty means one kept in the data folder. url is the address
    that people open where it is another than host and port, as behind a proxy."""

    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 7860
    base_model: str = "starter"
    backend: str = "local"
    secret: str = ""
    url: str = ""

    def __post_init__(self):
        if self.backend not in BACKENDS:
            raise InvalidSetting(f"RANKLOOP_BACKEND: found {self.backend!r}, expected {' or '.join(BACKENDS)}")
        if not 1 <= self.port <= 65535:
            raise InvalidSetting(f"RANKLOOP_PORT: found {self.port}, expected 1 to 65535")

    @classmethod
    def variables(cls) -> list[str]:
        """The names of the environment variables, in the order of the fields."""
        return [f"RANKLOOP_{name.upper()}" for name in cls.__dataclass_fields__]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Settings from RANKLOOP_… variables; an unset or empty one gives the default. Raises InvalidSetting.

        On a Hugging Face Space (SPACE_ID, SPACE_HOST) the defaults of host and url are those that it needs.
        """
        given = {
            name: environ.get(variable, "").strip()
            for name, variable in zip(cls.__dataclass_fields__, cls.variables(), strict=True)
        }
        values: dict = {**_of_space(environ), **{name: value for name, value in given.items() if value}}
        if "port" in values:
            if not values["port"].isdecimal():
                raise InvalidSetting(f"RANKLOOP_PORT: found {values['port']!r}, expected a number from 1 to 65535")
            values["port"] = int(values["port"])
        if "data" in values:
            values["data"] = Path(values["data"]).expanduser()
        return cls(**values)


def _of_space(environ: Mapping[str, str]) -> dict:
    if not environ.get("SPACE_ID"):
        return {}
    host = environ.get("SPACE_HOST", "")
    return {"host": "0.0.0.0", **({"url": f"https://{host}"} if host else {})}
