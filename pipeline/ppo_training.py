"""The loop of PPO over rollouts: schedule by episodes, KL coefficient, when to stop, checkpoint and resume.

Every random draw has a generator made from the seed and the rollout's number, so a resumed run goes on exactly as
an uninterrupted one (on a CPU bit by bit). What happens within a rollout is in `rollout.py` and `ppo_update.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from pipeline.actor_critic import ActorCritic
from pipeline.advantages import Clock, Rollout, rewarded
from pipeline.configs import PPOConfig
from pipeline.demonstrations import NONE, Demonstrations
from pipeline.divergence import Divergence, sample_text, sampled_kl
from pipeline.job import Cancelled, Progress, Refused
from pipeline.kl_control import KLController
from pipeline.policy import Policy
from pipeline.ppo_update import Updater
from pipeline.processes import ALONE, Processes
from pipeline.roles import Reference, reference_of
from pipeline.rollout import Collector, Scorer, TrainPrompt, generator, prompts_at, raw_scores
from pipeline.run_directory import RunDirectory
from pipeline.samplers import OwnSampler
from pipeline.sampling import sample, uniform_numbers
from pipeline.score_scale import ScoreScale

CHECKPOINT = "ppo.pt"
MEASURED = 256  # completions that the trained policy is measured on


@dataclass
class Training:
    """The state of a run between rollouts, and the loop over them."""

    collector: Collector
    updater: Updater
    kl: KLController
    scale: ScoreScale
    rollouts: int = 0
    episodes: int = 0
    stopped: bool = False
    last_good: dict[str, Tensor] | None = None  # weights of the last rollout below kl_stop
    notes: list[str] = field(default_factory=list)

    @classmethod
    def fresh(
        cls,
        policy: Policy,
        scorer: Scorer,
        options: PPOConfig,
        reference: Reference | None = None,
        scale: ScoreScale | None = None,
        processes: Processes = ALONE,
        demonstrations: Demonstrations = NONE,
        **roles,
    ) -> "Training":
        """At episode 0. Without a reference it is the policy as it is; roles are a critic, a trunk and a sampler."""
        reference = reference or reference_of(policy)
        actor = ActorCritic(policy, options.temperature, roles.get("critic"), roles.get("trunk"))
        rates = options.learning_rate, options.value_learning_rate
        optimizer = torch.optim.AdamW(actor.parameter_groups(*rates), eps=1e-5, weight_decay=0.0, fused=True)
        sampler = roles.get("sampler") or OwnSampler(options.batch_size)
        return cls(
            Collector(actor, reference, scorer, options, sampler, processes),
            Updater(actor, optimizer, options, demonstrations, processes),
            KLController.of(options),
            scale or ScoreScale("none", bound=options.reward_clip),
        )

    @property
    def options(self) -> PPOConfig:
        """What was asked for."""
        return self.collector.options

    @property
    def actor(self) -> ActorCritic:
        """What is trained."""
        return self.collector.actor

    @property
    def processes(self) -> Processes:
        """Who trains with this one."""
        return self.collector.processes

    @property
    def planned(self) -> int:
        """Episodes in all."""
        return self.options.steps * self.options.batch_size or self.options.episodes

    # ---- the loop
    def train(self, run: RunDirectory, prompts: Sequence[TrainPrompt]) -> None:
        """Rollouts until the episodes are done or a limit is reached. Raises Cancelled after a checkpoint."""
        progress = Progress(run, math.ceil(self.planned / self.options.batch_size))
        while self.episodes < self.planned and not self.stopped:
            # nothing has changed since the last rollout while one is collected: a cancel may save at any time
            rollout = self.collected(prompts, self._while_sampling(run, progress))
            self._heed_cancel(run, progress)
            if self._reaches_a_limit(rollout):
                run.append_metrics(self.rollouts + 1, rollout.metrics)
                break
            metrics = self.learn(rollout)
            run.append_metrics(self.rollouts, metrics)
            self._show_samples(run, prompts)
            progress.step(self.rollouts, f"KL {metrics['objective/kl']:.2f}, score {metrics['objective/scores']:.2f}")
            if self.rollouts % self.options.checkpoint_every == 0:
                self.save(run)
            self._heed_cancel(run, progress)

    def collected(self, prompts: Sequence[TrainPrompt], on_progress: Callable[[int], None] | None = None) -> Rollout:
        """The next rollout; changes nothing."""
        options = self.options
        count = min(options.batch_size, self.planned - self.episodes)
        batch = prompts_at(prompts, self.episodes, count, options.seed)
        draws = generator(options.seed, 2, self.rollouts)
        return self.collector.collect(batch, self.kl.coefficient, draws, self.scale, on_progress)

    def learn(self, rollout: Rollout) -> dict[str, float]:
        """Update on a rollout, move on by its episodes, and say what happened."""
        options, clock = self.options, Clock()
        value_only = self.rollouts < min(options.critic_warmup, self.planned // options.batch_size // 4)
        rate = self._set_learning_rates()
        found = self.updater.update(rollout, generator(options.seed, 3, self.rollouts), value_only)
        clock.lap("update")
        count = len(rollout.sequences)
        if not value_only:
            self.kl.follow(rollout.metrics["objective/kl"], count)
        self.scale = rollout.scale
        self.rollouts, self.episodes = self.rollouts + 1, self.episodes + count
        return {**rollout.metrics, **found, **clock.laps, "lr": rate, "episodes": self.episodes}

    def _set_learning_rates(self) -> float:
        """Up to the peak over lr_warmup rollouts, and linearly down to 0 by episodes; the policy's."""
        rising = min(1.0, (self.rollouts + 1) / (self.options.lr_warmup + 1))
        for group in self.updater.optimizer.param_groups:
            group["lr"] = group["peak"] * rising * (1 - self.episodes / self.planned)
        return self.updater.optimizer.param_groups[0]["lr"]

    def _show_samples(self, run: RunDirectory, prompts: Sequence[TrainPrompt]) -> None:
        """Every few rollouts, what the policy now writes for the same few prompts with the same random numbers."""
        options = self.options
        if not options.sample_every or (self.rollouts - 1) % options.sample_every or not self.processes.first:
            return
        shown, policy = prompts[: options.sample_prompts], self.actor.policy
        uniform = uniform_numbers(len(shown), options.max_new_tokens, generator(options.seed, 6))
        found = sample(policy, [p.ids for p in shown], options.max_new_tokens, options.temperature, uniform)
        for prompt, one in zip(shown, found, strict=True):
            run.append_metrics(self.rollouts, {"sample": sample_text(policy, prompt.messages, one.tokens)})

    # ---- limits
    def _reaches_a_limit(self, rollout: Rollout) -> bool:
        return self._passes_kl_stop(rollout.metrics["objective/kl"]) or self._reaches_score(rollout)

    def _reaches_score(self, rollout: Rollout) -> bool:
        wanted = self.options.score_stop
        name = "objective/raw_scores" if self.scale.kind == "running" else "objective/scores"
        if not wanted or rollout.metrics[name] < wanted:
            return False
        self.stopped = True
        self.notes.append(
            f"Ended after {self.episodes} episodes: the mean score of a rollout, {rollout.metrics[name]:.3g}, reached "
            f"score_stop = {wanted:g}."
        )
        return True

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

    # ---- the end
    def measured(self, prompts: Sequence[TrainPrompt]) -> tuple[Divergence, Tensor]:
        """The trained policy's KL to the reference and its scores, on fresh samples of train prompts."""
        found = self._divergence(prompts)
        if not self.stopped and self._passes_kl_stop(found.kl):
            found = self._divergence(prompts)
        asked = [prompts[i] for i in found.prompts]
        raw = raw_scores(self.actor.policy, self.collector.scorer, asked, found.samples)
        ended = [one.ended for one in found.samples]
        return found, rewarded(torch.tensor(raw, dtype=torch.float64), ended, self.scale, self.options)

    def _divergence(self, prompts: Sequence[TrainPrompt]) -> Divergence:
        options = self.options
        return sampled_kl(
            self.actor.policy,
            self.collector.reference,
            [p.ids for p in prompts],
            options.max_new_tokens,
            options.temperature,
            generator(options.seed, 4),
            MEASURED,
        )

    # ---- checkpoint and resume
    def _while_sampling(self, run: RunDirectory, progress: Progress) -> Callable[[int], None] | None:
        """Heed a cancel between batches; several processes agree on it after the rollout instead."""
        return (lambda _: self._heed_cancel(run, progress)) if self.processes.size == 1 else None

    def _heed_cancel(self, run: RunDirectory, progress: Progress) -> None:
        if self.processes.agreed(progress.cancelled) and self.episodes < self.planned:
            self.save(run)
            raise Cancelled(f"Cancelled after {self.episodes} of {self.planned} episodes, checkpoint saved.")

    def save(self, run: RunDirectory) -> None:
        """Write all that the next rollout depends on; a reader sees the old checkpoint or the new one."""
        if self.processes.first:
            state = {
                "weights": {name: p.detach() for name, p in self.actor.trainable()},
                "optimizer": self.updater.optimizer.state_dict(),
                "last_good": self.last_good,
                "kl_coefficient": self.kl.coefficient,
                "scale": asdict(self.scale),
                "rollouts": self.rollouts,
                "episodes": self.episodes,
            }
            unfinished = run.checkpoints / f".{CHECKPOINT}.unfinished"
            try:
                torch.save(state, unfinished)
            except Exception:
                unfinished.unlink(missing_ok=True)  # what fills the disk is of no use
                raise
            unfinished.replace(run.checkpoints / CHECKPOINT)
        self.processes.wait()

    @torch.no_grad()
    def resume(self, run: RunDirectory) -> None:
        """Go on from the run's checkpoint, if it has one."""
        path = run.checkpoints / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, map_location=self.actor.policy.device, weights_only=True)
        for name, p in self.actor.trainable():
            p.copy_(state["weights"][name])
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.last_good, self.kl.coefficient = state["last_good"], state["kl_coefficient"]
        self.scale = ScoreScale(**state["scale"])
        self.rollouts, self.episodes = state["rollouts"], state["episodes"]
