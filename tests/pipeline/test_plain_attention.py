"""Plain attention equals torch's own, forward and backward, whatever the lengths and masks."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from pipeline.plain_attention import attend_plainly, is_short


def states(queries: int, keys: int, heads: int, shared: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    shapes = ((3, heads, queries, 8), (3, shared, keys, 8), (3, shared, keys, 8))
    return [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (5, 5), (7, 21)])
@pytest.mark.parametrize("shared", [1, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_it_equals_torchs_own_attention(queries, keys, shared, masked):
    seen = torch.ones(1, 1, queries, keys, dtype=torch.bool).tril()
    if masked:
        seen = torch.rand(3, 1, queries, keys, generator=torch.Generator().manual_seed(4)) > 0.4
        seen[..., 0] = True
    slope, found = torch.randn(3, 4, queries, 8, generator=torch.Generator().manual_seed(5)), []
    for own in (True, False):
        query, key, value = inputs = states(queries, keys, 4, shared)
        if own:
            out = attend_plainly(query, key, value, seen if masked else None, 0.3).transpose(1, 2)
        else:
            out = scaled_dot_product_attention(query, key, value, seen, scale=0.3, enable_gqa=True)
        out.backward(slope)
        found.append([out.detach(), *(one.grad for one in inputs)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_under_autocast_it_multiplies_in_bfloat16_and_answers_in_it():
    query, key, value = states(5, 5, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend_plainly(query, key, value, None, None)
    assert found.dtype == torch.bfloat16
    expected = scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_long_keys_dropout_and_options_it_does_not_know_take_the_fused_kernel():
    query, key, _ = states(5, 5, 4, 4)
    assert is_short(query, key, {"scaling": 0.3, "dropout": 0.0, "sliding_window": None})
    assert not is_short(query, torch.zeros(1, 4, 65, 8), {})
    assert not is_short(query, key, {"dropout": 0.1})
    assert not is_short(query, key, {"softcap": 30.0})
