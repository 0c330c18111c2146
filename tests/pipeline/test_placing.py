"""Where a run may go, and what a lead has to agree to first."""

import pytest

from pipeline import run_life
from pipeline.backend import Backends
from pipeline.backend_checks import checks_of
from pipeline.configs import InvalidOption
from pipeline.device_sets import WHOLE
from pipeline.launch import launch
from pipeline.local_backend import LocalBackend
from pipeline.placing import placed
from pipeline.preflight import preflight
from pipeline.run_directory import RunDirectory
from pipeline.services import PROJECT_ROOT
from pipeline.slots import holds
from pipeline.snapshot import LaunchRefused
from storage import runs
from tests.pipeline.far_backend import FarBackend


@pytest.fixture
def services(services, tmp_path):
    """Two places on this machine and two elsewhere."""
    here = LocalBackend(PROJECT_ROOT, ("0,1", "cpu"))
    services.backends = Backends({"local": here, "far": FarBackend(tmp_path, ("small", "large"))}, "local")
    return services


def start(services, campaign, agreed=None, **resources):
    return launch(services, "reward", campaign.id, resources=resources, confirmed_cost=agreed)


@pytest.mark.parametrize(
    "kind, wanted, refusal",
    [
        ("reward", {"backend": "slurm"}, "backend: found slurm, expected one of local, far"),
        ("reward", {"hardware": "2"}, "hardware: found 2, expected a slot of local: 0,1, cpu"),
        ("starter", {"processes": 2}, "processes: found 2, expected 1 for a starter run"),
        ("generate", {"processes": 2}, "processes: found 2, expected 1 for a generate run"),
        (
            "ppo",
            {"processes": 2, "strategy": "fsdp"},
            "strategy: found fsdp, expected ddp for a ppo run: each process sam",
        ),
        ("reward", {"processes": 3, "hardware": "0,1"}, "processes: found 3, expected at most 2, one for each GPU"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(services, kind, wanted, refusal):
    with pytest.raises(InvalidOption, match=refusal):
        placed(services, kind, wanted)


def test_weights_in_4_bits_go_nowhere_in_shards(services, campaign):
    wanted = {"processes": 2, "strategy": "fsdp", "hardware": "cpu"}
    with pytest.raises(InvalidOption, match="strategy: found fsdp, expected ddp with quantize=nf4"):
        launch(services, "dpo", campaign.id, {"quantize": "nf4", "lora_rank": 8}, resources=wanted)
    assert launch(services, "dpo", campaign.id, {"lora_rank": 8}, resources=wanted).state == "queued"


def test_several_processes_share_the_processors_where_a_set_has_no_gpu(services):
    assert placed(services, "dpo", {"processes": 2, "hardware": "cpu"}).processes == 2
    assert holds("cpu", 4) and holds(WHOLE, 4) and holds("0,1", 2) and not holds("0,1", 3)


def test_a_run_with_a_price_starts_only_when_somebody_agreed_to_it(services, campaign):
    services.backends.there["far"].price = 2.0
    with pytest.raises(InvalidOption, match=r"confirmed_cost: found none, expected at least 8\.00 dollars"):
        start(services, campaign, backend="far")
    with pytest.raises(InvalidOption, match=r"confirmed_cost: found 0\.50, expected at least 1\.00 dollars"):
        start(services, campaign, agreed=0.5, backend="far", timeout_minutes=30)
    assert runs.runs(services.database) == []
    assert start(services, campaign, agreed=1.0, backend="far", timeout_minutes=30).state == "queued"


def test_the_price_counts_the_backends_margin_and_the_dearest_slot_that_a_run_may_get(services, campaign):
    far = services.backends.there["far"]
    far.margin, far.prices = 30, {"small": 1.0, "large": 3.0}
    with pytest.raises(InvalidOption, match=r"at least 4\.50 dollars"):
        start(services, campaign, backend="far", timeout_minutes=60)
    with pytest.raises(InvalidOption, match=r"at least 1\.50 dollars"):
        start(services, campaign, backend="far", hardware="small", timeout_minutes=60)


def test_a_price_that_no_time_limit_bounds_is_refused(services, campaign):
    services.backends.there["far"].price, services.backends.there["far"].usual_timeout = 2.0, 0
    with pytest.raises(InvalidOption, match="timeout_minutes: found 0, expected a limit, because far costs money"):
        start(services, campaign, agreed=100.0, backend="far")


def test_a_run_without_a_price_needs_no_agreement(services, campaign):
    assert start(services, campaign, backend="far").state == start(services, campaign).state == "queued"


def test_a_backend_that_cannot_say_its_price_gets_no_run(services, campaign):
    services.backends.there["far"].down = True
    with pytest.raises(LaunchRefused, match="far: found no answer, expected what it offers and costs"):
        start(services, campaign, backend="far")


def test_a_backend_that_hangs_holds_up_no_start(services, campaign):
    checks_of(services).patience = 0.1
    services.backends.there["far"].telling.clear()
    with pytest.raises(LaunchRefused, match="far has not answered within 0 s"):
        start(services, campaign, backend="far")
    found = preflight(services, "reward", campaign.id, {}, {}, {"backend": "far"})
    assert found[0].level == "problem" and "far has not answered" in found[0].said
    services.backends.there["far"].telling.set()


def test_a_resumed_run_may_take_longer_and_costs_what_that_costs(services, campaign):
    services.backends.there["far"].price = 2.0
    run = start(services, campaign, agreed=1.0, backend="far", timeout_minutes=30)
    run = runs.set_state(services.database, run.id, "failed", "It reached its time limit of 30 minutes.")
    with pytest.raises(InvalidOption, match=r"at least 2\.00 dollars"):
        run_life.resume(services, run, timeout_minutes=60, confirmed_cost=1.0)
    run_life.resume(services, run, timeout_minutes=60, confirmed_cost=2.0)
    assert RunDirectory(services.directory(run)).config()["resources"]["timeout_minutes"] == 60


def test_running_again_goes_to_the_same_place_unless_told_otherwise(services, campaign):
    first = start(services, campaign, backend="far", hardware="large", timeout_minutes=9)
    second = run_life.again(services, first, resources={"timeout_minutes": 20})
    there = RunDirectory(services.directory(second)).config()["resources"]
    assert (there["backend"], there["hardware"], there["timeout_minutes"]) == ("far", "large", 20)
