"""Precision and attention follow from what the machine says of itself, never from a timing."""

import pytest
import torch

from pipeline import precision


@pytest.mark.parametrize(
    ("device", "length", "expected"), [("cpu", 40, "eager"), ("cpu", 4096, "sdpa"), ("cuda", 40, "sdpa")]
)
def test_short_sequences_on_a_cpu_take_eager_attention(device, length, expected):
    assert precision.attention_for(torch.device(device), length) == expected


@pytest.mark.parametrize("fast", [True, False])
def test_autocast_lowers_products_only_where_the_machine_is_fast_at_it(monkeypatch, fast):
    monkeypatch.setattr(precision, "bfloat16_is_fast", lambda device: fast)
    with precision.autocast("cpu"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)


def test_a_cpu_without_the_instructions_is_not_fast(monkeypatch):
    for flag in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, flag, lambda: False, raising=False)
    assert not precision.bfloat16_is_fast(torch.device("cpu"))


def test_a_named_device_is_taken():
    assert precision.pick_device("cpu") == torch.device("cpu")
