"""One sampled token per row and step in few operations: the decoder of Llama and its kin, for a CPU.

There a step of a small model is bound by the number of operations and by what is around them, not by products. This
does what the layers do for one token per row, over keys and values in place (`token_cache.py`), and nothing else. Which
models it fits is tried on a few tokens, never assumed: biases and grouped heads are fine; adapters, other norms or
rotations, windows, and a model whose modules somebody listens to go the usual way.

Shapes: B rows, G key heads of g queries each, T tokens so far, R room, d head size, D hidden size, V vocabulary.
"""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, silu
from transformers import DynamicCache, PreTrainedModel

from pipeline.frozen_layers import layers_of
from pipeline.precision import agree
from pipeline.rotations import signed, turned
from pipeline.token_cache import RoomyLayer, cache_for

PROBE = [[1, 2, 3, 4], [5, 6, 7, 1]]
CHANGING = ("dynamic", "longrope")  # rotations that depend on the length so far
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class PlainSteps:
    """Steps of one batch over a cache of its own, whose rows may leave."""

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, room: int):
        body = model.get_decoder()
        self.embed, self.norm, self.head = body.embed_tokens, body.norm, model.get_output_embeddings()
        self.layers = list(zip(layers_of(body), cache.layers, strict=True))
        self.size = body.layers[0].self_attn.head_dim
        places = torch.arange(room, device=self.embed.weight.device)[None]
        cos, sin = body.rotary_emb(self.embed.weight[:1, None], places)  # [1, R, d]
        self.cos, self.sin = cos[0], signed(sin[0])

    def logits(self, ids: Tensor, positions: Tensor, barred: Tensor | None) -> Tensor:
        """[B, V] after tokens [B] at positions [B]; barred [B G, 1, T] is added to the scores, this token's too."""
        states = self.embed.weight[ids]
        turn = self.cos[positions][:, None], self.sin[positions][:, None]
        for layer, kept in self.layers:
            states = states + self._attended(
                layer.self_attn, _normed(layer.input_layernorm, states), kept, turn, barred
            )
            fed, mlp = _normed(layer.post_attention_layernorm, states), layer.mlp
            states = states + _of(mlp.down_proj, silu(_of(mlp.gate_proj, fed)).mul_(_of(mlp.up_proj, fed)))
        return _of(self.head, _normed(self.norm, states))

    def _attended(
        self, attention: nn.Module, states: Tensor, kept: RoomyLayer, turn: tuple[Tensor, Tensor], barred: Tensor | None
    ) -> Tensor:
        """[B, D] of normed states [B, D]; the token's key and value join those that are kept."""
        rows, heads = len(states), kept.keys.shape[1]
        both = torch.cat([_of(attention.q_proj, states), _of(attention.k_proj, states)], 1)
        both = turned(both.view(rows, -1, self.size), *turn)
        key, value = both[:, -heads:, None], _of(attention.v_proj, states).view(rows, heads, 1, self.size)
        keys, values = (one.flatten(0, 1) for one in kept.update(key, value))  # [B G, T, d]
        query = both[:, :-heads].reshape(rows * heads, -1, self.size)  # [B G, g, d]
        none = query.new_empty(()) if barred is None else barred
        scores = torch.baddbmm(none, query, keys.transpose(1, 2), beta=barred is not None, alpha=attention.scaling)
        return _of(attention.o_proj, torch.bmm(torch.softmax(scores, -1), values).view(rows, -1))


def _of(module: nn.Linear, states: Tensor) -> Tensor:
    return linear(states, module.weight, module.bias)


def _normed(norm: nn.Module, states: Tensor) -> Tensor:
    return rms_norm(states, (states.shape[-1],), norm.weight, norm.variance_epsilon)


# ---- which models it fits
_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def steps_plainly(model: PreTrainedModel) -> bool:
    """Whether these steps are this model's: on a CPU, in float32, without an adapter; tried once per model."""
    if model.device.type != "cpu" or model.dtype != torch.float32 or not _looks_like_it(model):
        return False
    if model not in _KNOWN:
        _KNOWN[model] = _same(model)
    return _KNOWN[model]


def _looks_like_it(model: PreTrainedModel) -> bool:
    body = model.get_decoder()
    linears = [module for name, module in body.named_modules() if name.rpartition(".")[2] in PARTS]
    linears.append(model.get_output_embeddings())
    if len(linears) == 1 or any(type(module) is not nn.Linear for module in linears):  # an adapter may come and go
        return False
    heard = any(module._forward_hooks or module._forward_pre_hooks for module in (model, *linears))
    turns = getattr(body, "rotary_emb", None)
    return not heard and turns is not None and getattr(turns, "rope_type", "") not in CHANGING


@torch.inference_mode()
def _same(model: PreTrainedModel) -> bool:
    ids = torch.tensor(PROBE)
    whole = model(input_ids=ids, use_cache=False).logits[:, -1]
    try:
        cache = cache_for(model.config, ids.shape[1])
        model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True)
        steps = PlainSteps(model, cache, ids.shape[1])
        found = steps.logits(ids[:, -1], torch.tensor([ids.shape[1] - 1] * len(ids)), None)
    except Exception:  # whatever a model's own code raises: it goes the usual way
        return False
    return agree(whole, found, model.dtype)
