"""PPO on a data-centre GPU: a random Llama-type model, tokens per second and the share of the chip's bf16 peak.

    python -m tests.benchmarks.ppo --device cuda --size 0.5b [--rounds 3] [--episodes 1280] [--no-peer]
    python -m tests.benchmarks.ppo --device cuda --fits 8b

Random weights suffice for speed: next to no completion ends by itself, so all have max_new_tokens on both sides. The
words of the made-up tokenizer are its tokens, so that a text has as many of them for the reward model. `--fits` trains
two rollouts with adapters for policy, critic and reward on one base and says how much memory that took.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from pipeline.adapters import add_adapter
from pipeline.reward import new_reward, save_reward
from tests.benchmarks.ppo_models import CACHE, Models
from tests.benchmarks.ppo_runs import PEER, Setting, gather, middle, run

PROMPT_WORDS, PROMPTS = 128, 2048
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12}  # bf16, dense
LORA = {"lora_rank": 16, "critic": "separate"}


@dataclass(frozen=True)
class Size:
    """The shape of a Llama-type model."""

    width: int
    layers: int
    heads: int
    key_heads: int
    inner: int
    vocabulary: int
    positions: int = 4096

    @property
    def weights(self) -> int:
        """Parameters that every token is multiplied with, the vocabulary's projection among them."""
        attention = self.width * self.width * 2 + 2 * self.width * self.width * self.key_heads // self.heads
        return self.layers * (attention + 3 * self.width * self.inner) + self.width * self.vocabulary


SIZES = {
    "tiny": Size(32, 2, 4, 2, 64, 512, 512),
    "0.5b": Size(1024, 24, 16, 8, 4096, 32_000),
    "1b": Size(2048, 16, 32, 8, 8192, 128_256),
    "8b": Size(4096, 32, 32, 8, 14_336, 128_256),
}


def random_models(name: str, dtype: torch.dtype, adapted: bool = False) -> Models:
    """A random policy of this size and a reward model of the same, made at the first call.

    adapted: the reward model is an adapter on the policy, as LoRA trains it, and shares the policy's base at work.
    """
    size, folder = SIZES[name], CACHE / f"random-{name}{'-adapted' if adapted else ''}"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        tokenizer = words(size.vocabulary)
        torch.manual_seed(0)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # 8 B numbers take minutes on a CPU
        with device:
            model = AutoModelForCausalLM.from_config(config(size, tokenizer), dtype=dtype)
        model.save_pretrained(folder / "policy")
        tokenizer.save_pretrained(folder / "policy")
        del model
        reward = new_reward(folder / "policy", 0, size.positions, device)
        if adapted:
            add_adapter(reward.model, LORA["lora_rank"], 16.0)
        save_reward(reward, folder / "reward")
        (folder / "made").touch()
    draws = random.Random(0)
    prompts = [" ".join(f"w{draws.randrange(9, size.vocabulary)}" for _ in range(PROMPT_WORDS)) for _ in range(PROMPTS)]
    return Models(folder / "policy", folder / "reward", prompts, prompts[:1])


def config(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The model's configuration."""
    return LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        max_position_embeddings=size.positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the words w0, w1, ..., and a pad, an end and a chat template."""
    names = ["<pad>", "<end>", "<unk>", *(f"w{n}" for n in range(3, vocabulary))]
    found = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=found, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return tokenizer


def peak_flops(device: torch.device) -> float:
    """bf16 operations per second of this chip: the maker's figure, else that of a large product measured here."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = [peak for kind, peak in PEAKS.items() if kind in name.replace("-", " ").split()]
    return known[0] if known else _measured_flops(device)


def _measured_flops(device: torch.device, side: int = 1024, times: int = 8) -> float:
    side = 8192 if device.type == "cuda" else side
    one = torch.ones(side, side, dtype=torch.bfloat16, device=device)
    best = 0.0
    for _ in range(times):
        took = _seconds(lambda: one @ one, device)
        best = max(best, 2 * side**3 / took)
    return best


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def useful_flops(size: Size, tokens: int, epochs: int) -> float:
    """Operations that an episode of so many tokens needs: sampling, scoring, reference, old policy, and the passes.

    2 per weight and token forward, 6 forward and backward (Kaplan et al. 2020), attention left out. The same for both
    arms: a second model for the critic, padding and work on ended rows are not useful.
    """
    return size.weights * tokens * (2 * 4 + 6 * epochs)


def speed(given: argparse.Namespace) -> dict:
    """Both arms in bf16: tokens per second, share of the peak, memory."""
    size, device = SIZES[given.size], torch.device(given.device)
    tokens = PROMPT_WORDS + given.max_new_tokens
    base = Setting("", "", "", device=given.device, **_asked(given))
    found, peak = {}, peak_flops(device)
    for arm, results in _gathered(base, given).items():
        per_s = middle(results, "episodes_per_s")
        found[arm] = {
            "episodes_per_s": round(per_s, 2),
            "tokens_per_s": round(per_s * tokens, 1),
            "peak_share": round(per_s * useful_flops(size, tokens, given.epochs) / peak, 4),
            "gpu_mb": round(middle(results, "gpu_mb")),
            "rss_mb": round(middle(results, "rss_mb")),
        }
    ours, peer = found["ours bf16"], found.get("peer bf16")
    ratios = {"ratio": None, "memory_ratio": None}
    if peer:
        memory = "gpu_mb" if device.type == "cuda" else "rss_mb"
        ratios = {"ratio": round(ours["episodes_per_s"] / peer["episodes_per_s"], 2)}
        ratios["memory_ratio"] = round(ours[memory] / peer[memory], 2)
    return {
        "name": "ppo_gpu",
        **ratios,
        "size": given.size,
        "peak_tflops": round(peak / 1e12, 1),
        "ours": ours,
        "peer": peer,
    }


def fits(given: argparse.Namespace) -> dict:
    """Two rollouts with LoRA: whether they fit, and how much memory they took."""
    found = random_models(given.fits, torch.bfloat16, adapted=True)
    asked = _asked(given) | {"episodes": 2 * given.batch_size}
    with tempfile.TemporaryDirectory(prefix="ppo-") as folder:
        setting = Setting(str(found.policy), str(found.reward), "", device=given.device, precision="bf16", **asked)
        one = run("ours", _with(setting, LORA), found, Path(folder))
    there = torch.cuda.get_device_properties(0).total_memory / 2**20 if torch.cuda.is_available() else None
    return {"name": "ppo_fits", "size": given.fits, "gpu_mb": one.gpu_mb, "gpu_total_mb": there, "rss_mb": one.rss_mb}


def _gathered(base: Setting, given: argparse.Namespace) -> dict:
    found = random_models(given.size, torch.bfloat16)
    base = _with(base, {}, policy=str(found.policy), reward=str(found.reward))
    with tempfile.TemporaryDirectory(prefix="ppo-") as folder:
        return gather(base, ["bf16"], given.rounds, not given.no_peer, found, Path(folder))


def _asked(given: argparse.Namespace) -> dict:
    names = ("episodes", "batch_size", "epochs", "max_new_tokens")
    return {name: getattr(given, name) for name in names}


def _with(setting: Setting, more: dict, **fields) -> Setting:
    return replace(setting, more=more, **fields)


def main(given: argparse.Namespace) -> int:
    """Measure, print a table, and the JSON line last."""
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "--device cuda: found no CUDA GPU on this machine; --device cpu --size tiny tries the script out"
        )
    said = fits(given) if given.fits else speed(given)
    for name, value in said.items():
        print(f"{name:<14} {value}")
    print(json.dumps(said | {"peer_version": PEER}))
    return 0


if __name__ == "__main__":
    sys.exit("run python -m tests.benchmarks.ppo --size ...")
