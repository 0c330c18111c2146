"""Train a policy against a reward model: `python -m pipeline.ppo RUN_DIRECTORY`.

Proximal policy optimisation for language models (Ziegler et al. 2019; Ouyang et al. 2022): sample, score
the text, advantages with a per-token KL to a frozen reference, clipped updates. This module is the loop
around `rollout.collect` and `ppo_update.update`: the schedule by episodes, the KL coefficient, checkpoint
and resume, and when to stop. Train prompts only. Every random draw has a generator made from the seed and
the rollout's number, so a resumed run goes on exactly as an uninterrupted one (on a CPU bit by bit).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.actor_critic import ActorCritic
from pipeline.configs import PPOConfig, make_config
from pipeline.divergence import Divergence, sample_text, sampled_kl
from pipeline.groups import read_prompts
from pipeline.job import Cancelled, Progress, Refused, main
from pipeline.losses import adapted_kl_coefficient
from pipeline.policy import Policy, load_policy, prompt_ids, save_policy, weights_digest
from pipeline.ppo_update import update
from pipeline.reward import Reward, load_reward, normalised, score_texts
from pipeline.rollout import Clock, Rollout, Scorer, TrainPrompt, collect, generator, prompts_at, scored
from pipeline.run_directory import RunDirectory

CHECKPOINT = "ppo.pt"
MEASURED = 256  # completions that the trained policy is measured on
SAMPLE_EVERY = 5  # rollouts between sample texts in the metrics
KL_HORIZON = 2  # rollouts; the coefficient changes by at most a tenth from one rollout to the next


def work(run: RunDirectory, config: dict) -> dict:
    """Train, measure the distance to the reference, save. Raises Refused with a sentence where it cannot."""
    options = make_config("ppo", config.get("options"))
    models = config["models"]
    policy, reference = _load(models["policy"]), _load(models.get("reference") or models["policy"])
    prompts = train_prompts(run, policy, options)
    reward = load_reward(models["reward"]["path"], models["reward"].get("device"))
    before = weights_digest(policy.model)
    training = Training.fresh(policy, reference, scorer_of(reward), options)
    training.resume(run)
    training.train(run, prompts)
    found, scores = training.measured(prompts)
    digest = weights_digest(policy.model)
    if digest == before:
        raise Refused("Training changed no weight of the policy; raise learning_rate, episodes or kl_stop.")
    save_policy(policy, run.model)
    (run.checkpoints / CHECKPOINT).unlink(missing_ok=True)
    return {
        "model": "artifacts/model",
        "role": "policy",
        "weights_digest": digest,
        "metrics": {
            "objective/kl": found.kl,
            "objective/kl_standard_error": found.standard_error,
            "objective/scores": float(scores.mean()),
            "len/mean": found.mean_length,
            "len/eos_rate": found.eos_rate,
            "kl_coef": training.kl_coefficient,
        },
        "sizes": {"train_prompts": len(prompts), "episodes": training.episodes, "rollouts": training.rollouts},
        "notes": training.notes,
    }


def _load(model: dict) -> Policy:
    return load_policy(model["path"], model.get("device"))


def scorer_of(reward: Reward) -> Scorer:
    """The reward model as a function from (messages, completion) to normalised scores."""
    return lambda items: normalised(reward, score_texts(reward, items))


def train_prompts(run: RunDirectory, policy: Policy, options: PPOConfig) -> list[TrainPrompt]:
    """The run's train prompts; long ones keep their end. Raises Refused where there are none or no room."""
    messages = list(read_prompts(run.data, "train").values())
    if not messages:
        raise Refused("There are no train prompts to sample from; add prompts to the campaign.")
    room = policy.max_length - options.max_new_tokens
    if room < 1:
        raise Refused(f"max_new_tokens: found {options.max_new_tokens}, the policy has {policy.max_length} positions")
    return [TrainPrompt(m, prompt_ids(policy.tokenizer, m)[-room:]) for m in messages]


@dataclass
class Training:
    """The state of a run between rollouts, and the loop over them."""

    actor: ActorCritic
    reference: Policy
    scorer: Scorer
    options: PPOConfig
    optimizer: torch.optim.Optimizer
    kl_coefficient: float
    rollouts: int = 0
    episodes: int = 0
    stopped: bool = False
    last_good: dict[str, Tensor] | None = None  # weights of the last rollout below kl_stop
    notes: list[str] = field(default_factory=list)

    @classmethod
    def fresh(cls, policy: Policy, reference: Policy, scorer: Scorer, options: PPOConfig) -> "Training":
        """At episode 0, with a zero value head."""
        actor = ActorCritic(policy, options.temperature)
        rates = options.learning_rate, options.value_learning_rate
        optimizer = torch.optim.AdamW(actor.parameter_groups(*rates), eps=1e-5, weight_decay=0.0)
        reference.model.requires_grad_(False)
        return cls(actor, reference, scorer, options, optimizer, options.kl_coefficient)

    # ---- the loop
    def train(self, run: RunDirectory, prompts: Sequence[TrainPrompt]) -> None:
        """Rollouts until the episodes are done or the KL passes kl_stop. Raises Cancelled after a checkpoint."""
        progress = Progress(run, math.ceil(self.options.episodes / self.options.batch_size))
        while self.episodes < self.options.episodes and not self.stopped:
            # nothing has changed since the last rollout while one is collected: a cancel may save at any time
            rollout = self.collected(prompts, lambda _: self._heed_cancel(run, progress))
            self._heed_cancel(run, progress)
            if self._passes_kl_stop(rollout.metrics["objective/kl"]):
                run.append_metrics(self.rollouts + 1, rollout.metrics)
                break
            metrics = self.learn(rollout)
            if self.rollouts % SAMPLE_EVERY == 1:
                metrics["sample"] = self._sample_text(prompts, rollout)
            run.append_metrics(self.rollouts, metrics)
            progress.step(self.rollouts, f"KL {metrics['objective/kl']:.2f}, score {metrics['objective/scores']:.2f}")
            if self.rollouts % self.options.checkpoint_every == 0:
                self.save(run)
            self._heed_cancel(run, progress)

    def collected(self, prompts: Sequence[TrainPrompt], on_progress=None) -> Rollout:
        """The next rollout; changes nothing."""
        options = self.options
        count = min(options.batch_size, options.episodes - self.episodes)
        batch = prompts_at(prompts, self.episodes, count, options.seed)
        draws = generator(options.seed, 2, self.rollouts)
        return collect(self.actor, self.reference, self.scorer, batch, options, self.kl_coefficient, draws, on_progress)

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Update on a rollout, move on by its episodes, and say what happened."""
        options, clock = self.options, Clock()
        value_only = self.rollouts < min(options.critic_warmup, options.episodes // options.batch_size // 4)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * (1 - self.episodes / options.episodes)
        draws = generator(options.seed, 3, self.rollouts)
        found = update(self.actor, self.optimizer, rollout, options, draws, value_only)
        clock.lap("train")
        count = len(rollout.sequences)
        if not value_only:
            self._adapt(rollout.metrics["objective/kl"])
        self.rollouts, self.episodes = self.rollouts + 1, self.episodes + count
        rate = self.optimizer.param_groups[0]["lr"]
        return {**rollout.metrics, **found, **clock.laps, "learning_rate": rate, "episodes": self.episodes}

    def _adapt(self, kl: float) -> None:
        """Move the KL coefficient towards kl_target, never below a quarter of its start: every run begins far under
        the target, and a coefficient lowered without bound on the way there lets the policy shoot past it."""
        options = self.options
        horizon = KL_HORIZON * options.batch_size
        found = adapted_kl_coefficient(self.kl_coefficient, kl, options.kl_target, options.batch_size, horizon)
        self.kl_coefficient = max(found, options.kl_coefficient / 4)

    def _passes_kl_stop(self, kl: float) -> bool:
        """Whether the policy went too far; if so it goes back to the last weights that did not."""
        if not math.isfinite(kl):
            raise Refused(f"The KL to the reference is {kl} after {self.episodes} episodes; lower learning_rate.")
        if not 0 < self.options.kl_stop < kl:
            if self.options.kl_stop:
                self.last_good = {name: p.detach().to("cpu", copy=True) for name, p in self.actor.trainable()}
            return False
        self._go_back()
        self.stopped = True
        self.notes.append(
            f"Ended after {self.episodes} episodes: the KL to the reference, {kl:.1f} nats, passed "
            f"kl_stop = {self.options.kl_stop:g}. The weights are those of the rollout before."
        )
        return True

    @torch.no_grad()
    def _go_back(self) -> None:
        for name, p in self.actor.trainable():
            if self.last_good:
                p.copy_(self.last_good[name])

    def measured(self, prompts: Sequence[TrainPrompt]) -> tuple[Divergence, Tensor]:
        """The trained policy's KL to the reference and its scores, on fresh samples of train prompts."""
        found = self._divergence(prompts)
        if not self.stopped and self._passes_kl_stop(found.kl):
            found = self._divergence(prompts)
        rows = [prompts[i] for i in found.prompts]
        penalty = self.options.missing_eos_penalty
        return found, scored(self.actor.policy, self.scorer, rows, found.samples, penalty)

    def _divergence(self, prompts: Sequence[TrainPrompt]) -> Divergence:
        options = self.options
        ids = [p.ids for p in prompts]
        return sampled_kl(
            self.actor.policy,
            self.reference,
            ids,
            options.max_new_tokens,
            options.temperature,
            generator(options.seed, 4),
            MEASURED,
        )

    def _sample_text(self, prompts: Sequence[TrainPrompt], rollout: Rollout) -> str:
        first = prompts_at(prompts, self.episodes - len(rollout.sequences), 1, self.options.seed)[0]
        return sample_text(self.actor.policy, first.messages, rollout.sequences[0][1])

    # ---- checkpoint and resume
    def _heed_cancel(self, run: RunDirectory, progress: Progress) -> None:
        if progress.cancelled and self.episodes < self.options.episodes:
            self.save(run)
            raise Cancelled(f"Cancelled after {self.episodes} of {self.options.episodes} episodes, checkpoint saved.")

    def save(self, run: RunDirectory) -> None:
        """Write all that the next rollout depends on; a reader sees the old checkpoint or the new one."""
        state = {
            "weights": {name: p.detach() for name, p in self.actor.trainable()},
            "optimizer": self.optimizer.state_dict(),
            "last_good": self.last_good,
            "kl_coefficient": self.kl_coefficient,
            "rollouts": self.rollouts,
            "episodes": self.episodes,
        }
        unfinished = run.checkpoints / f".{CHECKPOINT}.unfinished"
        torch.save(state, unfinished)
        unfinished.replace(run.checkpoints / CHECKPOINT)

    @torch.no_grad()
    def resume(self, run: RunDirectory) -> None:
        """Go on from the run's checkpoint, if it has one."""
        path = run.checkpoints / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, map_location=self.actor.policy.device, weights_only=True)
        for name, p in self.actor.trainable():
            p.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.last_good, self.kl_coefficient = state["last_good"], state["kl_coefficient"]
        self.rollouts, self.episodes = state["rollouts"], state["episodes"]


if __name__ == "__main__":
    main(work)
