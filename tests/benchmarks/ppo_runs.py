"""The runs of the PPO benchmark: either arm in a process of its own, timed by its rollouts, arms in turns.

The peer, TRL's PPOTrainer, lives in an environment of its own (`ppo_peer.py`), with the same torch, transformers,
accelerate and peft as here, so that the trainers differ and nothing else. Needs the network the first time only.
"""

import itertools
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tests.benchmarks.ppo_models import CACHE, ROOT, Models

PEER = "trl==1.12.0"
SAME = ("torch", "transformers", "accelerate", "peft")
ATTENTION = ("sdpa", "eager")
PROBE_ROLLOUTS = 4


@dataclass(frozen=True)
class Setting:
    """One run of one arm, as both scripts read it."""

    policy: str
    reward: str
    out: str
    precision: str = "fp32"
    attention: str = "sdpa"  # the peer's; ours has a rule
    device: str = "cpu"
    seed: int = 0
    episodes: int = 1280
    batch_size: int = 64
    micro_batches: int = 1  # the peer's; ours goes by tokens
    epochs: int = 4
    max_new_tokens: int = 48
    learning_rate: float = 1e-4
    value_learning_rate: float = 1e-4
    kl_coefficient: float = 0.05
    missing_eos_penalty: float = 1.0
    critic: str = "shared"
    more: dict = field(default_factory=dict)  # further options of ours


@dataclass(frozen=True)
class Result:
    """What one run took, and where it left the policy."""

    episodes_per_s: float
    cpu_ms: float  # processor time per episode
    rss_mb: float
    gpu_mb: float
    policy: str


def peer_python() -> Path:
    """The interpreter of the peer's environment, made at the first call. Raises SystemExit with what pip said."""
    python = CACHE / "trl-1.12" / "bin" / "python"
    if not python.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        asked = subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True)
        pins = [line for line in asked.stdout.split() if line.split("==")[0] in SAME]
        done = subprocess.run([python, "-m", "pip", "install", "-q", PEER, *pins], capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(python.parents[1])
            raise SystemExit(f"pip install {PEER}: {done.stderr[-2000:]}")
    return python


def run(arm: str, setting: Setting, models: Models, folder: Path) -> Result:
    """One run in a process of its own. Raises SystemExit with its log where it fails."""
    name = f"{arm}-{setting.precision}-{setting.attention}-{setting.seed}-{setting.episodes}"
    setting = replace(setting, out=str(folder / name))
    prompts = {"texts": models.train, "prompts": models.train_ids}
    spec = folder / f"{name}.json"
    spec.write_text(json.dumps(asdict(setting) | prompts))
    ours = [sys.executable, "-m", "tests.benchmarks.ppo_ours"]
    command = ours if arm == "ours" else [str(peer_python()), str(Path(__file__).with_name("ppo_peer.py"))]
    done = subprocess.run([*command, str(spec)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{arm} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    policy = Path(setting.out) / "artifacts" / "model" if arm == "ours" else Path(setting.out)
    wall, cpu = (typical([mark[which] for mark in said["marks"]], setting) for which in (0, 1))
    return Result(
        setting.batch_size / wall, 1e3 * cpu / setting.batch_size, said["rss_mb"], said["gpu_mb"], str(policy)
    )


def typical(marks: list[float], setting: Setting) -> float:
    """The median time between the ends of two rollouts; the first, which warms up, is left out."""
    laps = [after - before for before, after in itertools.pairwise(marks)]
    return statistics.median(laps[-(setting.episodes // setting.batch_size - 1) :])


def best_attention(setting: Setting, models: Models, folder: Path) -> str:
    """The attention the peer is fastest with in this precision, by processor time of a few rollouts."""
    short = replace(setting, episodes=PROBE_ROLLOUTS * setting.batch_size, seed=99)
    found = {kind: run("peer", replace(short, attention=kind), models, folder).cpu_ms for kind in ATTENTION}
    print(f"peer in {setting.precision}: {found} ms of processor time per episode", file=sys.stderr)
    return min(found, key=found.get)


def gather(
    base: Setting,
    precisions: Sequence[str],
    rounds: int,
    peer: bool,
    models: Models,
    folder: Path,
    attention: str | None = None,
) -> dict[str, list[Result]]:
    """All runs of all arms ("ours fp32", "peer bf16", ...), in turns; a seed per round."""
    arms = [("ours", replace(base, precision=precision)) for precision in precisions]
    for precision in precisions if peer else ():
        setting = replace(base, precision=precision)
        kind = attention or best_attention(setting, models, folder)
        arms.append(("peer", replace(setting, attention=kind)))
    found: dict[str, list[Result]] = {f"{arm} {setting.precision}": [] for arm, setting in arms}
    for number in range(rounds):
        for arm, setting in arms:
            one = run(arm, replace(setting, seed=number), models, folder)
            found[f"{arm} {setting.precision}"].append(one)
            said = f"{one.episodes_per_s:.1f} episodes/s, {one.cpu_ms:.1f} ms of processor, {one.rss_mb:.0f} MB"
            print(f"round {number + 1}, {arm} {setting.precision} ({setting.attention}): {said}", file=sys.stderr)
    return found


def middle(results: Sequence[Result], name: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(one, name) for one in results)
