"""Sample completions from a policy: our own loop with a key-value cache.

A row ends at any end-of-sequence id of the model; ended rows leave batch and cache when an eighth of
the batch has ended. The pad id is never sampled. Every row has its own uniform numbers, one per token,
drawn before the loop: the same seed gives the same tokens, whatever the batch size, up to rounding in the
model's own arithmetic. No beams, no top-k, no top-p: training needs samples of the policy itself.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from pipeline.plain_steps import PlainSteps, steps_plainly
from pipeline.policy import Policy
from pipeline.precision import autocast
from pipeline.token_cache import PaddingMask, RoomyLayer, cache_for

DROP_SHARE = 8  # ended rows leave when they are one in this many


@dataclass(frozen=True)
class Sampled:
    """One sampled completion: its ids, with the end-of-sequence id where it ended by itself."""

    tokens: list[int]
    ended: bool
    log_probs: list[float] | None = None  # by a sampler whose arithmetic is not that of training


def sample(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int | torch.Generator | torch.Tensor = 0,
    batch_size: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> list[Sampled]:
    """One completion per prompt (lists of ids), in the order given.

    seed is a number, a CPU generator whose state goes on, or the uniform numbers themselves, a row of
    max_new_tokens for each prompt. A prompt is refused with ValueError where it is empty or leaves no position
    for a token; near the model's limit completions are cut short.
    """
    room = _room(policy, prompts, max_new_tokens)
    uniform = seed[:, :room] if isinstance(seed, torch.Tensor) else uniform_numbers(len(prompts), room, seed)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    found: list[Sampled | None] = [None] * len(prompts)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = _Batch(policy, [prompts[i] for i in rows], uniform[rows], temperature)
        for i, tokens in zip(rows, batch.run(), strict=True):
            found[i] = Sampled(tokens, tokens[-1] in policy.eos_ids)
        if on_progress:
            on_progress(start + len(rows))
    return found


def uniform_numbers(rows: int, tokens: int, seed: int | torch.Generator) -> torch.Tensor:
    """What `sample` draws with: [rows, tokens] from 0 to 1; a generator's state goes on."""
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    return torch.rand(rows, tokens, generator=generator)


def decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """The text of sampled ids, without special tokens and with the spacing as it was sampled."""
    return tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _room(policy: Policy, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    longest = max(map(len, prompts), default=0)
    if any(not prompt for prompt in prompts) or longest >= policy.max_length:
        raise ValueError(f"prompts: found one of {longest} tokens, expected 1 to {policy.max_length - 1}")
    return min(max_new_tokens, policy.max_length - longest)


class _Batch:
    """Rows that are sampled together, padded on the left; B shrinks as rows end."""

    def __init__(self, policy: Policy, prompts: list[Sequence[int]], uniform: torch.Tensor, temperature: float):
        self.policy, self.temperature = policy, temperature
        self.uniform = uniform.to(policy.device)  # [B at the start, tokens]
        self.eos = torch.tensor(policy.eos_ids, device=policy.device)
        self.pad = None if policy.pad_id in policy.eos_ids else policy.pad_id
        longest = max(map(len, prompts))
        padded = [[policy.pad_id] * (longest - len(p)) + list(p) for p in prompts]
        self.ids = torch.tensor(padded, device=policy.device)  # [B, T]
        lengths = torch.tensor([len(p) for p in prompts], device=policy.device)
        self.positions = (torch.arange(longest, device=policy.device) - (longest - lengths)[:, None]).clamp(min=0)
        self.length, room = longest, longest + self.uniform.shape[1]
        self.cache = cache_for(policy.model.config, room)
        self.mask = None
        if int(lengths.min()) < longest:  # rows of one length need no mask
            self.mask = PaddingMask(policy.model, longest - lengths, room, self.cache)
        self.steps = PlainSteps(policy.model, self.cache, room) if self._steps_plainly() else None
        self.rows = torch.arange(len(prompts), device=policy.device)  # which row each line of the batch is
        self.ended = torch.zeros(len(prompts), dtype=torch.bool, device=policy.device)

    def _steps_plainly(self) -> bool:
        in_place = all(type(layer) is RoomyLayer for layer in self.cache.layers)  # else a layer has a window
        ready = self.mask is None or self.mask.added is not None
        return in_place and ready and steps_plainly(self.policy.model)

    @torch.inference_mode()
    def run(self) -> list[list[int]]:
        """The sampled ids of each row, its first end-of-sequence id included."""
        count, room = self.uniform.shape
        tokens = torch.full((count, room), int(self.eos[0]), device=self.policy.device)
        for t in range(room):
            chosen = self._choose(self._logits(), self.uniform[self.rows, t])
            tokens[self.rows, t] = chosen
            self.ended |= torch.isin(chosen, self.eos)
            if not self._advance(chosen, last=t + 1 == room):
                break
        return [_until_end(row, self.policy.eos_ids) for row in tokens.tolist()]

    def _logits(self) -> torch.Tensor:
        if self.steps and self.ids.shape[1] == 1 and self.cache.get_seq_length():
            barred = self.mask and self.mask.per_head(self.length, self.cache.layers[0].keys.shape[1])
            return self.steps.logits(self.ids[:, 0], self.positions[:, 0], barred)
        # On a CPU the loop is bound by launches, not by products: bfloat16 gains nothing there, with AMX neither.
        with autocast(self.policy.device) if self.policy.device.type == "cuda" else nullcontext():
            out = self.policy.model(
                input_ids=self.ids,
                attention_mask=self.mask and self.mask.over(self.length, self.ids.shape[1]),
                position_ids=self.positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return out.logits[:, -1].float()  # [B, V]

    def _choose(self, logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        if self.pad is not None:
            logits[:, self.pad] = -torch.inf
        mass = torch.softmax(logits / self.temperature, -1).cumsum(-1)
        # Below the total, so that the first index with more mass than the target is a token of non-zero mass.
        target = uniform.clamp(max=1 - 1e-6) * mass[:, -1]
        return torch.searchsorted(mass, target[:, None], right=True).squeeze(-1)

    def _advance(self, chosen: torch.Tensor, last: bool) -> bool:
        """Make the next step's input of the chosen tokens; False when nothing is left to do."""
        ended = int(self.ended.sum())
        if last or ended == len(self.rows):
            return False
        self.ids, self.positions = chosen[:, None], self.positions[:, -1:] + 1
        self.length += 1
        if ended * DROP_SHARE >= len(self.rows):
            self._keep(torch.nonzero(~self.ended).squeeze(-1))
        return True

    def _keep(self, kept: torch.Tensor) -> None:
        self.cache.batch_select_indices(kept)
        self.rows, self.ended = self.rows[kept], self.ended[kept]
        self.ids, self.positions = self.ids[kept], self.positions[kept]
        if self.mask:
            self.mask.keep(kept)


def _until_end(tokens: list[int], eos_ids: tuple[int, ...]) -> list[int]:
    for n, token in enumerate(tokens):
        if token in eos_ids:
            return tokens[: n + 1]
    return tokens
