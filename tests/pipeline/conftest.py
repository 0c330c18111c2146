"""What tests of the pipeline share: a tiny random policy in Hugging Face format, made once per test session; a data
folder with fake jobs and a ranked campaign; an empty run directory; a stand-in of the Hub. No network.

A module whose data folder differs says how in a fixture `services` of its own, made from `bare_services`.
"""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipeline.policy import Policy, load_policy
from pipeline.run_directory import RunDirectory
from pipeline.services import PROJECT_ROOT
from tests.pipeline.hub_server import HubServer, make_client_quick
from tests.pipeline.small_campaign import add_base, add_ranked_campaign, end_jobs, open_folder
from tests.pipeline.training_data import exact_arithmetic

TEXTS = [
    "Once upon a time a fox lived near a river. The fox found a red kite and was happy.",
    "Thank you very much for the warm soup. It was kind of you to bring it over.",
    "Cut the onion, heat the pan and stir for ten minutes. Serve it with bread.",
    "Sorry, I do not know. Write a short story about a bear. How do I clean a lamp?",
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with about 400 ids, distinct pad, bos and eos tokens, and a chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS, trainer)
    names = {"pad_token": "<|pad|>", "bos_token": "<|bos|>", "eos_token": "<|eos|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **names)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tiny_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of 2 layers, 32 wide."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def save_tiny(folder: Path) -> Path:
    """The tiny random policy written into a folder, which is returned."""
    tokenizer = tiny_tokenizer()
    tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_policy_folder(tmp_path_factory) -> Path:
    """A folder with a tiny random policy; shared by all tests, so never write into it."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def tiny_policy(tiny_policy_folder) -> Policy:
    """The tiny policy on the CPU, fresh for each test."""
    return load_policy(tiny_policy_folder, device="cpu")


@pytest.fixture
def exact(monkeypatch):
    """Exact arithmetic, for equalities that bfloat16 products would blur."""
    exact_arithmetic(monkeypatch)


@pytest.fixture
def bare_services(tmp_path, monkeypatch):
    """Services on a new data folder without a model, whose every job is the fake one; none outlives its test."""
    opened = open_folder(tmp_path / "data", monkeypatch)
    yield opened
    end_jobs(opened)
    opened.close()


@pytest.fixture
def services(bare_services):
    """Services with a base policy and fake jobs."""
    add_base(bare_services)
    return bare_services


@pytest.fixture
def campaign(services):
    """A campaign with six tasks, which one person has ranked."""
    return add_ranked_campaign(services)


@pytest.fixture
def run(tmp_path):
    """The directory of a DPO run in which nothing has happened yet."""
    return RunDirectory.create(tmp_path / "0001-dpo", {"kind": "dpo"})


@pytest.fixture
def orders(tmp_path):
    """The folder in which the jobs of the stand-in of the Hub look for what they are to do."""
    folder = tmp_path / "orders"
    folder.mkdir()
    return folder


@pytest.fixture
def hub(tmp_path, orders, monkeypatch):
    """A stand-in of the Hub, whose machines are folders here."""
    make_client_quick(monkeypatch)
    machine = {"PYTHONPATH": str(PROJECT_ROOT), "HUB_JOB_ORDERS": str(orders)}
    with HubServer(tmp_path / "machines", machine, grace=5.0) as server:
        yield server
