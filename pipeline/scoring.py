"""Score a campaign's completions with a reward model: `python -m pipeline.scoring RUN_DIRECTORY`.

Raw and normalised score of every completion go to artifacts/scores/ as closed Parquet pieces; a job started again on
its directory goes on after the last one. Metrics are over normalised scores, in standard deviations from the reward
model's reference samples. It is the model's opinion, not people's, and trains nothing.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from pipeline.configs import ScoreConfig, make_config
from pipeline.groups import read_prompts, read_rows
from pipeline.job import Cancelled, Progress, Refused, main
from pipeline.reward import Reward, load_reward, normalised, score_texts
from pipeline.run_directory import RunDirectory

FOLDER, PIECE = "scores", 256  # completions of a piece
MOST_MODELS = 50  # told by name in the metrics
SCHEMA = pa.schema(
    [
        ("completion_id", pa.int64()),
        ("prompt_id", pa.string()),
        ("model", pa.string()),
        ("score", pa.float64()),
        ("normalised", pa.float64()),
    ]
)


def work(run: RunDirectory, config: dict) -> dict:
    """Score piece by piece. Raises Refused without completions or for scores that are not finite."""
    options: ScoreConfig = make_config("score", config.get("options"))
    model = config["models"]["reward"]
    rows = _rows(run.data, options.completions)
    reward, prompts = load_reward(model["path"], model.get("device")), read_prompts(run.data)
    folder, progress = run.artifacts / FOLDER, Progress(run, len(rows))
    folder.mkdir(exist_ok=True)
    tables = []
    for number, start in enumerate(range(0, len(rows), PIECE)):
        path = folder / f"part-{number:05d}.parquet"
        if not path.exists():
            if progress.cancelled:
                raise Cancelled(f"stopped after {start} of {len(rows)} completions; their scores are kept")
            _close(_scored(reward, prompts, rows[start : start + PIECE]), path)
        tables.append(parquet.read_table(path))
        done = start + len(tables[-1])
        progress.step(done, f"{done} of {len(rows)} completions")
        run.append_metrics(done, {"reward/mean": _mean(tables[-1]["normalised"].to_pylist())[0]})
    return {"metrics": measure(pa.concat_tables(tables)), "sizes": {"completions": len(rows), "parts": len(tables)}}


def measure(table: pa.Table) -> dict[str, float | None]:
    """reward/mean with its standard error over all completions, and reward/mean/MODEL, best first."""
    by_model: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(table["model"].to_pylist(), table["normalised"].to_pylist(), strict=True):
        by_model[name].append(value)
    means = sorted(((name, _mean(values)[0]) for name, values in by_model.items()), key=lambda one: -one[1])
    mean, error = _mean(table["normalised"].to_pylist())
    told = {f"reward/mean/{name}": value for name, value in means[:MOST_MODELS]}
    return {"reward/mean": mean, "reward/standard_error": error, **told}


def _rows(data: Path, count: int) -> list[dict]:
    """The first `count` completions (0 = all), those of a prompt together, so that they share it."""
    rows = sorted(read_rows(data, "completions"), key=lambda row: (row["prompt_id"], row["completion_id"]))
    if not rows:
        raise Refused("There are no completions to score; import or generate some first.")
    return rows[:count] if count else rows


def _scored(reward: Reward, prompts: dict[str, list[dict]], rows: Sequence[dict]) -> pa.Table:
    scores = score_texts(reward, [(prompts[row["prompt_id"]], row["text"]) for row in rows])
    if not all(map(math.isfinite, scores)):
        raise Refused("The reward model gave a score that is not a finite number; train it again.")
    told = zip(rows, scores, normalised(reward, scores), strict=True)
    names = ("completion_id", "prompt_id", "model")
    found = [{**{n: row[n] for n in names}, "score": score, "normalised": scaled} for row, score, scaled in told]
    return pa.Table.from_pylist(found, SCHEMA)


def _close(table: pa.Table, path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    parquet.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


if __name__ == "__main__":
    main(work)
