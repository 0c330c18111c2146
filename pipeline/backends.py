"""Which backends there are, from plain values: the local one always, the others where their settings are given.

A driver is imported only where it is configured. Asks no backend anything: whether one answers is for `reach`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.backend import Backend, Backends
from pipeline.local_backend import LocalBackend

NAMES = ("local", "hf-jobs", "ray")


class NotConfigured(ValueError):
    """A backend cannot be made of its settings, or the usual one has none: says which."""


@dataclass(frozen=True)
class HubAccess:
    """Hugging Face Jobs: the account that pays, the private bucket that carries files, a flavor per slot."""

    token: str = field(repr=False)
    namespace: str
    bucket: str
    slots: tuple[str, ...]


@dataclass(frozen=True)
class RayAccess:
    """A Ray cluster: the address of its jobs API, the storage that head and workers share, a name per slot.

    token: where the cluster asks for one. install: whether Ray installs what a run needs before its job.
    """

    address: str
    storage: str
    slots: tuple[str, ...]
    token: str = field(default="", repr=False)
    install: bool = False


def configured(
    project_root: Path,
    usual: str = "local",
    devices: Sequence[str] = (),
    hub: HubAccess | None = None,
    ray: RayAccess | None = None,
) -> Backends:
    """The backends that the values mean. Raises NotConfigured where one of them means none."""
    made: list[Backend] = [LocalBackend(project_root, tuple(devices))]
    try:
        if hub is not None:
            from pipeline.hf_jobs import HfJobsBackend  # noqa: PLC0415 - only where it is used

            made.append(HfJobsBackend(hub.token, hub.namespace, hub.bucket, hub.slots))
        if ray is not None:
            from pipeline.ray_jobs import RayBackend  # noqa: PLC0415 - only where it is used

            made.append(RayBackend(ray.address, ray.storage, ray.slots, ray.token, ray.install))
    except ValueError as error:
        raise NotConfigured(str(error)) from None
    there = {backend.name: backend for backend in made}
    if usual not in there:
        raise NotConfigured(f"backend: found {usual!r} without its settings, expected one of {', '.join(there)}")
    return Backends(there, usual)
