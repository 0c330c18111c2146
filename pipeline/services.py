"""What pages, verbs and the monitor work with: one data folder, opened once.

Opens and closes; decides nothing. Reads no environment: values come from `app.py`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.backend import Backend, Backends
from pipeline.local_backend import LocalBackend
from pipeline.resources import resources_of
from pipeline.run_directory import RunDirectory
from storage.assignments import Assignments
from storage.database import Database
from storage.records import ModelVersion, Run
from storage.runs import highest_number, number_of

PROJECT_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Heard:
    """What the monitor knows of an unfinished run beside its state: a sentence for people, and for how many seconds
    a job that runs has said nothing (0 = it speaks)."""

    notice: str = ""
    silent: float = 0.0


NOTHING_HEARD = Heard()


@dataclass(eq=False)  # one folder, one Services: it is itself
class Services:
    """The database, the pool of open tasks and the places where jobs run.

    after_run is called by the monitor with every run that has ended; heard is what it says of the others.
    """

    data: Path
    database: Database
    pool: Assignments
    backends: Backends
    base_model: str = "starter"
    project_root: Path = PROJECT_ROOT
    earlier: int = 0  # the number of the newest run there was when the folder was opened
    after_run: list[Callable[[Run], None]] = field(default_factory=list)
    heard: dict[str, Heard] = field(default_factory=dict)

    def is_earlier(self, run: Run) -> bool:
        """Whether another process made the run, before this one opened the folder. No clock is asked: it may jump."""
        return number_of(run.id) <= self.earlier

    def directory(self, run: Run) -> Path:
        """The run's directory as an absolute path."""
        return self.data / run.directory

    def backend_of(self, run: Run) -> Backend:
        """Where the run goes, or went. Raises KeyError where that backend is not configured (any more)."""
        return self.backends.there[self.backend_name(run)]

    def backend_name(self, run: Run) -> str:
        """The name of the backend where the run goes, or went; it may not be configured any more."""
        try:
            return resources_of(RunDirectory(self.directory(run)).config()).backend or self.backends.usual
        except FileNotFoundError:  # still being prepared, or its files were deleted
            return self.backends.usual

    def close(self) -> None:
        """Close the database; running jobs go on."""
        self.database.close()


def location(services: Services, model_version: ModelVersion) -> str:
    """The version's absolute folder where a run made it, else its path or Hub id as registered."""
    if model_version.run_id is None:
        return model_version.path
    return str((services.data / model_version.path).resolve())


def folder_of(services: Services, model_version: ModelVersion) -> Path | None:
    """The version's folder on this machine, None where it is the Hub's or is not there."""
    path = Path(location(services, model_version))
    return path if path.is_absolute() and path.is_dir() else None


def open_services(
    data: Path, base_model: str = "starter", backends: Backends | None = None, lease_seconds: float = 1800
) -> Services:
    """Open (or make) the data folder. Raises storage.database.DatabaseInUse where another process holds it."""
    folder = Path(data).expanduser().resolve()
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    database = Database(folder)
    pool = Assignments(database, lease_seconds=lease_seconds, clock=time.time)
    there = backends or only(LocalBackend(PROJECT_ROOT))
    return Services(folder, database, pool, there, base_model, earlier=highest_number(database))


def only(backend: Backend) -> Backends:
    """One backend, which is the usual one."""
    return Backends({backend.name: backend}, backend.name)
