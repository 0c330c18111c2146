"""What a full disk means in words, and how a job can still say so: it keeps a little room for its last sentence.

Errors of the system, of torch and of safetensors alike. Frees nothing but its own room. No torch.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SIGNS = (  # the last three are torch's, whose errors have no number
    "no space left",
    "os error 28",
    "disk quota exceeded",
    "file too large",
    "pytorchstreamwriter failed",
    "unexpected pos",
    "iostream error",
)
ROOM = 64 * 1024  # bytes; the last status, the error and the end of the log
NAME = ".room"


def is_full(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that nothing more can be written."""
    return any(_says_full(one) for one in _chain(error))


def advice(folder: Path) -> str:
    """One sentence: what was found, and what to do."""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free / 1024**2
        return (
            f"The disk is full, or a limit on files was reached ({free:,.0f} MiB are free where the run is): make room "
            "and resume the run. It goes on from its last whole checkpoint."
        )
    return "The disk is full: make room and resume the run. It goes on from its last whole checkpoint."


def keep_room(folder: Path) -> None:
    """Take the room, where there is any."""
    with contextlib.suppress(OSError):
        (folder / NAME).write_bytes(os.urandom(ROOM))  # a file system may store zeros in no room at all


def give_room(folder: Path) -> None:
    """Let it be written to."""
    with contextlib.suppress(OSError):
        (folder / NAME).unlink(missing_ok=True)


def _says_full(error: BaseException) -> bool:
    number = error.errno if isinstance(error, OSError) else None
    return number in FULL or any(sign in str(error).lower() for sign in SIGNS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
