"""A store from its URI, as a remote job is told it."""

from pipeline.store import FolderStore, Store


def open_store(uri: str) -> Store:
    """Raises ValueError for a URI that is none."""
    return FolderStore(uri)
