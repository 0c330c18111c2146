"""What a remote job's machine sends while the job runs: what metrics and log grew by, status, closed files.

Works on the run directory on that machine and on a store; starts nothing and decides nothing. Each call may fail
with BackendUnreachable and be made again: nothing is sent twice under another name, and nothing is skipped.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.remote_pieces import (
    LOG,
    METRICS,
    RETURNED,
    STATUS,
    Place,
    Segment,
    Stamp,
    Tree,
    content_of,
    newest_tree,
    plain,
    segment_name,
    segments,
    send,
    stamp,
    stamps,
    tree_name,
)
from pipeline.run_directory import RunDirectory

KEPT_TREES = 2
MANY = 48  # segments after which the oldest are joined, so that listing a long run stays quick
MOST_SEGMENT = 8 << 20  # bytes of one segment


@dataclass
class Stream:
    """A file that only grows, sent as segments. Its first byte is byte `begin` of the stream in the store."""

    path: Path
    name: str
    begin: int
    whole_lines: bool
    sent: list[Segment] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The offset after all that was sent."""
        return self.sent[-1].end if self.sent else self.begin

    def news(self) -> dict[str, bytes]:
        """The next segment by its name, as far as the file is closed; nothing where there is none."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.end - self.begin)
                content = file.read(MOST_SEGMENT)
        except FileNotFoundError:
            return {}
        content = content[: content.rfind(b"\n") + 1] if self.whole_lines else content
        return {segment_name(self.name, self.end): content} if content else {}

    def took(self, news: Mapping[str, bytes]) -> None:
        """Note what has arrived."""
        self.sent += [Segment(name, self.end, len(content)) for name, content in news.items()]

    def join(self, place: Place) -> None:
        """Make one segment of the oldest small ones; whoever reads finds the same bytes at the same offsets."""
        small = [segment for segment in self.sent if segment.size < MOST_SEGMENT // 2]
        if len(small) < MANY:
            return
        old = small[: MANY // 2]
        if [s.offset for s in old[1:]] != [s.end for s in old[:-1]]:
            return  # a large one lies between them
        with self.path.open("rb") as file:
            file.seek(old[0].offset - self.begin)
            content = file.read(old[-1].end - old[0].offset)
        place.store.put({place.name(old[0].name): content})
        place.store.delete(place.name(segment.name) for segment in old[1:])
        at = self.sent.index(old[0])
        self.sent[at : at + len(old)] = [Segment(old[0].name, old[0].offset, len(content))]


class Upload:
    """Sends one run's news. Made anew by a job that was killed and started again, it goes on where that one ended."""

    def __init__(self, place: Place, run: RunDirectory, parcel: Mapping):
        pieces = place.pieces()
        self.place, self.run = place, run
        self.streams = [
            Stream(run.path / "metrics.jsonl", METRICS, _begin(pieces, METRICS, parcel["metrics"]), True),
            Stream(run.log, LOG, _begin(pieces, LOG, parcel["log"]), False),
        ]
        self.number = newest_tree(pieces)
        self._parcel = {digest for digest, _ in parcel["files"].values()}  # a job started anew needs them
        self._stamps: Mapping[str, Stamp] | None = None  # of the tree that was sent last
        self._trees: list[tuple[int, Tree]] = []
        self._status: dict | None = None

    @property
    def offsets(self) -> dict[str, int]:
        """Up to where each stream has been sent."""
        return {stream.name: stream.end for stream in self.streams}

    def send_small(self) -> bool:
        """One segment of each stream that grew, and the status; whether there was anything."""
        news = {stream.name: stream.news() for stream in self.streams}
        status = self.run.status()
        told = {} if status in (None, self._status) else {STATUS: _encoded({**status, "sent": time.time()})}
        pieces = {name: content for found in (*news.values(), told) for name, content in found.items()}
        if not pieces:
            return False
        self.place.store.put({self.place.name(name): content for name, content in pieces.items()})
        self._status = status
        for stream in self.streams:
            stream.took(news[stream.name])
            stream.join(self.place)
        return True

    def send_files(self) -> bool:
        """Everything closed in checkpoints/ and artifacts/, then the tree; False where it changed meanwhile."""
        found = stamps(self.run.path, RETURNED)
        if found == self._stamps:
            return True
        try:
            tree = self._send_held(found)
        except FileNotFoundError:  # the job removed a file
            return False
        if tree is None:
            return False
        self.place.write_json(tree_name(self.number + 1), {"files": plain(tree)})
        self.number, self._stamps = self.number + 1, found
        self._forget(tree)
        return True

    def _send_held(self, found: Mapping[str, Stamp]) -> Tree | None:
        """Send the files as they were found; None where the job wrote in between: they may not belong together."""
        held = self.run.path.parent / "held"
        shutil.rmtree(held, ignore_errors=True)
        for path in found:
            (held / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(self.run.path / path, held / path)  # stays when the job replaces or removes the file
        if stamps(self.run.path, RETURNED) != found:
            return None
        tree = {path: content_of(held / path) for path in found}
        send(self.place, {held / path: file for path, file in tree.items()})
        return tree if all(stamp(held / path) == found[path] for path in found) else None

    def _forget(self, tree: Tree) -> None:
        """Remove what neither this tree nor the one before names: that one may be on its way to the app."""
        self._trees.append((self.number, tree))
        if len(self._trees) <= KEPT_TREES:
            return
        number, old = self._trees.pop(0)
        kept = {file.sha256 for _, other in self._trees for file in other.values()} | self._parcel
        gone = [self.place.blob(file) for file in old.values() if file.sha256 not in kept]
        self.place.store.delete([self.place.name(tree_name(number)), *gone])


def _begin(pieces: Mapping[str, int], stream: str, sent_before: int) -> int:
    """Where this process's own bytes begin: after what the app had, and after what an earlier process sent."""
    return max([sent_before, *(segment.end for segment in segments(pieces, stream))])


def _encoded(value: Mapping) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str).encode()
