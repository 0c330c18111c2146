"""What a reward model is worth on held-out prompts, with what it has to be measured against.

Accuracy, likelihood and calibration; per annotator, per pair of models, per prompt tag, by length difference;
beside them the rule "the longer one wins" and the annotators' own agreement, which no model can be
expected to pass. Computed from a run's data/ and the scores of its eval groups; it scores nothing itself.

The report's names, all figures None where they are not known:
    held_out               {comparisons, accuracy, nll, ece, temperature}
    longer_wins            {comparisons, accuracy}
    agreement              {pairwise, majority, from}: from "judgements" or "comparisons"
    by_annotator           {person: {comparisons, accuracy, nll}}, needs data/judgements.parquet
    by_source, by_tag      {"model a | model b" or tag: {comparisons, accuracy, nll, longer_wins}}
    by_length_difference   [{from, to, comparisons, accuracy, nll, longer_wins}], tokens, thirds of the pairs
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import calibration
from pipeline.groups import Group, read_rows

JUDGEMENTS = "judgements"


@dataclass(frozen=True)
class Judged:
    """One held-out comparison with the model's margin; longer is tokens of first minus tokens of second."""

    prompt_id: str
    first: int
    second: int
    margin: float
    preference: float
    weight: float
    longer: int


def reward_report(data: Path, groups: Sequence[Group], scores: Sequence[Sequence[float]]) -> dict:
    """The report on eval groups and the scores of their completions [K]."""
    pairs = judged_pairs(groups, scores)
    judgements = held_out_judgements(data, pairs)
    return {
        "held_out": {**_figures(pairs), **_calibration(pairs)},
        "longer_wins": {"comparisons": len(pairs), "accuracy": _longer_wins(pairs)},
        "agreement": _agreement(data, judgements),
        "by_annotator": _by_annotator(judgements),
        "by_source": _split_by(pairs, _sources(data)),
        "by_tag": _split_by(pairs, _tags(data)),
        "by_length_difference": _by_length(pairs),
    }


def judged_pairs(groups: Sequence[Group], scores: Sequence[Sequence[float]]) -> list[Judged]:
    """Every comparison of the groups as a row."""
    return [
        Judged(
            group.prompt_id,
            group.ids[pair.first],
            group.ids[pair.second],
            own[pair.first] - own[pair.second],
            pair.preference,
            pair.weight,
            len(group.completions[pair.first]) - len(group.completions[pair.second]),
        )
        for group, own in zip(groups, scores, strict=True)
        for pair in group.pairs
    ]


# ---- figures
def _columns(pairs: Sequence[Judged], margins: Iterable[float] | None = None) -> tuple[np.ndarray, ...]:
    shown = [p.margin for p in pairs] if margins is None else list(margins)
    return tuple(np.array(c, dtype=float) for c in (shown, [p.preference for p in pairs], [p.weight for p in pairs]))


def _figures(pairs: Sequence[Judged]) -> dict:
    columns = _columns(pairs)
    return {
        "comparisons": len(pairs),
        "accuracy": calibration.accuracy(*columns),
        "nll": calibration.nll(*columns),
    }


def _calibration(pairs: Sequence[Judged]) -> dict:
    columns = _columns(pairs)
    return {
        "ece": calibration.expected_calibration_error(*columns),
        "temperature": calibration.temperature(*columns),
    }


def _longer_wins(pairs: Sequence[Judged]) -> float | None:
    return calibration.accuracy(*_columns(pairs, (p.longer for p in pairs)))


def _part(pairs: Sequence[Judged]) -> dict:
    return {**_figures(pairs), "longer_wins": _longer_wins(pairs)}


def _by_length(pairs: Sequence[Judged]) -> list[dict]:
    """Thirds of the pairs by how far their lengths differ."""
    ordered = sorted(pairs, key=lambda p: abs(p.longer))
    edges = [round(len(ordered) * i / 3) for i in range(4)]
    parts = [ordered[low:high] for low, high in itertools.pairwise(edges) if low < high]
    return [{"from": abs(part[0].longer), "to": abs(part[-1].longer), **_part(part)} for part in parts]


def _split_by(pairs: Sequence[Judged], names_of) -> dict[str, dict]:
    parts: dict[str, list[Judged]] = defaultdict(list)
    for pair in pairs:
        for name in names_of(pair):
            parts[name].append(pair)
    return {name: _part(part) for name, part in sorted(parts.items(), key=lambda item: (-len(item[1]), item[0]))}


# ---- where a comparison comes from
def _sources(data: Path):
    """A function from a pair to the models that wrote it."""
    models = {row["completion_id"]: row["model"] for row in read_rows(data, "completions")}
    return lambda pair: [" | ".join(sorted((str(models[pair.first]), str(models[pair.second]))))]


def _tags(data: Path):
    """A function from a pair to its prompt's tags; prompts without a column of tags have none."""
    tags = {row["prompt_id"]: _listed(row.get("tags")) for row in read_rows(data, "prompts")}
    return lambda pair: tags.get(pair.prompt_id, [])


def _listed(tags: object) -> list[str]:
    found = json.loads(tags) if isinstance(tags, str) and tags else tags or []
    return [str(tag) for tag in found]


# ---- people
def held_out_judgements(data: Path, pairs: Sequence[Judged]) -> list[tuple[str, Judged, float]]:
    """(person, pair, outcome told from the pair's side) of the optional data/judgements.parquet, for these pairs."""
    if not (data / f"{JUDGEMENTS}.parquet").exists():
        return []
    by_ids = {(p.first, p.second): p for p in pairs}
    found = []
    for row in read_rows(data, JUDGEMENTS):
        ids, outcome = (row["first_id"], row["second_id"]), float(row["outcome"])
        if ids not in by_ids:
            ids, outcome = ids[::-1], 1 - outcome
        if ids in by_ids:
            found.append((str(row["person_id"]), by_ids[ids], outcome))
    return found


def _by_annotator(judgements: Sequence[tuple[str, Judged, float]]) -> dict[str, dict]:
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for person, pair, outcome in judgements:
        rows[person].append((pair.margin, outcome))
    found = {}
    for person, told in sorted(rows.items()):
        margins, outcomes = (np.array(column) for column in zip(*told, strict=True))
        columns = margins, outcomes, np.ones(len(told))
        found[person] = {
            "comparisons": len(told),
            "accuracy": calibration.accuracy(*columns),
            "nll": calibration.nll(*columns),
        }
    return found


def _agreement(data: Path, judgements: Sequence[tuple[str, Judged, float]]) -> dict:
    if judgements:
        pairwise, majority = _agreement_of_people(judgements)
        return {"pairwise": pairwise, "majority": majority, "from": "judgements"}
    rows = [row for row in read_rows(data, "comparisons") if row["split"] == "eval"]
    preferences, weights = (np.array([float(row[name]) for row in rows]) for name in ("preference", "weight"))
    annotators = np.array([int(row.get("annotators") or 1) for row in rows], dtype=np.int64)
    pairwise, majority = calibration.agreement_of_pooled(preferences, annotators, weights) or (None, None)
    return {"pairwise": pairwise, "majority": majority, "from": "comparisons"}


def _agreement_of_people(judgements: Sequence[tuple[str, Judged, float]]) -> tuple[float | None, float | None]:
    """Share of two people's judgements of one pair that are equal; of one person's that follow the others' majority."""
    by_pair: dict[tuple[int, int], list[float]] = defaultdict(list)
    for _, pair, outcome in judgements:
        by_pair[pair.first, pair.second].append(outcome)
    same = [a == b for told in by_pair.values() for i, a in enumerate(told) for b in told[:i]]
    followed = []
    for told in (told for told in by_pair.values() if len(told) > 1):
        for outcome in told:
            others = (sum(told) - outcome) / (len(told) - 1)
            if outcome != 0.5:
                followed.append((1 + np.sign(others - 0.5) * np.sign(outcome - 0.5)) / 2)
    return float(np.mean(same)) if same else None, float(np.mean(followed)) if followed else None
