"""The storage behind the Hub's buckets, as its client `hf_xet` speaks to it: xorbs, shards, reconstructions.

Follows the published Xet protocol: a xorb holds chunks behind headers of 8 bytes, a shard says of which chunks of
which xorbs a file consists, and a reconstruction is that list with addresses and byte ranges. Keeps all in memory.
"""

import struct
from dataclasses import dataclass, field

ENTRY = 48  # bytes of every record of a shard
NO_MORE = b"\xff" * 32
WITH_VERIFICATION, WITH_METADATA = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Term:
    """So many bytes of a file: the chunks from begin to end of a xorb."""

    xorb: str
    size: int
    begin: int
    end: int


@dataclass
class Xet:
    """Everything that was uploaded."""

    xorbs: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, list[Term]] = field(default_factory=dict)

    def add_shard(self, shard: bytes) -> None:
        """Remember the files of a shard."""
        at = ENTRY  # the header
        while shard[at : at + 32] != NO_MORE:
            flags, entries = struct.unpack_from("<II", shard, at + 32)
            name, at = hexadecimal(shard[at : at + 32]), at + ENTRY
            terms = []
            for _ in range(entries):
                size, begin, end = struct.unpack_from("<III", shard, at + 36)
                terms.append(Term(hexadecimal(shard[at : at + 32]), size, begin, end))
                at += ENTRY
            at += ENTRY * (entries * bool(flags & WITH_VERIFICATION) + bool(flags & WITH_METADATA))
            self.files[name] = terms

    def size(self, name: str) -> int:
        return sum(term.size for term in self.files[name])

    def reconstruction(self, name: str, first: int, last: int, url: str) -> dict | None:
        """The chunks that hold the bytes first to last of a file; None for a file without a byte there."""
        terms, fetch, offset, at = [], {}, None, 0
        for term in self.files[name]:
            begin, end, start = self._touched(term, at, first, last)
            at += term.size
            if begin == end:
                continue
            offset = first - start if offset is None else offset
            chunks = self._chunks(term.xorb)
            length = sum(unpacked for _, _, unpacked in chunks[begin:end])
            terms.append({"hash": term.xorb, "unpacked_length": length, "range": {"start": begin, "end": end}})
            bytes_of = {"start": chunks[begin][0], "end": chunks[end - 1][1] - 1}
            found = {"range": {"start": begin, "end": end}, "url": f"{url}/{term.xorb}", "url_range": bytes_of}
            if found not in fetch.setdefault(term.xorb, []):
                fetch[term.xorb].append(found)
        if offset is None:
            return None
        return {"offset_into_first_range": max(0, offset), "terms": terms, "fetch_info": fetch}

    def _touched(self, term: Term, at: int, first: int, last: int) -> tuple[int, int, int]:
        """Which chunks of a term at this byte of its file are needed, and where the first of them begins."""
        begin = end = term.begin
        start = at
        for number in range(term.begin, term.end):
            unpacked = self._chunks(term.xorb)[number][2]
            if at + unpacked <= first:
                begin, start = number + 1, at + unpacked
            if at <= last and at + unpacked > first:
                end = number + 1
            at += unpacked
        return begin, max(begin, end), start

    def _chunks(self, xorb: str) -> list[tuple[int, int, int]]:
        """(first byte, byte after it, size unpacked) of every chunk."""
        content, at, found = self.xorbs[xorb], 0, []
        while at + 8 <= len(content) and content[at] == 0:  # the footer begins with another version
            packed = int.from_bytes(content[at + 1 : at + 4], "little")
            unpacked = int.from_bytes(content[at + 5 : at + 8], "little")
            found.append((at, at + 8 + packed, unpacked))
            at += 8 + packed
        return found


def hexadecimal(digest: bytes) -> str:
    """A hash as the protocol writes it: four little-endian numbers of 64 bits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))
