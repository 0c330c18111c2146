"""Which model version people prefer: one row per model against its baseline, from comparisons.

Fits Bradley-Terry strengths over comparisons between different models only; two completions of one model say
nothing about it. Reads no database: ids come with their model names.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bradley_terry import Pairs, fit, win_rate


def leaderboard(
    comparisons: pa.Table, model_of: Mapping[int, str], baseline_of: Mapping[str, str | None] | None = None
) -> list[dict]:
    """Rows of a report's `strengths`, strongest first.

    model_of: model name by completion id. baseline_of: the parent of a model version; a model that never met
    its parent, or has none, stands against the model it met most often. Per row: strength is the model's log
    strength above `against` with its 95 % interval low..high (0: equal; sigmoid: chance to be preferred);
    win_rate is the weighted share won when the two met directly, with its interval; comparisons and prompts
    count how often they met. Intervals are clustered by prompt.
    """
    names, pairs = between_models(comparisons, model_of)
    if not names:
        return []
    strengths = fit(pairs)
    meetings = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(meetings, (pairs.first, pairs.second), 1)
    meetings += meetings.T
    order = sorted(range(len(names)), key=lambda item: (-strengths.values[item], names[item]))
    rows = []
    for item in order:
        against = _opponent(names, meetings, item, (baseline_of or {}).get(names[item]))
        rows.append(_row(names, pairs, strengths, item, against))
    return rows


def between_models(comparisons: pa.Table, model_of: Mapping[int, str]) -> tuple[list[str], Pairs]:
    """The comparisons between different models: sorted names of models that met another, and pairs of them."""
    models = np.array(sorted(set(model_of.values())), dtype=object)
    number = {name: place for place, name in enumerate(models)}
    first = _numbers(comparisons["first_id"].to_numpy(), model_of, number)
    second = _numbers(comparisons["second_id"].to_numpy(), model_of, number)
    cluster = pc.dictionary_encode(comparisons["prompt_id"].combine_chunks()).indices.to_numpy(zero_copy_only=False)
    preference, weight = comparisons["preference"].to_numpy(), comparisons["weight"].to_numpy()
    between = first != second
    met = np.unique(np.concatenate([first[between], second[between]]))
    columns = (np.searchsorted(met, first), np.searchsorted(met, second), preference, weight, cluster)
    return list(models[met]), Pairs(len(met), *columns).where(between)


def _numbers(ids: np.ndarray, model_of: Mapping[int, str], number: Mapping[str, int]) -> np.ndarray:
    known, where = np.unique(ids, return_inverse=True)
    try:
        return np.array([number[model_of[int(one)]] for one in known], dtype=np.int64)[where]
    except KeyError as missing:
        raise ValueError(f"model_of: found no model for completion {missing}, expected one for each") from None


def _opponent(names: list[str], meetings: np.ndarray, item: int, parent: str | None) -> int:
    if parent in names and parent != names[item] and meetings[item, names.index(parent)]:
        return names.index(parent)
    return int(meetings[item].argmax())


def _row(names: list[str], pairs: Pairs, strengths, item: int, against: int) -> dict:
    strength, low, high = strengths.difference(item, against)
    ahead = (pairs.first == item) & (pairs.second == against)
    direct = pairs.where(ahead | ((pairs.first == against) & (pairs.second == item)))
    preference = np.where(direct.first == item, direct.preference, 1 - direct.preference)
    rate, rate_low, rate_high = win_rate(preference, direct.weight, direct.cluster)
    return {
        "model": names[item],
        "against": names[against],
        "strength": strength,
        "low": low,
        "high": high,
        "win_rate": rate,
        "win_rate_low": rate_low,
        "win_rate_high": rate_high,
        "comparisons": len(direct.first),
        "prompts": len(np.unique(direct.cluster)),
    }
