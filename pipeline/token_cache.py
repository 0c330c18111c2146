"""Keys and values of the tokens sampled so far, in room that is made once, and the mask over them.

transformers' own growing cache copies everything at every token, and its models make their mask anew each time. Where
all layers look at everything, keys and values are written into place instead, and the mask of left padding is made
once and cut to length. Other layers (sliding windows, recurrent ones) keep the cache they come with.

Shapes: B rows, H key heads, T tokens so far, D head size.
"""

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

CUT_MASKS = ("eager", "sdpa")  # attention that takes a ready-made mask; others make their own from lengths


class RoomyLayer(DynamicLayer):
    """One layer's keys and values [B, H, T, D] in room for `room` tokens."""

    def __init__(self, room: int):
        super().__init__()
        self.room, self.length = room, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room at the first tokens."""
        super().lazy_initialization(key_states, value_states)
        self._keys, self._values = (self._roomy(states) for states in (key_states, value_states))

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Put tokens behind those that are there; all of them, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[-2]
        self._keys[..., start : self.length, :] = key_states
        self._values[..., start : self.length, :] = value_states
        self.keys, self.values = self._keys[..., : self.length, :], self._values[..., : self.length, :]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens so far."""
        return self.length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows [b]."""
        if self.length:
            self._keys, self._values = self._kept(self._keys, indices), self._kept(self._values, indices)

    def _roomy(self, states: Tensor) -> Tensor:
        rows, heads, _, size = states.shape
        return states.new_empty(rows, heads, self.room, size)

    def _kept(self, states: Tensor, indices: Tensor) -> Tensor:
        """The rows in the room they had: new room would have to be touched page by page."""
        kept = states[: len(indices)]
        kept[..., : self.length, :] = states[..., : self.length, :].index_select(0, indices)
        return kept


def cache_for(config: PretrainedConfig, room: int) -> DynamicCache:
    """A cache for `room` tokens of a model, in place where all layers look at everything."""
    cache = DynamicCache(config=config)
    if cache.layers and all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [RoomyLayer(room) for _ in cache.layers]
    return cache


class PaddingMask:
    """Which of the tokens so far each row may look at: all but the padding on its left, in room for T tokens."""

    def __init__(self, model: PreTrainedModel, padding: Tensor, room: int, cache: DynamicCache):
        """padding [B] is how many tokens of the longest prompt each row lacks."""
        self.real = torch.arange(room, device=padding.device) >= padding[:, None]  # [B, room]
        known = model.config._attn_implementation in CUT_MASKS and padding.device.type == "cpu"
        ready = known and all(type(layer) is RoomyLayer for layer in cache.layers)
        self.added = torch.where(self.real, 0.0, torch.finfo(model.dtype).min) if ready else None
        self.headed: Tensor | None = None
        if ready:
            self.added = self.added.to(model.dtype)[:, None, None]  # [B, 1, 1, room], as attention adds it

    def over(self, length: int, new: int) -> Tensor:
        """For the last `new` of `length` tokens; ready-made for a single one."""
        if self.added is not None and new == 1:
            return self.added[..., :length]
        return self.real[:, :length].long()

    def per_head(self, length: int, heads: int) -> Tensor:
        """[B heads, 1, T], as a product of single tokens adds it."""
        if self.headed is None:
            self.headed = self.added[:, 0].repeat_interleave(heads, 0)
        return self.headed[..., :length]

    def keep(self, rows: Tensor) -> None:
        """Only these rows [b] go on."""
        self.headed = None
        self.real = self.real[rows]
        self.added = None if self.added is None else self.added[rows]
