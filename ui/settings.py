"""The settings as one frozen value, made from a mapping; only `app.py` passes the environment in.

Reads nothing by itself and creates nothing on disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from pipeline.backend import Backends
from pipeline.backends import NAMES, HubAccess, NotConfigured, RayAccess, configured
from pipeline.device_sets import device_sets
from pipeline.services import PROJECT_ROOT

HUB_PROVIDER = "https://huggingface.co"


class InvalidSetting(ValueError):
    """A setting with a value that cannot be used: names it, what was found, and what was expected."""


@dataclass(frozen=True)
class HubApp:
    """What a Space with sign-in knows of itself: the OAuth client that the Hub made for it."""

    client_id: str
    client_secret: str = field(repr=False)
    scopes: str = "openid profile"
    provider: str = HUB_PROVIDER


@dataclass(frozen=True)
class Settings:
    """What hosting decides. secret signs sessions; empty means one kept in the data folder. url is the address
    that people open where it is another than host and port, as behind a proxy. hub_…: who gets which role by
    signing in with Hugging Face, as user names and `org:name`, separated by commas. space: its id, on a Space.

    backend is the usual one. devices, hf_slots and ray_slots name what takes a run at a time, separated by `;`.
    ray_install: yes or no.
    """

    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 7860
    base_model: str = "starter"
    backend: str = "local"
    devices: str = ""
    hf_token: str = field(default="", repr=False)
    hf_namespace: str = ""
    hf_bucket: str = ""
    hf_slots: str = "a10g-small"
    ray: str = ""
    ray_storage: str = ""
    ray_slots: str = "gpu:1"
    ray_token: str = field(default="", repr=False)
    ray_install: str = "no"
    secret: str = field(default="", repr=False)
    url: str = ""
    hub_admins: str = ""
    hub_leads: str = ""
    hub_reviewers: str = ""
    hub_annotators: str = ""
    space: str = field(default="", metadata={"given": False})
    hub_app: HubApp | None = field(default=None, metadata={"given": False})

    def __post_init__(self):
        if self.backend not in NAMES:
            raise InvalidSetting(f"RANKLOOP_BACKEND: found {self.backend!r}, expected {' or '.join(NAMES)}")
        try:
            device_sets(self.devices)
        except ValueError as error:
            raise InvalidSetting(f"RANKLOOP_DEVICES: {error}") from None
        if self.ray_install not in ("yes", "no"):
            raise InvalidSetting(f"RANKLOOP_RAY_INSTALL: found {self.ray_install!r}, expected yes or no")
        for name, needed in _incomplete(self):
            raise InvalidSetting(f"{name}: found nothing, expected a value, because {needed}")
        if not 1 <= self.port <= 65535:
            raise InvalidSetting(f"RANKLOOP_PORT: found {self.port}, expected 1 to 65535")

    @classmethod
    def variables(cls) -> list[str]:
        """The names of the environment variables, in the order of the fields."""
        return [f"RANKLOOP_{name.upper()}" for name in cls.given()]

    @classmethod
    def given(cls) -> list[str]:
        """The fields that have a variable of their own; the others come from what a Space says."""
        return [one.name for one in fields(cls) if one.metadata.get("given", True)]

    @property
    def hub_roles(self) -> dict[str, str]:
        """Role -> the users and organisations listed for it."""
        lists = (self.hub_annotators, self.hub_reviewers, self.hub_leads, self.hub_admins)
        return dict(zip(("annotator", "reviewer", "lead", "admin"), lists, strict=True))

    def backends(self) -> Backends:
        """The configured backends; asks none of them anything. Raises InvalidSetting."""
        hub = HubAccess(self.hf_token, self.hf_namespace, self.hf_bucket, named(self.hf_slots))
        ray = RayAccess(
            self.ray, self.ray_storage, named(self.ray_slots), self.ray_token, install=self.ray_install == "yes"
        )
        used = hub if self.hf_bucket else None, ray if self.ray else None
        try:
            return configured(PROJECT_ROOT, self.backend, device_sets(self.devices), *used)
        except NotConfigured as error:
            raise InvalidSetting(f"backends: {error}") from None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Settings from RANKLOOP_… variables; an unset or empty one gives the default. Raises InvalidSetting.

        On a Hugging Face Space (SPACE_ID, SPACE_HOST) the defaults of host and url are those that it needs.
        """
        given = {
            name: environ.get(variable, "").strip() for name, variable in zip(cls.given(), cls.variables(), strict=True)
        }
        values: dict = {**_of_space(environ), **{name: value for name, value in given.items() if value}}
        for name, variable in (("hf_token", "HF_TOKEN"), ("ray_token", "RAY_AUTH_TOKEN")):
            if token := environ.get(variable, "").strip():
                values.setdefault(name, token)
        if "port" in values:
            if not values["port"].isdecimal():
                raise InvalidSetting(f"RANKLOOP_PORT: found {values['port']!r}, expected a number from 1 to 65535")
            values["port"] = int(values["port"])
        if "data" in values:
            values["data"] = Path(values["data"]).expanduser()
        return cls(**values)


def named(slots: str) -> tuple[str, ...]:
    """The slots of a setting: names separated by `;`."""
    return tuple(name.strip() for name in slots.split(";") if name.strip())


def _incomplete(settings: Settings) -> list[tuple[str, str]]:
    """(variable, why it is needed) of every remote backend that is configured by halves."""
    hub = settings.backend == "hf-jobs" or settings.hf_bucket
    ray = settings.backend == "ray" or settings.ray
    jobs, cluster = "runs may go to Hugging Face Jobs", "runs may go to a Ray cluster"
    wanted = [
        ("RANKLOOP_HF_BUCKET", settings.hf_bucket, hub, jobs),
        ("RANKLOOP_HF_TOKEN or HF_TOKEN", settings.hf_token, hub, jobs),
        ("RANKLOOP_HF_NAMESPACE", settings.hf_namespace, hub, jobs),
        ("RANKLOOP_HF_SLOTS", named(settings.hf_slots), hub, jobs),
        ("RANKLOOP_RAY", settings.ray, ray, cluster),
        ("RANKLOOP_RAY_STORAGE", settings.ray_storage, ray, cluster),
        ("RANKLOOP_RAY_SLOTS", named(settings.ray_slots), ray, cluster),
    ]
    return [(name, why) for name, value, needed, why in wanted if needed and not value]


def _of_space(environ: Mapping[str, str]) -> dict:
    if not environ.get("SPACE_ID"):
        return {}
    host = environ.get("SPACE_HOST", "").split(",")[0].strip()
    known = {"host": "0.0.0.0", "space": environ["SPACE_ID"], **({"url": f"https://{host}"} if host else {})}
    if environ.get("OAUTH_CLIENT_ID") and environ.get("OAUTH_CLIENT_SECRET"):
        given = {
            name: environ[variable]
            for name, variable in (("scopes", "OAUTH_SCOPES"), ("provider", "OPENID_PROVIDER_URL"))
            if environ.get(variable)
        }
        known["hub_app"] = HubApp(environ["OAUTH_CLIENT_ID"], environ["OAUTH_CLIENT_SECRET"], **given)
    return known
