"""Held-out accuracy of a reward model on real preferences, beside "the longer wins" and TF-IDF with a regression.

    python -m tests.benchmarks.preferences TRAIN.jsonl EVAL.jsonl [--seeds 2] [--pretraining 600] [--option epochs=3]

The base has the starter's architecture and is made here: tokenizer and weights learn from the texts of TRAIN alone.
The reward model is trained by `pipeline.reward_model` as a run would be, with prompts of TRAIN held out to choose the
pass; EVAL is only scored. `preference_pairs.py` says what a line holds. scikit-learn is installed once into an
environment of its own, in ~/.cache/rankloop-benchmarks or where RANKLOOP_BENCHMARKS says.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.configs import StarterConfig, make_config, options_of
from pipeline.policy import Policy, save_policy, token_log_probs
from pipeline.precision import pick_device
from pipeline.reward import load_reward, score_texts
from pipeline.reward_model import work
from pipeline.starter import batches, build_model, build_tokenizer, encode, optimizers, rate_at
from tests.benchmarks.label_studio_peer import CACHE
from tests.benchmarks.preference_pairs import Preference, read_preferences, run_of

PEER = Path(__file__).with_name("tf_idf_peer.py")
SCIKIT_LEARN = "scikit-learn==1.8.0"
TRAINED = "reward model"


# ---- the three that are compared: the margin of chosen over rejected of each held-out pair
def longer_wins(held_out: Sequence[Preference]) -> list[float]:
    """By how many characters chosen is longer."""
    return [float(len(p.chosen) - len(p.rejected)) for p in held_out]


def tf_idf(train: Path, held_out: Path) -> list[float]:
    """The peer's margins, from its own environment, made at the first call."""
    python = CACHE / "scikit-learn" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", SCIKIT_LEARN], check=True)
    done = subprocess.run([python, PEER, train, held_out], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{PEER.name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def reward_model(
    folder: Path,
    train: Sequence[Preference],
    held_out: Sequence[Preference],
    steps: int,
    vocabulary: int,
    options: dict,
) -> tuple[list[float], dict]:
    """Margins of a reward model trained on a base trained here, and the run's result."""
    save_base(folder / "base", train, steps, vocabulary, options["seed"])
    run = run_of(folder / "run", folder / "base", train, options)
    result = work(run, run.config())
    reward = load_reward(run.model)
    texts = list({(p.messages, text): (p.chat, text) for p in held_out for text in (p.chosen, p.rejected)}.items())
    scores = dict(zip((key for key, _ in texts), score_texts(reward, [item for _, item in texts]), strict=True))
    return [scores[p.messages, p.chosen] - scores[p.messages, p.rejected] for p in held_out], result


def save_base(folder: Path, train: Sequence[Preference], steps: int, vocabulary: int, seed: int) -> None:
    """The starter's architecture, taught the texts for so many steps by the starter's recipe."""
    torch.manual_seed(seed)
    asked = {p.messages: "\n".join(content for _, content in p.messages) for p in train}
    texts = sorted({(asked[p.messages], text) for p in train for text in (p.chosen, p.rejected)})
    tokenizer = build_tokenizer([text for pair in texts for text in pair], vocabulary)
    options = StarterConfig(seed=seed)
    policy = Policy(build_model(options, tokenizer), tokenizer, pick_device())
    policy.model.to(policy.device)
    data = [(prompt[-256:], completion[:255]) for prompt, completion in encode(tokenizer, texts)]
    learners = optimizers(policy.model, options.learning_rate)
    peaks = [learner.param_groups[0]["lr"] for learner in learners]
    for step, batch in zip(range(steps), batches(data, options.tokens, seed), strict=False):
        (-torch.cat(token_log_probs(policy.model, batch)).mean()).backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        for learner, peak in zip(learners, peaks, strict=True):
            learner.param_groups[0]["lr"] = peak * rate_at(step, steps)
            learner.step()
            learner.zero_grad()
    save_policy(policy, folder)


# ---- the table
def accuracies(margins: Sequence[float], pairs: Sequence[Preference]) -> dict[str, float]:
    """The share of pairs whose chosen side is ahead, by source and of all; equal scores count half."""
    right: dict[str, list[float]] = defaultdict(list)
    for margin, pair in zip(margins, pairs, strict=True):
        for name in (pair.source, "all"):
            right[name].append(0.5 if margin == 0 else float(margin > 0))
    return {name: statistics.fmean(values) for name, values in right.items()}


def table(found: dict[str, list[dict[str, float]]], counts: dict[str, int]) -> str:
    """One line for each source, a column for each of the compared: the mean over seeds and their range."""
    lines = [f"{'source':<42}{'pairs':>6}" + "".join(f"{name:>22}" for name in found)]
    for source, count in counts.items():
        cells = ""
        for runs in found.values():
            values = [100 * run[source] for run in runs]
            spread = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
            cells += f"{statistics.fmean(values):.1f} %{spread}".rjust(22)
        lines.append(f"{source:<42}{count:>6}{cells}")
    return "\n".join(lines)


def main() -> None:
    """Train, score, print the table, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("eval", type=Path)
    for name, default in {"seeds": 2, "first_seed": 0, "pretraining": 600, "vocabulary": 2048, "limit": 0}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--option", action="append", default=[], help="of the reward model, as name=value")
    given = parser.parse_args()
    train, held_out = read_preferences(given.train), read_preferences(given.eval)
    chosen = dict(option.split("=", 1) for option in given.option)
    found = {
        "the longer wins": [accuracies(longer_wins(held_out), held_out)],
        "TF-IDF, regression": [accuracies(tf_idf(given.train, given.eval), held_out)],
        TRAINED: [],
    }
    started, inside = time.monotonic(), []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        options = options_of(make_config("reward", {**chosen, "seed": seed}))
        with tempfile.TemporaryDirectory() as folder:
            pairs = train[: given.limit or None]
            margins, result = reward_model(Path(folder), pairs, held_out, given.pretraining, given.vocabulary, options)
        found[TRAINED].append(accuracies(margins, held_out))
        inside.append(result["metrics"])
    counts = {name: sum(name in (p.source, "all") for p in held_out) for name in found["the longer wins"][0]}
    print(f"{given.seeds} seeds, {time.monotonic() - started:.0f} s; load average {os.getloadavg()[0]:.1f}")
    print(table(found, counts))
    ours, peer = (statistics.fmean(run["all"] for run in found[name]) for name in (TRAINED, "TF-IDF, regression"))
    figures = {"pairs": counts, "accuracy": found, "inside": inside, "options": chosen}
    print(json.dumps({"name": "preferences", "ratio": round(ours / peer, 3), "ours": ours, "peer": peer, **figures}))


if __name__ == "__main__":
    main()
