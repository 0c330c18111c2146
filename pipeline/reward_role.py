"""A reward model as one more adapter on the policy's base: four roles on frozen weights (Santacroce et al. 2023).

Where a reward model was trained with LoRA on the very base that the policy's adapter sits on, its adapter and its head
are put beside the policy's, and nothing is loaded twice. Any other reward model is loaded whole (`reward.py`).
"""

import json
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer

from pipeline.adapters import PREFIX, WEIGHTS, has_adapter
from pipeline.model_files import base_of
from pipeline.policy import Policy
from pipeline.reward import CARD, Reward, TextScorer, load_reward
from pipeline.roles import REWARD, drop_role, in_use, inject, role_weights

HEAD = "score.weight"


class OnBase(nn.Module):
    """What `reward.forward` reads of a model: the policy's body, and a head [1, D] of its own."""

    def __init__(self, policy: Policy, weight: torch.Tensor):
        super().__init__()
        self.config = policy.model.config
        self.body = (policy.model.get_decoder(),)  # in a tuple, so that its weights are not counted twice
        self.score = nn.Linear(weight.shape[1], 1, bias=False).requires_grad_(False).to(policy.device)
        self.score.weight.copy_(weight)

    @property
    def base_model(self) -> nn.Module:
        """The body under the head."""
        return self.body[0]


def load_scorer(policy: Policy, path: str | Path, device: str | None = None) -> TextScorer:
    """Raw scores of (messages, completion) by the reward model at a folder or Hub id."""
    reward = on_base(policy, path)
    if reward is None:
        return TextScorer(load_reward(path, device))
    return TextScorer(reward, lambda: in_use(policy.model, REWARD))


@torch.no_grad()
def on_base(policy: Policy, path: str | Path) -> Reward | None:
    """The reward model on the policy's base; None where it is no adapter, or one of another base or another shape."""
    if not has_adapter(policy.model) or not _same(base_of(path), policy.model.name_or_path):
        return None
    state = {name.removeprefix(PREFIX): weight for name, weight in load_file(Path(path) / WEIGHTS).items()}
    if HEAD not in state:
        return None
    head = state.pop(HEAD)
    config = LoraConfig.from_pretrained(str(path))
    config.modules_to_save, config.inference_mode = None, True
    inject(policy.model, config, REWARD)
    own = {place.replace(f".{REWARD}.", "."): weight for place, weight in role_weights(policy.model, REWARD)}
    if own.keys() != state.keys():
        drop_role(policy.model, REWARD)
        return None
    for place, weight in own.items():
        weight.copy_(state[place])
    card = Path(path) / CARD
    facts = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    figures = {name: float(facts.get(name, usual)) for name, usual in (("mean", 0.0), ("std", 1.0))}
    longest = min(int(facts.get("max_length", 512)), policy.max_length)
    return Reward(OnBase(policy, head), tokenizer, policy.device, **figures, max_length=longest)


def _same(one: str | None, other: str) -> bool:
    if one is None:
        return False
    return one == other or (Path(one).is_dir() and Path(other).is_dir() and Path(one).samefile(other))
