"""A model's folder as one zip that is sent while it is made: nothing is copied, and no memory is taken for weights."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastapi.responses import StreamingResponse

PIECE = 1 << 20  # bytes read at once


class Sent:
    """Where the zip is written to: what was not fetched yet; it cannot go back."""

    def __init__(self):
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def fetch(self) -> bytes:
        """What was written since the last time."""
        data, self.waiting = bytes(self.waiting), bytearray()
        return data


def zipped(files: Mapping[str, Path | bytes], folder: str) -> Iterator[bytes]:
    """The files as a zip, below one folder; weights do not compress, so nothing is."""
    sent = Sent()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            with archive.open(f"{folder}/{name}", "w", force_zip64=True) as entry:
                for piece in _pieces(content):
                    entry.write(piece)
                    yield sent.fetch()
    yield sent.fetch()


def zip_answer(files: Mapping[str, Path | bytes], name: str) -> StreamingResponse:
    """The zip as the answer to a request; name is of letters, digits, dots, dashes and underscores."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return StreamingResponse(zipped(files, name), media_type="application/zip", headers=headers)


def _pieces(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
