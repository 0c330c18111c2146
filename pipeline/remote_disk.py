"""Where a remote job works on its machine's disk. Machines of a cluster live on, so what a killed job left goes too."""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

NAMES = "rankloop-job-"
LOCK = "lock"


@contextlib.contextmanager
def working_folder(name: str) -> Iterator[Path]:
    """A folder for this process alone, removed at the end; those whose processes were killed are removed first.

    The kernel holds its lock until the process ends, however it does. One left under the same name is gone on with.
    """
    root = Path(tempfile.gettempdir())
    folder = root / f"{NAMES}{name}"
    with _locked(folder):
        for other in root.glob(f"{NAMES}*"):
            if other != folder:
                _remove_if_left(other)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> TextIO:
    """The folder's lock file, locked; made anew where another process removed the folder in between."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            lock = (folder / LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / LOCK).exists():
                return lock
            lock.close()


def _remove_if_left(folder: Path) -> None:
    """Remove a folder whose process has ended; another user's is left alone."""
    with contextlib.suppress(OSError), (folder / LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
