"""PPO on the starter: episodes per second, peak memory, and what was learned, beside TRL's PPOTrainer.

    python -m tests.benchmarks.ppo [--rounds 3] [--episodes 1280] [--attention eager] [--no-peer]
    python -m tests.benchmarks.ppo --ours learning_rate=1.25e-4 value_learning_rate=3e-3       all layers learn
    python -m tests.benchmarks.ppo --critic shared --ours                                      at the peer's rates
    python -m tests.benchmarks.ppo --device cuda --size 0.5b      a random Llama-type model on a GPU (ppo_gpu.py)
    python -m tests.benchmarks.ppo --fits 8b                      whether 8 B with LoRA fits there

Both arms train the same starter against the same reward model (ppo_models.py): one minibatch, the same passes, lengths,
batch, KL coefficient, AdamW; checkpointing off. At equal rates the arms end at other KLs, since their critics differ
(the peer's is the whole reward model): --ours sets options of our arm alone, to compare at one KL. By default ours has
a head on the frozen reward model for a critic and trains the last layer of the policy; the peer trains all of both.
Each run is a process of its own, arms in turns. The peer (TRL 1.12, in an environment of its own) is tried with either
attention in each precision and keeps the fastest. Timed is the median rollout with its updates after the first. What
both learned is measured by one scorer, ours, on fresh samples for held-out prompts.

Prints one JSON object last. ratio: our episodes per second over the peer's best, in bf16 where that is fast here, else
in fp32; ratio_fp32 and ratio_bf16 apart. Exits 1 where the rewards are more than a standard error apart or the KLs more
than a tenth.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from pipeline.configs import CRITICS
from pipeline.precision import bfloat16_is_fast
from tests.benchmarks import ppo_gpu
from tests.benchmarks.ppo_models import made
from tests.benchmarks.ppo_runs import ATTENTION, PEER, Result, Setting, gather, middle
from tests.benchmarks.ppo_scorer import Learned, learned

ASKED = ("device", "episodes", "batch_size", "epochs", "max_new_tokens", "critic", "kl_coefficient")
OURS = ("trained_layers=1", "learning_rate=4.7e-4", "value_learning_rate=3e-3")  # at these it meets the peer's KL
RATES = ("learning_rate", "value_learning_rate")


def summary(results: Sequence[Result], found: Learned) -> dict:
    """The figures of an arm."""
    figures = ("episodes_per_s", "cpu_ms", "rss_mb", "gpu_mb")
    return {name: round(middle(results, name), 2) for name in figures} | {
        name: round(value, 4) for name, value in asdict(found).items()
    }


def compared(ours: dict, peer: dict) -> dict:
    """Whether two arms learned the same: rewards within a standard error of their difference, KLs within a tenth."""
    error = math.hypot(ours["reward_error"], peer["reward_error"])
    return {
        "reward_apart": round(ours["reward"] - peer["reward"], 4),
        "reward_error": round(error, 4),
        "same_reward": ours["reward"] >= peer["reward"] - error,
        "kl_ratio": round(ours["kl"] / peer["kl"], 3),
        "same_kl": abs(ours["kl"] / peer["kl"] - 1) <= 0.1,
    }


def verdict(arms: dict[str, dict], fast: bool) -> dict:
    """The ratios: each precision of ours against the peer's in fp32, and in bf16 against the peer's better one."""
    peers = {name.split()[1]: one for name, one in arms.items() if name.startswith("peer")}
    ours = {name.split()[1]: one for name, one in arms.items() if name.startswith("ours")}
    said: dict = {"ratio": None}
    for precision, one in ours.items() if peers else ():
        rivals = [peer for kind, peer in peers.items() if precision == "bf16" or kind == "fp32"]
        if not rivals:
            continue
        rival = max(rivals, key=lambda peer: peer["episodes_per_s"])
        said[f"ratio_{precision}"] = round(one["episodes_per_s"] / rival["episodes_per_s"], 2)
        said[f"memory_ratio_{precision}"] = round(one["rss_mb"] / min(peer["rss_mb"] for peer in rivals), 2)
        said[f"learned_{precision}"] = compared(one, rival)
    first = "bf16" if fast and "ratio_bf16" in said else "fp32"
    said["ratio"], said["memory_ratio"] = said.get(f"ratio_{first}"), said.get(f"memory_ratio_{first}")
    return said


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=1280)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--value-learning-rate", type=float, default=1e-4)
    parser.add_argument("--kl-coefficient", type=float, default=0.05)
    parser.add_argument("--critic", choices=CRITICS, default="frozen")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--attention", choices=ATTENTION, help="the peer's, instead of trying which is faster")
    parser.add_argument("--measured", type=int, default=1024, help="samples per round that both are measured on")
    parser.add_argument("--ours", nargs="*", default=OURS, metavar="OPTION=VALUE", help="options of our arm alone")
    parser.add_argument("--no-peer", action="store_true", help="leave TRL out")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", choices=tuple(ppo_gpu.SIZES), help="a random model of this size instead")
    parser.add_argument("--fits", choices=tuple(ppo_gpu.SIZES), help="one LoRA rollout at this size: does it fit?")
    return parser.parse_args()


def main() -> int:
    """Measure in turns, print a table, and the JSON line last."""
    given = parse()
    if given.fits or given.size:
        return ppo_gpu.main(given)
    models = made()
    with tempfile.TemporaryDirectory(prefix="ppo-") as folder:
        asked = {name: getattr(given, name) for name in ASKED + RATES}
        more = {name: json.loads(value) for name, value in (one.split("=") for one in given.ours)}
        base = Setting(str(models.policy), str(models.reward), "", **asked, more=more)
        found = gather(base, given.precision, given.rounds, not given.no_peer, models, Path(folder), given.attention)
        arms = {}
        for name, results in found.items():
            scored = learned([one.policy for one in results], models, given.measured, given.max_new_tokens)
            arms[name] = summary(results, scored)
    fast = bfloat16_is_fast(torch.device(given.device))
    said = verdict(arms, fast)
    print(
        f"{given.rounds} rounds of {given.episodes} episodes, batch {given.batch_size}; load {os.getloadavg()[0]:.2f}"
    )
    for figure in next(iter(arms.values())):
        print(f"{figure:<18}", *(f"{one[figure]:>14}" for one in arms.values()))
    print(f"{'':<18}", *(f"{name:>14}" for name in arms))
    ours, peer = ({n: one for n, one in arms.items() if n.startswith(arm)} for arm in ("ours", "peer"))
    print(json.dumps({"name": "ppo", **said, "ours": ours, "peer": peer, "peer_version": PEER}))
    learned_same = [one["same_reward"] and one["same_kl"] for name, one in said.items() if name.startswith("learned")]
    return 0 if all(learned_same) else 1


if __name__ == "__main__":
    sys.exit(main())
