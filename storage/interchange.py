"""Takes import files into a campaign: the good records whole, the bad ones refused with their reason.

JSON Lines, or the same columns as CSV or Parquet (import_tables.py). The file is read as a stream; each batch of
records is one transaction, so a killed import leaves whole batches, and the same import again adds the rest. Exports
are in `pipeline/export.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from os import SEEK_END, SEEK_SET
from pathlib import Path
from typing import BinaryIO

from storage.assignments import Assignments
from storage.campaigns import campaign_by_name, create_campaign
from storage.database import Database
from storage.import_batch import store
from storage.import_records import MAX_LINE_BYTES, ImportRecord, parse_line, parse_record
from storage.import_tables import READERS, NotImportable
from storage.people import find_or_create
from storage.records import Campaign, InvalidRecord, Person

BATCH_RECORDS, BATCH_BYTES = 1_000, 32 * 2**20
SUFFIXES = ("", ".jsonl", ".ndjson", ".json", ".txt", *READERS)
FORMATS = "JSON Lines (.jsonl, one JSON object per line), CSV (.csv) or Parquet (.parquet)"


@dataclass(frozen=True)
class Refusal:
    """Why one line did not go in."""

    line: int
    field: str
    found: str
    expected: str
    message: str


@dataclass(frozen=True)
class ImportReport:
    """What an import added, in numbers; `refused` names every line that did not go in.

    preferences are taken rows with chosen and rejected, rankings those of annotations, checks new known answers.
    """

    campaign: str
    prompts: int = 0
    completions: int = 0
    tasks: int = 0
    preferences: int = 0
    demonstrations: int = 0
    rankings: int = 0
    checks: int = 0
    unchanged: int = 0
    refused: tuple[Refusal, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether anything was taken, or nothing was wrong."""
        names = ("prompts", "completions", "tasks", "preferences", "demonstrations", "rankings", "checks", "unchanged")
        return any(getattr(self, name) for name in names) or not self.refused

    def as_json(self) -> dict:
        """The object that `import --json` prints."""
        return {**asdict(self), "refused": [asdict(refusal) for refusal in self.refused]}


def import_file(
    database: Database,
    pool: Assignments | None,
    file: str | Path | BinaryIO,
    campaign_name: str | None = None,
    with_annotations: bool = False,
    filename: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import a path or an opened binary file into the named campaign, or into one named after the file.

    The campaign is made if it does not exist and a record is good. pool: the database's pool of open tasks, which
    learns of each batch as it is committed; None where nobody is served. filename names an opened file. progress is
    called after each batch with the bytes done and in all (0 if not known). Raises OSError for a file that
    cannot be read and NotImportable for one that is no JSON Lines, CSV or Parquet by its name or its first bytes.
    """
    given = hasattr(file, "read")
    name = Path(str(filename or (getattr(file, "name", "import") if given else file)))
    if name.suffix.lower() not in SUFFIXES:
        raise NotImportable(f"file: found {name.name}, expected {FORMATS}")
    importer = _Import(database, pool, (campaign_name or name.stem).strip() or "import", name.stem or "import")
    with nullcontext(file) if given else Path(file).open("rb") as stream:
        total = _size(stream)
        for batch, done in READERS.get(name.suffix.lower(), _batches)(stream):
            importer.take(batch, with_annotations)
            if progress:
                progress(done, total)
    return importer.report()


class _Import:
    """One running import: the campaign and people it needs, made when first needed, and the sums so far."""

    def __init__(self, database: Database, pool: Assignments | None, campaign_name: str, stem: str):
        self._database, self._pool, self._stem = database, pool, stem
        self._name = campaign_name
        self._campaign = campaign_by_name(database, campaign_name)
        self._people: dict[str, Person] = {}
        self._counts: Counter = Counter()
        self._refused: list[Refusal] = []

    def take(self, lines: list[tuple[int, bytes | dict | InvalidRecord]], with_annotations: bool) -> None:
        """Store the good records of these (number, line or row)s in one transaction."""
        numbers, records = [], []
        for number, line in lines:
            try:
                parse = parse_line if isinstance(line, bytes) else parse_record
                records.append(parse(_readable(line), f"imported:{self._stem}", with_annotations))
                numbers.append(number)
            except InvalidRecord as error:
                self._refuse(number, error)
        if not records:
            return
        campaign, people = self._found_campaign(), self._people_of(records)
        stored = self._database.write(
            lambda cursor: store(cursor, campaign, records, people, self._stem),
            journal=lambda stored: stored.lines,
            tell=lambda stored: stored.news,
        )
        self._counts += stored.counts
        for place, error in stored.refused.items():
            self._refuse(numbers[place], error)

    def report(self) -> ImportReport:
        refused = tuple(sorted(self._refused, key=lambda refusal: refusal.line))
        return ImportReport(self._campaign.name if self._campaign else self._name, **self._counts, refused=refused)

    def _refuse(self, line: int, error: InvalidRecord) -> None:
        message = " ".join(str(error).split())
        self._refused.append(Refusal(line, error.field, error.found, error.expected, message))

    def _found_campaign(self) -> Campaign:
        if self._campaign is None:
            self._campaign = create_campaign(self._database, self._name)
        return self._campaign

    def _people_of(self, records: list[ImportRecord]) -> dict[str, Person]:
        names = dict.fromkeys(annotation.annotator for record in records for annotation in record.annotations)
        if any(record.preference for record in records):
            names[self._stem] = None
        for name in names:
            if name not in self._people:
                self._people[name] = find_or_create(self._database, name, "imported")
        return self._people


def _readable(line: bytes | dict | InvalidRecord) -> bytes | dict:
    """A line or a row; a row whose cells could not be read raises."""
    if isinstance(line, InvalidRecord):
        raise line
    return line


def _size(stream: BinaryIO) -> int:
    try:
        start = stream.tell()
        total = stream.seek(0, SEEK_END)
        stream.seek(start, SEEK_SET)
    except (OSError, AttributeError):
        return 0
    return total


def _batches(stream: BinaryIO) -> Iterator[tuple[list[tuple[int, bytes]], int]]:
    """Lines with their numbers, a batch at a time, and the bytes read so far. Blank lines are passed over."""
    batch, size, done = [], 0, 0
    for number, (line, length) in enumerate(_lines(stream), start=1):
        done += length
        if number == 1 and line.startswith((b"PAR1", b"\x1f\x8b", b"PK\x03\x04")):
            raise NotImportable(f"file: found a Parquet, gzip or zip file under another name, expected {FORMATS}")
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if line.strip():
            batch.append((number, line))
            size += len(line)
        if len(batch) == BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch, done
            batch, size = [], 0
    if batch or done:
        yield batch, done


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Each line and its length; of one that is too long only so much as shows that it is."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        length = len(line)
        while not line.endswith(b"\n") and (rest := stream.readline(MAX_LINE_BYTES)):
            length += len(rest)
            if rest.endswith(b"\n"):
                break
        yield line, length
