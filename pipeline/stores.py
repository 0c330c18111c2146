"""A store from its URI, as a remote job is told it: hf://buckets/… is a bucket, all else is a folder."""

from pipeline.bucket_store import SCHEME, BucketStore
from pipeline.store import FolderStore, Store


def open_store(uri: str) -> Store:
    """Raises ValueError for a URI that is neither."""
    return BucketStore(uri) if uri.startswith(SCHEME) else FolderStore(uri)
