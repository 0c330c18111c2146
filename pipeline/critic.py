"""Critics of PPO: what they see, under a value head that is zero at the start or comes from a reward model.

    shared    the policy's own states: one forward serves both
    adapter   the policy's base with an adapter of its own
    trunk     a second model: the policy's body as it starts, or a reward model's with its head
    frozen    a reward model's head, trained on its states, which scoring makes once per rollout: no second backward

Values are those of completion tokens [N], one row after another; value n is the one before token n was chosen.
D is the hidden size.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.adapters import has_adapter
from pipeline.configs import PPOConfig
from pipeline.frozen_layers import KeptStates
from pipeline.job import Refused
from pipeline.packing import PromptCompletion
from pipeline.policy import Policy, packed_hidden
from pipeline.precision import autocast
from pipeline.reward import Reward, load_reward
from pipeline.roles import CRITIC, add_role, in_use, role_weights

FROM_REWARD = ("reward", "frozen")


class Critic(nn.Module):
    """A zero value head on the policy's states [N, D]; what else learns is in `trunk`."""

    shares = True  # the policy's states are seen, and without a gradient while only the critic learns

    def __init__(self, width: int, device: torch.device):
        super().__init__()
        self.head = nn.Linear(width, 1).to(device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, sequences: list[PromptCompletion], hidden: Tensor | None) -> Tensor:
        """Values [N]; hidden [N, D] are the policy's states, which only a shared critic needs."""
        return self.head(self.states(sequences, hidden).float()).squeeze(-1)

    def states(self, sequences: list[PromptCompletion], hidden: Tensor | None) -> Tensor:
        """What the head reads [N, D]."""
        return hidden

    @property
    def trunk(self) -> list[nn.Parameter]:
        """Trainable weights under the head."""
        return []

    @property
    def bodies(self) -> list[nn.Module]:
        """Models under the head that are not the policy's."""
        return []


class AdapterCritic(Critic):
    """The policy's base with an adapter of the critic's own."""

    shares = False

    def __init__(self, policy: Policy, seed: int):
        super().__init__(width_of(policy.model), policy.device)
        add_role(policy.model, CRITIC, seed=seed + 1)
        self.base = (policy.model,)  # in a tuple, so that its weights are not counted twice

    def states(self, sequences: list[PromptCompletion], hidden: Tensor | None) -> Tensor:
        """By the base with the critic's adapter in place of the policy's."""
        model = self.base[0]
        with in_use(model, CRITIC), autocast(self.head.weight.device):
            return packed_hidden(model, sequences)[0]

    @property
    def trunk(self) -> list[nn.Parameter]:
        """The adapter."""
        return [weight for _, weight in role_weights(self.base[0], CRITIC)]


class TrunkCritic(Critic):
    """A second body under the head."""

    shares = False

    def __init__(self, body: nn.Module, device: torch.device):
        super().__init__(width_of(body), device)
        self.body = body

    def states(self, sequences: list[PromptCompletion], hidden: Tensor | None) -> Tensor:
        """By the second body."""
        with autocast(self.head.weight.device):
            return packed_hidden(self.body, sequences)[0]

    @property
    def trunk(self) -> list[nn.Parameter]:
        """What may be trained of the body."""
        return [weight for weight in self.body.parameters() if weight.requires_grad]

    @property
    def bodies(self) -> list[nn.Module]:
        """The second body."""
        return [self.body]


class FrozenCritic(TrunkCritic):
    """A head on a body that does not learn: what a rollout makes of it serves all passes over that rollout.

    kept holds states [length, D] by prompt and completion; the scorer may have put them there.
    """

    def __init__(self, body: nn.Module, device: torch.device, kept: KeptStates | None = None):
        super().__init__(body.requires_grad_(False), device)
        self.kept = KeptStates() if kept is None else kept

    def states(self, sequences: list[PromptCompletion], hidden: Tensor | None) -> Tensor:
        """Those that were made last, else anew."""
        names = [(tuple(prompt), tuple(completion)) for prompt, completion in sequences]
        known = self.kept.of(names)
        if known is not None:
            return torch.cat(known)
        with torch.no_grad():
            states = super().states(sequences, hidden)
        self.kept.keep(names, states.split([len(completion) for _, completion in names]))
        return states

    @property
    def bodies(self) -> list[nn.Module]:
        """None that learns."""
        return []


def width_of(model: nn.Module) -> int:
    """The hidden size."""
    return model.config.get_text_config().hidden_size


def make_critic(
    policy: Policy,
    options: PPOConfig,
    entry: dict | None = None,
    scoring: Reward | None = None,
    kept: KeptStates | None = None,
) -> Critic:
    """The critic that the options ask for.

    entry is the run's of the reward model, `scoring` that model as it is loaded, `kept` what its scoring leaves.

    Raises Refused where a reward model cannot be the critic.
    """
    if options.critic in FROM_REWARD:
        return _from_reward(policy, options, entry, scoring, kept)
    if options.critic == "separate" and has_adapter(policy.model):
        return AdapterCritic(policy, options.seed)
    if options.critic == "separate":
        return TrunkCritic(copy.deepcopy(policy.model.get_decoder()).requires_grad_(True), policy.device)
    return Critic(width_of(policy.model), policy.device)


@torch.no_grad()
def _from_reward(
    policy: Policy, options: PPOConfig, entry: dict | None, scoring: Reward | None, kept: KeptStates | None
) -> TrunkCritic:
    """A reward model read as a critic: its value is the score of the text so far (Ouyang et al. 2022, C.4).

    The score is on the scale of the rewards. With critic=frozen the head alone learns.
    """
    kind = options.critic
    if entry is None:
        raise Refused(f"critic={kind} needs a reward model that is a folder or Hub id; take shared or separate.")
    frozen = kind == "frozen"
    whole = scoring is not None and isinstance(scoring.model, PreTrainedModel)  # not an adapter on the policy's base
    reward = scoring if frozen and whole else load_reward(entry["path"], policy.device)
    head = getattr(reward.model, "score", None)
    if not isinstance(head, nn.Linear) or reward.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
        raise Refused(
            f"critic={kind}: {entry['path']} reads text in another way than the policy (its vocabulary or its kind "
            "of model), so it cannot be the critic; take shared or separate."
        )
    body = reward.model.base_model
    critic = FrozenCritic(body, policy.device, kept) if frozen else TrunkCritic(body, policy.device)
    mean, std = (0.0, 1.0) if options.reward_normalisation == "none" else (reward.mean, reward.std)
    critic.head.weight.copy_(head.weight / std)
    critic.head.bias.copy_(((0 if head.bias is None else head.bias) - mean) / std)
    return critic
