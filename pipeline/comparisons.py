"""From rankings to comparisons: what each pair of completions of one prompt won, pooled over annotators.

Pure array work on Arrow tables, no SQL and no torch. It does not decide which answers count (storage's
`answer_table` does) and it keeps exact ties; whoever exports or trains decides what to do with them.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.records import Comparison

COMPARISONS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("split", pa.string()),
        ("first_id", pa.int64()),
        ("second_id", pa.int64()),
        ("preference", pa.float64()),
        ("weight", pa.float64()),
        ("margin", pa.float64()),
        ("grade", pa.float64()),
        ("annotators", pa.int64()),
    ]
)


def comparisons(answers: pa.Table, reliability: Mapping[int, float] | None = None) -> pa.Table:
    """Pool rankings into one comparison per pair of completions, first_id < second_id.

    answers: storage's `answer_table`; rows without ranks (all bad) give nothing. reliability weighs people
    by id, 1 for who is not in it. Per pair, over its judgements j with reliability r_j:
    preference = sum r_j o_j / sum r_j with o = 1, 0.5 or 0; weight = sum r_j / pairs of j's task;
    margin = sum r_j (rank of second - rank of first) / sum r_j; grade = the same over the signed margins (-3 to 3,
    positive = first better) of those judgements that were graded, 0 where none was; annotators = distinct people.
    Pairs whose judges all have reliability 0 are left out. Rows are ordered by first_id, second_id.
    Raises ValueError for a negative reliability and for ranks that do not fit their completions.
    """
    judged = judgements(answers)
    trust = _reliabilities(judged["person"], reliability)
    keep = trust > 0
    if not keep.any():
        return COMPARISONS.empty_table()
    judged, trust = {name: column[keep] for name, column in judged.items()}, trust[keep]
    order, starts = _groups(judged["first"], judged["second"])
    judged, trust = {name: column[order] for name, column in judged.items()}, trust[order]
    total = np.add.reduceat(trust, starts)
    outcome = (np.sign(judged["margin"]) + 1.0) / 2.0
    source = answers.select(["prompt_id", "split"]).take(pa.array(judged["answer"][starts]))
    columns = {
        "first_id": judged["first"][starts],
        "second_id": judged["second"][starts],
        "preference": np.add.reduceat(trust * outcome, starts) / total,
        "weight": np.add.reduceat(trust / judged["pairs"], starts),
        "margin": np.add.reduceat(trust * judged["margin"], starts) / total,
        "grade": _mean_grade(judged, trust, starts),
        "annotators": _distinct_in_groups(judged["person"], starts),
    }
    columns |= {name: source[name] for name in source.column_names}
    return pa.table({field.name: columns[field.name] for field in COMPARISONS}).cast(COMPARISONS)


def judgements(answers: pa.Table) -> dict[str, np.ndarray]:
    """Every pair of every ranking as flat arrays of one length, first < second.

    answer: row in `answers`; person; first, second: completion ids; margin: rank of second minus rank of
    first (positive: first is better, 0: tie); grade: 0 to 3, signed like margin, NaN where nobody graded;
    pairs: K (K - 1) / 2 of the ranking it came from.
    """
    blocks = [_pairs_of_block(*block) for block in ranking_blocks(answers)]
    names = ("answer", "person", "first", "second", "margin", "pairs")
    if not blocks:
        return {name: np.zeros(0, dtype=np.int64) for name in names} | {"grade": np.zeros(0)}
    judged = {name: np.concatenate([block[name] for block in blocks]) for name in names}
    return judged | {"grade": _grades(answers)[judged["answer"]] * np.sign(judged["margin"])}


def judged_pairs(answers: pa.Table) -> pa.Table:
    """Every judgement of a pair as a row: prompt_id, person_id, first_id < second_id, outcome (1 first, 0.5 tie, 0).

    What a report per annotator and the annotators' own agreement are made of; people are numbers, not names.
    """
    judged = judgements(answers)
    columns = {
        "prompt_id": answers["prompt_id"].take(pa.array(judged["answer"])),
        "person_id": pa.array(judged["person"], pa.int64()),
        "first_id": pa.array(judged["first"], pa.int64()),
        "second_id": pa.array(judged["second"], pa.int64()),
        "outcome": pa.array((np.sign(judged["margin"]) + 1.0) / 2.0, pa.float64()),
    }
    return pa.table(columns)


def ranking_blocks(answers: pa.Table) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Rankings of one size K at a time: rows (N,), people (N,), completion ids (N, K), ranks (N, K)."""
    rows = np.flatnonzero(pc.is_valid(answers["ranks"]).to_numpy())
    if not len(rows):
        return
    ranked = answers.select(["person_id", "completion_ids", "ranks"]).take(pa.array(rows)).combine_chunks()
    sizes = pc.list_value_length(ranked["completion_ids"]).to_numpy()
    if not np.array_equal(sizes, pc.list_value_length(ranked["ranks"]).to_numpy()):
        raise ValueError("ranks: found a ranking whose ranks do not fit its completions, expected one rank for each")
    people = ranked["person_id"].to_numpy()
    ids = pc.list_flatten(ranked["completion_ids"]).to_numpy()
    ranks = pc.list_flatten(ranked["ranks"]).to_numpy().astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        cells = starts[chosen][:, None] + np.arange(size)
        yield rows[chosen], people[chosen], ids[cells], ranks[cells]


def as_comparisons(table: pa.Table) -> list[Comparison]:
    """The table's rows as records, for small amounts."""
    names = ("prompt_id", "first_id", "second_id", "preference", "weight", "margin", "grade")
    return [Comparison(*row) for row in zip(*(table[name].to_pylist() for name in names), strict=True)]


def _pairs_of_block(rows, people, ids, ranks) -> dict[str, np.ndarray]:
    left, right = np.triu_indices(ids.shape[1], k=1)
    first, second = ids[:, left], ids[:, right]
    margin = ranks[:, right] - ranks[:, left]
    turned = first > second
    count = len(left)
    return {
        "answer": np.repeat(rows, count),
        "person": np.repeat(people, count),
        "first": np.where(turned, second, first).ravel(),
        "second": np.where(turned, first, second).ravel(),
        "margin": np.where(turned, -margin, margin).ravel(),
        "pairs": np.full(len(rows) * count, count, dtype=np.int64),
    }


def _grades(answers: pa.Table) -> np.ndarray:
    """The grade of each answer (N,), NaN where there is none."""
    if "grade" not in answers.column_names:
        return np.full(answers.num_rows, np.nan)
    return pc.fill_null(answers["grade"].cast(pa.float64()), np.nan).to_numpy()


def _mean_grade(judged: Mapping[str, np.ndarray], trust: np.ndarray, starts: np.ndarray) -> np.ndarray:
    graded = ~np.isnan(judged["grade"])
    total = np.add.reduceat(trust * graded, starts)
    summed = np.add.reduceat(np.where(graded, trust * judged["grade"], 0.0), starts)
    return np.divide(summed, total, out=np.zeros(len(starts)), where=total > 0)


def _reliabilities(people: np.ndarray, reliability: Mapping[int, float] | None) -> np.ndarray:
    if not reliability:
        return np.ones(len(people))
    known, where = np.unique(people, return_inverse=True)
    values = np.array([float(reliability.get(int(person), 1.0)) for person in known])
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError(f"reliability: found {values.min()}, expected 0 or more for every person")
    return values[where]


def _groups(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order that puts equal keys together (earlier rows first), and where each group starts in it."""
    order = np.lexsort(keys[::-1])
    changed = np.zeros(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        changed |= key[order][1:] != key[order][:-1]
    return order, np.concatenate([[0], np.flatnonzero(changed) + 1]).astype(np.int64)


def _distinct_in_groups(people: np.ndarray, starts: np.ndarray) -> np.ndarray:
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(people))))
    order = np.lexsort((people, group))
    group, people = group[order], people[order]
    fresh = np.ones(len(people), dtype=bool)
    fresh[1:] = (group[1:] != group[:-1]) | (people[1:] != people[:-1])
    return np.bincount(group[fresh], minlength=len(starts))
