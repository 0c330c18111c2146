"""What a run is called outside this machine: unique among the data folders that share a storage or a cluster."""

import secrets
from pathlib import Path

FOLDER_ID = ".folder"  # in runs/: tells the jobs of this data folder from those of another


def run_name(directory: Path) -> str:
    """The name of the run in this directory: runs/<folder id>/<directory's name>."""
    return f"runs/{folder_id(directory.parent)}/{directory.name}"


def folder_id(runs: Path) -> str:
    """16 hex digits that this folder of runs keeps, made the first time; they move with the data folder."""
    noted = runs / FOLDER_ID
    if not noted.exists():
        fresh = noted.with_name(f"{FOLDER_ID}.{secrets.token_hex(4)}")
        fresh.write_text(secrets.token_hex(8))
        try:
            noted.hardlink_to(fresh)
        except FileExistsError:
            pass  # another thread was first
        finally:
            fresh.unlink()
    return noted.read_text().strip()
