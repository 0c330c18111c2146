"""Policies on one base: loaded once, switched, and each answering as if it had been loaded alone."""

import pytest
import torch

from pipeline import policy as policy_module
from pipeline.evaluation import work as evaluate
from pipeline.generation import work as generate
from pipeline.policy import load_policy, save_policy, token_log_probs
from pipeline.sampling import sample
from pipeline.shared_base import Shelf
from tests.pipeline.test_adapters import adapted
from tests.pipeline.test_generation import make_run, pieces

pytestmark = pytest.mark.usefixtures("exact")

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
SEQUENCES = [(prompt, [20, 21, 2]) for prompt in PROMPTS]


@pytest.fixture
def folders(tiny_policy_folder, tmp_path):
    """The base, and two adapters on it that differ."""
    first, second = adapted(tiny_policy_folder), adapted(tiny_policy_folder, rank=2, scale=0.4)
    save_policy(first, tmp_path / "first")
    save_policy(second, tmp_path / "second")
    return {"base": tiny_policy_folder, "first": tmp_path / "first", "second": tmp_path / "second"}


@pytest.fixture
def loads(monkeypatch):
    """The paths from which weights of whole models were read."""
    read, load = [], policy_module.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        policy_module.AutoModelForCausalLM, "from_pretrained", lambda path, **o: (read.append(path), load(path, **o))[1]
    )
    return read


def log_probs(policy) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(token_log_probs(policy.model, SEQUENCES))


@pytest.mark.parametrize(
    "order", [("base", "first", "second"), ("second", "base", "first"), ("first", "second", "base")]
)
def test_each_policy_answers_as_if_it_were_loaded_alone(folders, loads, order):
    alone = {name: load_policy(folders[name], "cpu") for name in order}
    del loads[:]
    shelf = Shelf(load_policy)
    seats = {name: shelf.get(folders[name], "cpu") for name in order}
    for name in (*order, *reversed(order)):
        with seats[name].meanwhile():
            assert torch.equal(log_probs(seats[name].policy), log_probs(alone[name]))
            assert sample(seats[name].policy, PROMPTS, 8) == sample(alone[name], PROMPTS, 8)
    assert loads == [str(folders["base"])]


def test_another_base_is_loaded_beside_and_a_path_told_twice_is_not(folders, loads, tiny_policy, tmp_path):
    save_policy(tiny_policy, tmp_path / "copy")
    del loads[:]
    shelf = Shelf(load_policy)
    for name in (folders["first"], tmp_path / "copy", folders["first"], tmp_path / "first" / ".." / "first"):
        shelf.get(name, "cpu")
    assert loads == [str(folders["base"]), str(tmp_path / "copy")]


def named(folders, *names):
    places = dict(zip(("policy", "against"), names, strict=False))
    return {place: {"name": name, "path": str(folders[name]), "device": "cpu"} for place, name in places.items()}


@pytest.mark.parametrize("pair", [("first", "base"), ("base", "first"), ("first", "second")])
def test_a_comparison_loads_the_base_once_and_writes_what_separate_models_write(
    folders, loads, tmp_path, monkeypatch, pair
):
    models, options = named(folders, *pair), {"k": 4, "max_new_tokens": 6}
    run = make_run(tmp_path / "shared", models, count=3, options=options)
    generate(run, run.config())
    assert loads == [str(folders["base"])]
    monkeypatch.setattr("pipeline.generation.Shelf", Apart)
    apart = make_run(tmp_path / "apart", models, count=3, options=options)
    generate(apart, apart.config())
    assert pieces(run) == pieces(apart) and len(loads) == 3


def test_an_evaluation_loads_the_base_once_and_measures_what_separate_models_do(folders, loads, tmp_path, monkeypatch):
    models, options = named(folders, "first", "base"), {"prompts": 4, "max_new_tokens": 6}
    found = [evaluate(run := make_run(tmp_path / "shared", models, options=options), run.config())["metrics"]]
    assert loads == [str(folders["base"])] and found[0]["objective/kl"] != 0
    monkeypatch.setattr("pipeline.evaluation.Shelf", Apart)
    found.append(evaluate(run := make_run(tmp_path / "apart", models, options=options), run.config())["metrics"])
    assert found[0] == found[1]


class Apart:
    """A shelf that shares nothing."""

    def __init__(self, load):
        self.load = load

    def get(self, path, device=None):
        return Shelf(self.load).get(path, device)
