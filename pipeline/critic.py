"""Critics of PPO: what they see, under a value head that is zero at the start or comes from a reward model.

    shared    the policy's own states: one forward serves both
    adapter   the policy's base with an adapter of its own
    trunk     a second model: the policy's body as it starts, or a reward model's with its head
    frozen    a reward model's head, trained on its states, which scoring makes once per rollout: no second backward
    auto      frozen where the reward model reads the policy's own ids, else shared

Values are those of completion tokens [N], one row after another; value n is the one before token n was chosen.
D is the hidden size.
"""

import copy

import torch
from torch import Tensor, nn

from pipeline.adapters import has_adapter
from pipeline.configs import PPOConfig
from pipeline.frozen_layers import KeptStates
from pipeline.job import Refused
from pipeline.packing import PromptCompletion
from pipeline.policy import Policy, packed_hidden
from pipeline.precision import autocast
from pipeline.reward import Reward, TextScorer, load_reward
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

    def forget(self) -> None:
        """States that were made of earlier texts; none are kept here."""

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


class FrozenCritic(Critic):
    """A reward model's head on its states, which do not learn: one forward per rollout serves all passes over it.

    What the scorer has seen it leaves in `kept`, states [length, D] by prompt and completion.
    """

    shares = False

    def __init__(self, scorer: TextScorer, device: torch.device):
        body = scorer.reward.model.base_model
        super().__init__(width_of(body), device)
        self.body, self.meanwhile = (body,), scorer.meanwhile  # in a tuple: its weights are not the critic's
        self.kept = scorer.kept = KeptStates()

    def states(self, sequences: list[PromptCompletion], hidden: Tensor | None) -> Tensor:
        """Those that were made last, else anew."""
        names = [(tuple(prompt), tuple(completion)) for prompt, completion in sequences]
        known = self.kept.of(names)
        if known is not None:
            return torch.cat(known).to(self.head.weight.device)
        with torch.no_grad(), self.meanwhile(), autocast(self.head.weight.device):
            states = packed_hidden(self.body[0], sequences)[0]
        self.kept.keep(names, states.split([len(completion) for _, completion in names]))
        return states.to(self.head.weight.device)

    def forget(self) -> None:
        """All states that were made so far."""
        self.kept.forget()


def width_of(model: nn.Module) -> int:
    """The hidden size."""
    return model.config.get_text_config().hidden_size


def make_critic(
    policy: Policy, options: PPOConfig, scorer: TextScorer | None = None, path: str | None = None
) -> Critic:
    """The critic that the options ask for: by the scorer's reward model, or from the folder or Hub id it is at.

    Raises Refused where a reward model cannot be the critic.
    """
    kind = options.critic
    if kind == "auto":
        kind = "frozen" if scorer is not None and _reads_as(scorer.reward, policy) else "shared"
    if kind in FROM_REWARD:
        return _from_reward(policy, options, kind, scorer, path)
    if kind == "separate" and has_adapter(policy.model):
        return AdapterCritic(policy, options.seed)
    if kind == "separate":
        return TrunkCritic(copy.deepcopy(policy.model.get_decoder()).requires_grad_(True), policy.device)
    return Critic(width_of(policy.model), policy.device)


def critic_notes(options: PPOConfig, critic: Critic) -> list[str]:
    """What to know about the choice, as sentences."""
    if options.critic == "auto" and critic.shares:
        return ["The reward model reads text in another way than the policy: the critic is a head on the policy."]
    return []


@torch.no_grad()
def _from_reward(policy: Policy, options: PPOConfig, kind: str, scorer: TextScorer | None, path: str | None) -> Critic:
    """A reward model read as a critic: its value is the score of the text so far (Ouyang et al. 2022, C.4).

    The score is on the scale of the rewards. With critic=frozen the head alone learns, and nothing is loaded twice.
    """
    if scorer is None or path is None:
        raise Refused(f"critic={kind} needs a reward model that is a folder or Hub id; take shared or separate.")
    if not _reads_as(scorer.reward, policy):
        raise Refused(
            f"critic={kind}: {path} reads text in another way than the policy (its vocabulary or its kind of model), "
            "so it cannot be the critic; take shared or separate."
        )
    reward = scorer.reward
    if kind == "frozen":
        critic: Critic = FrozenCritic(scorer, policy.device)
    else:
        reward = load_reward(path, policy.device)  # one of its own, which learns
        critic = TrunkCritic(reward.model.base_model, policy.device)
    head = reward.model.score
    mean, std = (0.0, 1.0) if options.reward_normalisation == "none" else (reward.mean, reward.std)
    critic.head.weight.copy_(head.weight / std)
    critic.head.bias.copy_(((0 if head.bias is None else head.bias) - mean) / std)
    return critic


def _reads_as(reward: Reward, policy: Policy) -> bool:
    """Whether a reward model is a decoder over the policy's own ids."""
    head = getattr(reward.model, "score", None)
    return isinstance(head, nn.Linear) and reward.tokenizer.get_vocab() == policy.tokenizer.get_vocab()
