"""What writes the completions of a rollout: our own loop, transformers' continuous batching, or vLLM.

All sample the policy itself: temperature only, no top-k or top-p, the pad id never. Our own loop (`sampling.py`)
works everywhere and repeats with its uniform numbers. The two engines are for CUDA; they get the policy's weights,
adapters folded in, before each rollout, and give the log-probabilities they sampled with, so that PPO can correct
for their other arithmetic. An engine is tried on a few prompts before it is trusted (`differs`).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from pipeline.actor_critic import token_log_probs
from pipeline.adapters import NAME
from pipeline.job import Refused
from pipeline.policy import Policy, packed_hidden
from pipeline.precision import autocast, bfloat16_is_fast
from pipeline.sampling import Sampled, sample

MEMORY = 0.3  # share of the GPU's memory for an engine's cache, beside training
TRIED_PROMPTS, TRIED_TOKENS, MOST_DIFFERENCE = 8, 8, 0.1  # nats per token, on average


class Sampler(Protocol):
    """Writes one completion per prompt (ids), in order."""

    name: str

    def write(
        self, policy: Policy, prompts: Sequence[list[int]], temperature: float, uniform: Tensor, on_progress=None
    ) -> list[Sampled]:
        """uniform [B, tokens] says how long completions may get, and is what they are drawn with, or their seed."""


# ---- ours
class OwnSampler:
    """`sampling.sample`, so many prompts together."""

    name = "own"

    def __init__(self, batch_size: int):
        self.batch_size = batch_size

    def write(
        self,
        policy: Policy,
        prompts: Sequence[list[int]],
        temperature: float,
        uniform: Tensor,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Sampled]:
        """By the uniform numbers themselves."""
        return sample(policy, prompts, uniform.shape[1], temperature, uniform, self.batch_size, on_progress)


# ---- engines
class ContinuousSampler:
    """transformers' continuous batching on a copy of the policy in the fast arithmetic; `blocks` bounds its cache."""

    name = "continuous"

    def __init__(self, policy: Policy, blocks: int | None = None):
        kind = torch.bfloat16 if policy.device.type == "cuda" and bfloat16_is_fast(policy.device) else torch.float32
        config = copy.deepcopy(policy.model.config)  # from_config and the engine write into it
        with policy.device, no_init_weights():  # 8 B numbers that are overwritten take minutes to draw on a CPU
            self.copy = AutoModelForCausalLM.from_config(config, dtype=kind, attn_implementation="sdpa")
        self.copy.tie_weights()
        self.copy = self.copy.eval().requires_grad_(False)
        self.blocks = blocks

    def write(
        self, policy: Policy, prompts: Sequence[list[int]], temperature: float, uniform: Tensor, on_progress=None
    ) -> list[Sampled]:
        """Seeded by the first uniform number; repeats only with the same batch."""
        if not prompts:
            return []
        own = dict(self.copy.named_parameters())
        with torch.no_grad():
            for name, weight in merged_weights(policy.model):
                own[name].copy_(weight)
        bounded = {"num_blocks": self.blocks} if self.blocks else {"max_memory_percent": MEMORY}
        found = self.copy.generate_batch(
            [list(prompt) for prompt in prompts],
            generation_config=_generation(policy, temperature, uniform.shape[1]),
            continuous_batching_config=ContinuousBatchingConfig(
                return_logprobs=True, seed=_seeds(uniform)[0], **bounded
            ),
            warmup=False,
        )
        if len(found) != len(prompts) or any(one.error or not one.generated_tokens for one in found.values()):
            raise Refused("Continuous batching did not finish the completions; set sampler to own.")
        return [_sampled(policy, one.generated_tokens, one.logprobs) for one in found.values()]


class VLLMSampler:
    """vLLM in the same GPU, from a folder that is rewritten with the policy's weights before each rollout."""

    name = "vllm"

    def __init__(self, policy: Policy, folder: Path):
        self.vllm, self.folder, self.engine = import_module("vllm"), folder, None

    def write(
        self, policy: Policy, prompts: Sequence[list[int]], temperature: float, uniform: Tensor, on_progress=None
    ) -> list[Sampled]:
        """Each row seeded by its own first uniform number."""
        if not prompts:
            return []
        self._bring(policy)
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        settings = [self._settings(policy, temperature, uniform.shape[1], seed) for seed in _seeds(uniform)]
        found = [one.outputs[0] for one in self.engine.generate(asked, settings, use_tqdm=False)]
        return [_sampled(policy, list(one.token_ids), _chosen(one)) for one in found]

    def _settings(self, policy: Policy, temperature: float, tokens: int, seed: int):
        never = {} if policy.pad_id in policy.eos_ids else {policy.pad_id: -100.0}
        return self.vllm.SamplingParams(
            max_tokens=tokens,
            temperature=temperature,
            top_p=1.0,
            top_k=-1,
            seed=seed,
            stop_token_ids=list(policy.eos_ids),
            logit_bias=never or None,
            logprobs=0,
            detokenize=False,
        )

    def _bring(self, policy: Policy) -> None:
        """Give the engine the policy's weights; make the engine at the first time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_weights(policy.model, self.folder)
        if self.engine is None:
            policy.model.config.save_pretrained(self.folder)
            policy.model.generation_config.save_pretrained(self.folder)
            policy.tokenizer.save_pretrained(self.folder)
            self.engine = self.vllm.LLM(
                model=str(self.folder),
                dtype="bfloat16" if bfloat16_is_fast(policy.device) else "auto",
                gpu_memory_utilization=MEMORY,
                max_model_len=min(policy.max_length, 32_768),
                logprobs_mode="processed_logprobs",
                generation_config="vllm",
            )
        else:
            self.engine.collective_rpc("reload_weights")
            self.engine.reset_prefix_cache()


def _generation(policy: Policy, temperature: float, tokens: int) -> GenerationConfig:
    never = [] if policy.pad_id in policy.eos_ids else [policy.pad_id]
    return GenerationConfig(
        max_new_tokens=tokens,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        eos_token_id=list(policy.eos_ids),
        pad_token_id=policy.pad_id,
        suppress_tokens=never or None,
    )


def _seeds(uniform: Tensor) -> list[int]:
    return (uniform[:, 0].double() * (2**31 - 1)).long().tolist()


def _sampled(policy: Policy, tokens: list[int], log_probs: list[float] | None) -> Sampled:
    return Sampled(tokens, tokens[-1] in policy.eos_ids, log_probs)


def _chosen(completion) -> list[float]:
    return [given[token].logprob for token, given in zip(completion.token_ids, completion.logprobs, strict=True)]


# ---- the policy's weights, as another program wants them
def merged_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the weights as they are without adapters, each folded into what it adapts; one at a time."""
    layers = dict(model.named_modules())
    for name, weight in model.named_parameters():
        if "lora_" in name:
            continue
        owner, _, kind = name.rpartition(".")
        layer = layers[owner.removesuffix(".base_layer")] if owner.endswith(".base_layer") else None
        adapted = layer is not None and kind == "weight" and NAME in layer.active_adapters
        yield name.replace(".base_layer", ""), weight + layer.get_delta_weight(NAME) if adapted else weight


@torch.no_grad()
def save_weights(model: PreTrainedModel, folder: Path) -> None:
    """Write model.safetensors in bfloat16 where that is fast, else as they are; replaced whole."""
    kind = torch.bfloat16 if bfloat16_is_fast(model.device) else None
    state = {name: weight.detach().to("cpu", kind).contiguous() for name, weight in merged_weights(model)}
    save_file(state, folder / ".unfinished", metadata={"format": "pt"})
    (folder / ".unfinished").replace(folder / "model.safetensors")


# ---- which one
def choose(wanted: str, policy: Policy, batch_size: int, scratch: Path) -> tuple[Sampler, list[str]]:
    """The sampler to use, and what to know about the choice. Raises Refused for one that is asked for and not here.

    auto: on CUDA vLLM where it is installed, else continuous batching, each only where it passes its trial;
    our own everywhere else.
    """
    own = OwnSampler(batch_size)
    if wanted == "own" or (wanted == "auto" and policy.device.type != "cuda"):
        return own, []
    name = wanted if wanted != "auto" else "vllm" if find_spec("vllm") else "continuous"
    problem = _missing(name, policy)
    engine = None
    if not problem:
        engine = VLLMSampler(policy, scratch) if name == "vllm" else ContinuousSampler(policy)
        problem = differs(engine, policy)
    if not problem:
        return engine, []
    if wanted != "auto":
        raise Refused(f"sampler={wanted}: {problem} Set sampler to own.")
    return own, [f"The sampler {name} was not used: {problem}"]


def _missing(name: str, policy: Policy) -> str:
    if name == "vllm" and policy.device.type != "cuda":
        return f"vLLM needs a CUDA GPU, and this run is on {policy.device.type}."
    if name == "vllm" and find_spec("vllm") is None:
        return "the package vllm is not installed (`pip install vllm`)."
    if getattr(policy.model, "is_loaded_in_4bit", False):
        return "a base in 4 bits cannot be handed to it."
    return ""


@torch.no_grad()
def differs(engine: Sampler, policy: Policy, temperature: float = 1.0) -> str:
    """Why an engine cannot be trusted with this policy, as a sentence; empty where it can.

    It writes a few short completions, and its log-probabilities are held against those of the training forward.
    """
    prompts = [[*policy.eos_ids[:1], 1 + i] for i in range(TRIED_PROMPTS)]
    uniform = torch.linspace(0, 0.9, TRIED_PROMPTS)[:, None].expand(-1, TRIED_TOKENS)
    try:
        found = engine.write(policy, prompts, temperature, uniform)
    except Exception as error:  # whatever an engine raises: it is not used, and the reason is told
        return f"it failed on a trial ({type(error).__name__}: {str(error)[:200]})."
    with autocast(policy.device):
        hidden, tokens = packed_hidden(policy.model, [(p, one.tokens) for p, one in zip(prompts, found, strict=True)])
    trained = token_log_probs(policy, hidden, tokens, temperature)
    sampled = torch.tensor([value for one in found for value in one.log_probs or []], device=trained.device)
    if len(sampled) != len(trained):
        return "it gave no log-probabilities."
    away = float((trained - sampled).abs().mean())
    within = away <= MOST_DIFFERENCE
    return "" if within else f"its log-probabilities are {away:.2g} nats per token from those of training."
