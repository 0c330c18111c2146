"""The maths of PPO as pure functions of tensors: divergences, advantages, clipping.

Nothing here knows models, data or devices; the losses of preferences are in `preference_losses.py`.
Shapes: B rows padded to T tokens.
Padded positions are told by a mask of ones and zeros that is made from lengths, never from token ids.
"""

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0  # exp() of more overflows half precision and helps nobody


# ---- divergences, from samples of pi; log_ratio = log pi - log pi_ref
def kl_k1(log_ratio: Tensor) -> Tensor:
    """Schulman's k1: unbiased value; in the reward it gives the right policy gradient."""
    return log_ratio


def kl_k2(log_ratio: Tensor) -> Tensor:
    """Schulman's k2: biased value, but its gradient as a loss is right in expectation."""
    return log_ratio.square() / 2


def kl_k3(log_ratio: Tensor) -> Tensor:
    """Schulman's k3: unbiased, low variance, never negative; for logs only, its gradient is wrong."""
    return torch.expm1(-log_ratio) + log_ratio


def adapted_kl_coefficient(coefficient: float, kl: float, target: float, episodes: int, horizon: float) -> float:
    """The KL coefficient after a rollout of `episodes` completions (Ziegler et al. 2019, section 2.2).

    kl and target in nats per completion; a target of 0 keeps the coefficient.
    """
    if target <= 0:
        return coefficient
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * episodes / horizon)


# ---- masks
def length_mask(lengths: Tensor, width: int) -> Tensor:
    """Ones on the first `length` positions of each row: [B] -> [B, width] float."""
    return (torch.arange(width, device=lengths.device) < lengths[:, None]).float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions where mask is one."""
    return (values * mask).sum() / mask.sum()


def masked_whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Mean 0 and variance 1 over the real positions of the whole batch [B, T]; 0 elsewhere.

    Without shift_mean the mean stays where it was. The variance is the biased one, as in OpenAI's
    lm-human-preferences.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean).square(), mask)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean) * mask


# ---- PPO
def token_rewards(log_ratio: Tensor, scores: Tensor, lengths: Tensor, kl_coefficient: float) -> Tensor:
    """-coefficient k1 on every token, and the score on the last real one: [B, T].

    log_ratio [B, T] = log pi_old - log pi_ref, scores [B], lengths [B] at least 1.
    """
    rewards = -kl_coefficient * kl_k1(log_ratio) * length_mask(lengths, log_ratio.shape[1])
    rewards[torch.arange(len(lengths), device=lengths.device), lengths - 1] += scores
    return rewards


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) and returns = advantages + values.

    All [B, T]; values[t] is the value before token t; after the last real token the value is 0.
    """
    rewards, values = rewards * mask, values * mask
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        after = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * after - values[:, t]
        following = (delta + gamma * gae_lambda * following) * mask[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def clipped_policy_loss(
    log_probs: Tensor, old: Tensor, advantages: Tensor, clip: float, dual_clip: float = 0.0
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate per token (Schulman et al. 2017, eq. 7), to minimise, and the ratio.

    dual_clip, where not 0, bounds the loss of a token with a negative advantage at that many times the
    advantage (Ye et al. 2020, eq. 5).
    """
    ratio = (log_probs - old).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    if dual_clip:
        loss = torch.where(advantages < 0, torch.minimum(loss, -advantages * dual_clip), loss)
    return loss, ratio


def importance_weights(trained: Tensor, sampled: Tensor, cap: float) -> Tensor:
    """exp(trained - sampled) at most `cap`: corrects samples of an engine whose arithmetic is another.

    Both [tokens]: log-probabilities by the training forward and by the engine (truncated importance sampling,
    Ionides 2008).
    """
    return (trained - sampled).clamp(max=LOG_RATIO_LIMIT).exp().clamp(max=cap)


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Half the squared error per token, the worse of clipped and unclipped, and where clipping was worse."""
    near = torch.maximum(torch.minimum(values, old + clip), old - clip)
    plain, clipped = (values - returns).square(), (near - returns).square()
    return torch.maximum(plain, clipped) / 2, (clipped > plain).float()


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over real tokens [tokens]; 0 where the returns do not vary."""
    spread = returns.var(unbiased=False)
    return float(1 - (returns - values).var(unbiased=False) / spread) if spread > 1e-12 else 0.0
