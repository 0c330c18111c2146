"""The group losses and TRL's own trainers on the exploded pairs: same weights, same value, same gradient."""

import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from trl import DPOConfig as TrlDPOConfig
from trl import DPOTrainer, RewardTrainer
from trl import RewardConfig as TrlRewardConfig
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from pipeline.configs import DPOConfig, RewardConfig
from pipeline.dpo import preference_objective, reference_log_probs
from pipeline.groups import Group, Pair
from pipeline.policy import load_policy, token_log_probs
from pipeline.reward import new_reward
from pipeline.reward_model import reward_objective
from tests.pipeline.conftest import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.usefixtures("exact")

SAME = {"atol": 1e-5, "rtol": 1e-5}
QUIET = {"report_to": [], "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True}
ROWS = [{"prompt": "Hi", "chosen": "Thank you.", "rejected": "Bye."}]


def group(name: str, graded: bool = False) -> Group:
    """Four completions of unlike length; all pairs, the weights whole numbers, preferences quarters of them."""
    prompt, completions = [7, 8, 9, 10], [[11, 12, 2], [13, 2], [14, 15, 16, 17, 2], [18, 19, 2]]
    told = [(0, 1, 1.0), (0, 2, 0.75), (0, 3, 0.5), (1, 2, 0.0), (1, 3, 1.0), (2, 3, 0.25)]
    pairs = [Pair(a, b, p, 4.0, (p * 4 - 2) if graded else 0.0) for a, b, p in told]
    return Group(name, prompt, completions, pairs, [0, 1, 2, 3])


def exploded(groups) -> list[dict]:
    """Each pair as often as its weight, told by the judges' sides: what a pairwise trainer is given."""
    rows = []
    for g in groups:
        for pair in g.pairs:
            for side in (pair, pair.swapped()):
                chosen, rejected = g.completions[side.first], g.completions[side.second]
                row = {"prompt_ids": g.prompt, "chosen_ids": chosen, "rejected_ids": rejected}
                rows += [row | {"margin": side.grade / 3}] * round(pair.weight * side.preference)
    return rows


def whole(row: dict) -> dict:
    """The row as TRL's reward trainer takes it: prompt and completion in one."""
    sides = {side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")}
    return {**sides, "margin": row["margin"]}


def gradient(model: nn.Module, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def assert_equal(model: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, **SAME)
    torch.testing.assert_close(gradient(model, ours), gradient(model, theirs), **SAME)


@pytest.fixture(scope="module")
def dpo_trainer(tiny_policy_folder, tmp_path_factory) -> DPOTrainer:
    """TRL's trainer over the tiny policy, its reference another random model."""
    args = TrlDPOConfig(output_dir=str(tmp_path_factory.mktemp("dpo")), **QUIET)
    policy, tokenizer = load_policy(tiny_policy_folder, "cpu"), tiny_tokenizer()
    rows = Dataset.from_list(ROWS)
    trainer = DPOTrainer(policy.model, tiny_model(tokenizer, 1), args, train_dataset=rows, processing_class=tokenizer)
    trainer.model.eval(), trainer.ref_model.eval()
    return trainer


@pytest.mark.parametrize(
    ("name", "theirs", "smoothing"),
    [("dpo", "sigmoid", 0.0), ("ipo", "ipo", 0.0), ("hinge", "hinge", 0.0), ("robust", "robust", 0.2)],
)
def test_policy_loss_and_gradient_equal_trls_dpo_trainer(dpo_trainer, name, theirs, smoothing):
    groups = [group("a"), group("b")]
    dpo_trainer.loss_types, dpo_trainer.beta, dpo_trainer.label_smoothing = [theirs], 0.3, smoothing
    options = DPOConfig(loss=name, beta=0.3, label_smoothing=smoothing)
    objective = preference_objective(reference_log_probs(dpo_trainer.ref_model, groups), options)
    ours = objective(dpo_trainer.model, groups).loss / sum(p.weight for g in groups for p in g.pairs)
    batch = dpo_trainer.data_collator([{k: v for k, v in r.items() if k != "margin"} for r in exploded(groups)])
    assert_equal(dpo_trainer.model, ours, dpo_trainer._compute_loss(dpo_trainer.model, batch, False))


@pytest.mark.parametrize("graded", [False, True])
def test_reward_loss_and_gradient_equal_trls_reward_trainer(tiny_policy_folder, tmp_path, graded):
    reward = new_reward(tiny_policy_folder, 0, 512, "cpu")
    args = TrlRewardConfig(output_dir=str(tmp_path), **QUIET)
    rows = Dataset.from_list(ROWS)
    trainer = RewardTrainer(reward.model, args, train_dataset=rows, processing_class=reward.tokenizer)
    assert isinstance(trainer.model, type(AutoModelForSequenceClassification.from_config(trainer.model.config)))
    groups = [group("a", graded), group("b", graded)]
    ours = reward_objective(RewardConfig())(reward.model, groups).loss / 48
    batch = trainer.data_collator([whole(row) for row in exploded(groups)])
    assert_equal(reward.model, ours, trainer.compute_loss(trainer.model, batch))


class TheirSettings:
    """What TRL's loss methods read from their trainer; making the trainers themselves adds nothing to the maths."""

    loss_type, simpo_gamma, beta, label_smoothing, alpha = "simpo", 0.5, 0.7, 0.0, 0.0
    accelerator = type("Accelerator", (), {"device": torch.device("cpu")})


@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_losses_without_a_reference_equal_trls(tiny_policy, name):
    groups, model = [group("a")], tiny_policy.model
    ours = preference_objective({}, DPOConfig(loss=name, beta=0.7, target_margin=0.5))(model, groups).loss / 24
    sides = {side: [] for side in ("chosen_ids", "rejected_ids")}
    for row in exploded(groups):
        for side, found in sides.items():
            found.append(token_log_probs(model, [(row["prompt_ids"], row[side])])[0].mean())
    chosen, rejected = (torch.stack(found) for found in sides.values())
    if name == "simpo":
        theirs = CPOTrainer.cpo_loss(TheirSettings, chosen, rejected)[0].mean()
    else:
        theirs = -chosen.mean() - ORPOTrainer.odds_ratio_loss(TheirSettings, chosen, rejected)[0].mean()
    assert_equal(model, ours, theirs)


def test_cdpo_equals_trls_smoothed_loss_on_the_same_log_probabilities(tiny_policy):
    groups, model = [group("a")], tiny_policy.model
    frozen = {"a": torch.tensor([-9.0, -7.0, -20.0, -11.0])}
    ours = preference_objective(frozen, DPOConfig(loss="cdpo", beta=0.7, label_smoothing=0.2))(model, groups).loss / 24
    own = torch.stack([part.sum() for part in token_log_probs(model, groups[0].sequences)]) - frozen["a"]
    sides = [p for p in groups[0].pairs for _ in range(4)]
    told = [s if i % 4 < round(4 * s.preference) else s.swapped() for i, s in enumerate(sides)]
    settings = type("Smoothed", (TheirSettings,), {"loss_type": "sigmoid", "label_smoothing": 0.2})
    theirs = CPOTrainer.cpo_loss(settings, own[[s.first for s in told]], own[[s.second for s in told]])[0].mean()
    assert_equal(model, ours, theirs)
