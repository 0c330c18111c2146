"""Rounds of the preference trainers' benchmarks: each arm in a process of its own, in turns; medians, table, JSON.

What an arm runs and how it is timed is in `preference_arms.py`; `reward_model.py` and `dpo.py` are the commands. This
process imports no torch, so that a child's peak memory is its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ADJACENT = "adjacent"
PEAK_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "B200": 2250e12}


@dataclass(frozen=True)
class Setting:
    """A kind of trainer, its peer's name, and how many passes it takes."""

    kind: str  # reward, dpo
    name: str
    peer: str
    epochs: int


def parse(setting: Setting) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=f"{setting.name} on rankings: ours beside {setting.peer}.")
    for name, default in {"groups": 12, "rounds": 3, "prompt": 128, "completion": 64, "groups-per-step": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--k", type=int, nargs="+", default=[4, 9], help="completions of a prompt")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=["small", "0.5b", "1b"], default="small", help="of the Llama")
    parser.add_argument("--arithmetic", choices=["fp32", "bf16"], help="fp32 on a CPU, bf16 on CUDA unless told")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peer-attention", default="sdpa", help="the faster one; eager took twice the time on a CPU")
    parser.add_argument("--peer-split", type=int, default=1, help="micro-batches of a step; 1 was the fastest on a CPU")
    parser.add_argument("--without-adjacent", action="store_true", help="leave out the peer on neighbouring pairs only")
    given = parser.parse_args()
    given.arithmetic = given.arithmetic or ("bf16" if given.device == "cuda" else "fp32")
    return given


def run_arm(setting: Setting, given: argparse.Namespace, k: int, arm: str) -> dict:
    """The figures of one arm, measured in a process of its own, with a data set cache of its own."""
    asked = {
        "kind": setting.kind,
        "arm": arm,
        "k": k,
        "epochs": setting.epochs,
        "attention": given.peer_attention,
        "split": given.peer_split,
        **{name: getattr(given, name) for name in ("groups", "prompt", "completion", "groups_per_step", "device")},
        **{name: getattr(given, name) for name in ("size", "arithmetic", "threads")},
    }
    with tempfile.TemporaryDirectory() as cache:
        quiet = {"HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        threads = {"OMP_NUM_THREADS": str(given.threads)}
        command = [sys.executable, "-m", "tests.benchmarks.preference_arms", json.dumps(asked)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet | threads, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arm} at K={k} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def in_turns(setting: Setting, given: argparse.Namespace) -> dict[tuple[int, str], dict]:
    """The median figures of every arm at every K."""
    found: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for turn in range(given.rounds):
        for k in given.k:
            arms = ["ours", "peer"] + [ADJACENT] * (k == given.k[0] and not given.without_adjacent)
            for arm in arms:
                found[k, arm].append(run_arm(setting, given, k, arm))
                print(f"round {turn + 1}, K={k}, {arm}: {found[k, arm][-1]['seconds']:.2f} s", file=sys.stderr)
    return {key: median_of(rounds) for key, rounds in found.items()}


def median_of(rounds: list[dict]) -> dict:
    """The median of each figure; what is text stays."""
    return {
        name: value if isinstance(value, str) else statistics.median(r[name] for r in rounds)
        for name, value in rounds[0].items()
    }


def table(setting: Setting, found: dict[tuple[int, str], dict]) -> str:
    """One line for each arm; on CUDA with the share of the chip's bf16 peak."""
    lines = [
        f"{'K':>2} {'arm':<9}{'groups/s':>10}{'seconds':>9}{'CPU s':>8}{'tokens/s':>10}{'peak MiB':>10}{'of peak':>9}"
    ]
    for (k, arm), f in found.items():
        share = share_of_peak(f)
        lines.append(
            f"{k:>2} {arm:<9}{f['groups_per_s']:>10.2f}{f['seconds']:>9.2f}{f['processor_seconds']:>8.2f}"
            f"{f['tokens_per_s']:>10.0f}{f['peak_bytes'] / 2**20:>10.0f}{'' if share is None else f'{share:.1%}':>9}"
        )
    return "\n".join([f"{setting.name} beside {setting.peer}", *lines])


def share_of_peak(figures: dict) -> float | None:
    """Achieved over possible bf16 operations; None on a CPU or a chip whose peak is not known here."""
    known = [peak for name, peak in PEAK_BF16.items() if name in figures["device"].split()]
    return figures["flops_per_s"] / known[0] if known else None


def told(setting: Setting, given: argparse.Namespace, found: dict[tuple[int, str], dict]) -> dict:
    """The JSON object: ratios of groups per second, ours over the peer's, and of peak memory."""
    first = given.k[0]

    def ratio(k: int, arm: str = "peer", figure: str = "groups_per_s") -> float | None:
        pair = found.get((k, "ours")), found.get((k, arm))
        return round(pair[0][figure] / pair[1][figure], 3) if all(pair) else None

    def of_processor(k: int) -> float:
        return round(found[k, "peer"]["processor_seconds"] / found[k, "ours"]["processor_seconds"], 3)

    return {
        "name": setting.name,
        "ratio": ratio(first),
        "ours": found[first, "ours"]["groups_per_s"],
        "peer": found[first, "peer"]["groups_per_s"],
        "ratio_adjacent": ratio(first, ADJACENT),
        **{f"ratio_k{k}": ratio(k) for k in given.k},
        **{f"processor_ratio_k{k}": of_processor(k) for k in given.k},
        "memory_ratio": ratio(first, figure="peak_bytes"),
        **{f"memory_ratio_k{k}": ratio(k, figure="peak_bytes") for k in given.k},
        "peak_bytes": {f"{arm}_k{k}": figures["peak_bytes"] for (k, arm), figures in found.items()},
        "of_bf16_peak": {f"{arm}_k{k}": share_of_peak(figures) for (k, arm), figures in found.items()},
        "tokens_per_s": {f"{arm}_k{k}": figures["tokens_per_s"] for (k, arm), figures in found.items()},
        "setting": vars(given),
        "load": os.getloadavg()[0],
    }


def compare(setting: Setting) -> None:
    """The whole benchmark."""
    given = parse(setting)
    found = in_turns(setting, given)
    print(table(setting, found))
    print(json.dumps(told(setting, given, found)))
