"""Train a policy against a reward model: `python -m pipeline.ppo RUN_DIRECTORY`.

Proximal policy optimisation for language models (Ziegler et al. 2019; Ouyang et al. 2022): sample, score
the text, advantages with a per-token KL to a frozen reference, clipped updates. This module loads who takes part
(`roles.py`), trains (`ppo_training.py`), measures the distance to the reference, and saves. Train prompts only.
Under `torchrun` several processes train one policy.
"""

from pipeline.configs import PPOConfig, make_config
from pipeline.critic import critic_notes, make_critic
from pipeline.demonstrations import Demonstrations, read_demonstrations
from pipeline.freed_memory import keep_freed_memory
from pipeline.groups import read_prompts
from pipeline.job import Refused
from pipeline.policy import Policy, prompt_ids, save_policy, weights_digest
from pipeline.ppo_training import CHECKPOINT, Training
from pipeline.processes import Onlooker, Processes, join, main
from pipeline.recompute import recompute_layers
from pipeline.reward import TextScorer, spread
from pipeline.reward_role import load_scorer
from pipeline.roles import CRITIC, FROZEN, REWARD, drop_role, load_roles
from pipeline.rollout import TrainPrompt
from pipeline.run_directory import RunDirectory
from pipeline.samplers import choose
from pipeline.score_scale import ScoreScale

BESIDE = (CRITIC, FROZEN, REWARD)  # adapters on the policy's base that are not the policy


def work(run: RunDirectory, config: dict) -> dict:
    """Train, measure the distance to the reference, save. Raises Refused with a sentence where it cannot."""
    keep_freed_memory()
    processes = join()
    run = run if processes.first else Onlooker(run.path)
    training, prompts, notes = _prepared(run, config, processes)
    policy = training.actor.policy
    before = weights_digest(policy.model, BESIDE)
    training.resume(run)
    training.train(run, prompts)
    found, scores = training.measured(prompts)
    for role in BESIDE:
        drop_role(policy.model, role)
    digest = weights_digest(policy.model)
    if digest == before:
        raise Refused("Training changed no weight of the policy; raise learning_rate, episodes, kl_stop or score_stop.")
    if processes.first:
        save_policy(policy, run.model)
        (run.checkpoints / CHECKPOINT).unlink(missing_ok=True)
    processes.wait()
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
            "kl_coef": training.kl.coefficient,
        },
        "sizes": {"train_prompts": len(prompts), "episodes": training.episodes, "rollouts": training.rollouts},
        "notes": notes + training.notes,
    }


def _prepared(run: RunDirectory, config: dict, processes: Processes) -> tuple[Training, list[TrainPrompt], list[str]]:
    """The training at episode 0, its prompts, and what to know about them, as sentences."""
    options: PPOConfig = make_config("ppo", config.get("options"))
    models = config["models"]
    roles = load_roles(models, options)
    prompts = train_prompts(run, roles.policy, options)
    shown = read_demonstrations(run.data, roles.policy, roles.policy.max_length)
    _require_demonstrations(shown, options)
    path = models["reward"]["path"]
    scorer = load_scorer(roles.policy, path, models["reward"].get("device"))
    sampler, chosen = choose(options.sampler, roles.policy, options.batch_size, run.checkpoints / "sampler")
    critic = make_critic(roles.policy, options, scorer, path)
    if options.gradient_checkpointing:
        recompute_layers(roles.policy.model, *critic.bodies)
    training = Training.fresh(
        roles.policy,
        scorer,
        options,
        roles.reference,
        scale_of(scorer, options, shown),
        processes,
        shown,
        critic=critic,
        trunk=roles.trunk,
        sampler=sampler,
    )
    return training, prompts, roles.notes + critic_notes(options, critic) + chosen


def scale_of(scorer: TextScorer, options: PPOConfig, shown: Demonstrations) -> ScoreScale:
    """What scores are measured in, as options.reward_normalisation says."""
    reward = scorer.reward
    kind, bound = options.reward_normalisation, options.reward_clip
    if kind == "reference":
        return ScoreScale(kind, reward.mean, reward.std, bound)
    if kind == "demonstrations":
        return ScoreScale(kind, spread(scorer(shown.texts))[0], reward.std, bound)
    return ScoreScale(kind, bound=bound)


def train_prompts(run: RunDirectory, policy: Policy, options: PPOConfig) -> list[TrainPrompt]:
    """The run's train prompts; long ones keep their end. Raises Refused where there are none or no room."""
    messages = list(read_prompts(run.data, "train").values())
    if not messages:
        raise Refused("There are no train prompts to sample from; add prompts to the campaign.")
    room = policy.max_length - options.max_new_tokens
    if room < 1:
        raise Refused(f"max_new_tokens: found {options.max_new_tokens}, the policy has {policy.max_length} positions")
    return [TrainPrompt(m, prompt_ids(policy.tokenizer, m)[-room:]) for m in messages]


def _require_demonstrations(shown: Demonstrations, options: PPOConfig) -> None:
    wanting = [
        name
        for name, asked in (
            ("sft_coefficient", options.sft_coefficient > 0),
            ("reward_normalisation=demonstrations", options.reward_normalisation == "demonstrations"),
        )
        if asked
    ]
    if wanting and not len(shown):
        raise Refused(
            f"{' and '.join(wanting)} needs demonstrations of train prompts, and there are none; import some, or "
            "leave the option at its default."
        )


if __name__ == "__main__":
    main(work)
