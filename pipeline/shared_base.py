"""Several policies to sample from with each base in memory once: adapters on one base are switched, not reloaded.

A comparison is mostly an adapter against its own base, or two adapters of one base. Shelf.get gives each as a
`Seat`, whose `meanwhile` brings the policy up; outside of it the base's first adapter answers. For sampling
and scoring only: nothing here is trained, and one seat is used at a time.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters import NAME, load_adapter
from pipeline.model_files import base_of
from pipeline.policy import Policy, with_tokenizer
from pipeline.roles import in_use

Load = Callable[[str | Path, str | None], Policy]  # from path and device


@dataclass(frozen=True)
class Seat:
    """A policy on a base that others may share; it answers as itself only within `meanwhile()`."""

    policy: Policy
    meanwhile: Callable[[], AbstractContextManager] = nullcontext


class Shelf:
    """Policies by path; load is called once for each base."""

    def __init__(self, load: Load):
        self.load = load
        self.bases: dict[tuple[str, str | None], Policy] = {}
        self.adapters: dict[tuple[str, str | None], dict[str, str]] = {}  # base -> adapter's path -> its name there

    def get(self, path: str | Path, device: str | None = None) -> Seat:
        """The policy at a folder or Hub id, loaded now if it was not asked for before.

        Raises what load raises, FileNotFoundError for an adapter without its base, Refused for one of another model.
        """
        base, place = base_of(path), _same_place(path)
        key = _same_place(base or path), device
        if key not in self.bases:
            self.bases[key], self.adapters[key] = self.load(path, device), {place: NAME} if base else {}
        policy, names = self.bases[key], self.adapters[key]
        if base and place not in names:
            names[place] = NAME if not names else f"{NAME}-{len(names) + 1}"
            load_adapter(policy.model, path, names[place])
            policy.model.eval()
        own = with_tokenizer(policy.model, path, policy.device)
        return Seat(own, lambda: in_use(own.model, names[place] if base else None))


def _same_place(path: str | Path) -> str:
    """One spelling of a folder; a Hub id stays as it is."""
    return str(Path(path).resolve()) if Path(path).is_dir() else str(path)
