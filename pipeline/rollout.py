"""One rollout of PPO: completions sampled, scored as text, and turned into advantages and returns.

Rows stay ragged: one 1-D tensor per completion, so nothing is padded but inside a micro-batch and the recursion of
the advantages. Several processes share the sampling, the scoring and the forwards, and each then holds the whole
rollout, so that advantages are those of one process. It changes no weight and no state.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.actor_critic import ActorCritic, reference_log_probs
from pipeline.advantages import Clock, Rollout, Row, finished
from pipeline.configs import PPOConfig
from pipeline.job import Refused
from pipeline.policy import Policy, micro_batches
from pipeline.processes import ALONE, Processes
from pipeline.roles import Reference
from pipeline.samplers import OwnSampler, Sampler
from pipeline.sampling import Sampled, decode, uniform_numbers
from pipeline.score_scale import ScoreScale

Scorer = Callable[[Sequence[tuple[list[dict], str]]], Sequence[float]]  # (messages, completion) -> raw score


@dataclass(frozen=True)
class TrainPrompt:
    """What the policy is asked, as messages for the reward and as ids for the policy."""

    messages: list[dict]
    ids: list[int]


@dataclass
class Collector:
    """Who samples, who scores, and what with."""

    actor: ActorCritic
    reference: Reference
    scorer: Scorer
    options: PPOConfig
    sampler: Sampler = field(default_factory=lambda: OwnSampler(128))
    processes: Processes = ALONE

    def collect(
        self,
        prompts: Sequence[TrainPrompt],
        kl_coefficient: float,
        draws: torch.Generator,
        scale: ScoreScale,
        on_progress: Callable[[int], None] | None = None,
    ) -> Rollout:
        """One completion per prompt, with rewards, advantages and returns.

        Raises Refused for a score that is no number.
        """
        clock, options = Clock(), self.options
        self.actor.forget()
        # 1. sample from the policy as it is; every row has uniform numbers of its own, whichever process it is in
        uniform = self.processes.share(uniform_numbers(len(prompts), options.max_new_tokens, draws))
        mine, policy = self.processes.share(prompts), self.actor.policy
        ids = [p.ids for p in mine]
        samples = self.sampler.write(policy, ids, options.temperature, uniform, on_progress)
        clock.lap("generate")
        # 2. score the text, as the reward model's own tokenizer reads it
        raw = raw_scores(policy, self.scorer, mine, samples)
        clock.lap("score")
        # 3. log-probabilities by the training forward, not by the sampling loop, so that the ratio starts at 1
        figures = self._figures([(p, s.tokens) for p, s in zip(ids, samples, strict=True)])
        rows = [Row(*row) for row in zip(ids, samples, raw, *figures, strict=True)]
        rows = self.processes.gathered(rows)
        refuse_wild(policy, rows)
        clock.lap("logprob")
        # 4. advantages, over the rows of all processes
        return finished(rows, options, kl_coefficient, scale, clock)

    @torch.no_grad()
    def _figures(self, sequences: list[tuple[list[int], list[int]]]) -> tuple[list[Tensor], ...]:
        """Old log-probabilities, values, entropy and the reference's log-probabilities: [length] per row each."""
        found = [[None] * len(sequences) for _ in range(4)]
        for part in micro_batches([len(p) + len(c) for p, c in sequences], self.options.micro_batch_tokens):
            batch = [sequences[i] for i in part]
            own = self.actor.figures(batch, with_entropy=True)
            packed = (*own, reference_log_probs(self.reference, batch, self.actor.temperature))
            for rows, tensor in zip(found, packed, strict=True):
                for i, row in zip(part, tensor.float().cpu().split([len(c) for _, c in batch]), strict=True):
                    rows[i] = row
        return tuple(found)


# ---- prompts
def prompts_at(prompts: Sequence[TrainPrompt], start: int, count: int, seed: int) -> list[TrainPrompt]:
    """`count` prompts from position `start` of an endless stream: one shuffle of all prompts after another.

    Fewer prompts than `count` come up several times; the position alone decides, so a resumed run goes on.
    """
    taken = []
    for passing in range(start // len(prompts), (start + count - 1) // len(prompts) + 1):
        order = torch.randperm(len(prompts), generator=generator(seed, 1, passing)).tolist()
        first = passing * len(prompts)
        taken += [prompts[i] for at, i in enumerate(order, first) if start <= at < start + count]
    return taken


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator of its own for each combination of numbers: no draw depends on an earlier one."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 25)
    return torch.Generator().manual_seed(seed)


# ---- scores
def raw_scores(
    policy: Policy, scorer: Scorer, prompts: Sequence[TrainPrompt], samples: Sequence[Sampled]
) -> list[float]:
    """The reward model's own numbers for the texts, in order."""
    texts = [decode(policy.tokenizer, s.tokens) for s in samples]
    return list(scorer([(p.messages, text) for p, text in zip(prompts, texts, strict=True)])) if texts else []


def refuse_wild(policy: Policy, rows: Sequence[Row]) -> None:
    """Raise Refused where a score is no number."""
    for row in rows:
        if not math.isfinite(row.score):
            text = decode(policy.tokenizer, row.sampled.tokens)[:60]
            raise Refused(f"The reward model gave {row.score} for {text!r}; a number is expected. Train it again.")
