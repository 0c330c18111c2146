"""How answers of a Ray cluster read."""

import pytest

from pipeline.backend import Use
from pipeline.ray_api import Node, Submission
from pipeline.ray_words import demand, ending_of, machine_use, offer

OWN = "JOB_ENTRYPOINT_COMMAND_ERROR"


def failed(code=None, error_type=OWN, message=""):
    return Submission("s", "FAILED", message, error_type, code)


def test_a_slot_asks_for_cores_or_for_gpus_of_any_or_one_kind():
    assert demand("cpu") == {"entrypoint_num_cpus": 1} and demand("cpu:4") == {"entrypoint_num_cpus": 4}
    assert demand("gpu:2") == {"entrypoint_num_gpus": 2}
    assert demand("A100:2") == {
        "entrypoint_num_gpus": 2,
        "entrypoint_resources": {"accelerator_type:A100": 0.001},
    }


@pytest.mark.parametrize("slot", ["", "gpu:0", "gpu:", "4", "gpu:two", "a b"])
def test_a_slot_that_asks_for_nothing_is_refused(slot):
    with pytest.raises(ValueError, match="expected cpu:4, gpu:1"):
        demand(slot)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "does not know the job any more"),
        (failed(error_type="JOB_SUPERVISOR_ACTOR_DIED", message="The node died.\nmore"), "The node died."),
        (failed(error_type="JOB_SUPERVISOR_ACTOR_START_TIMEOUT"), "no reason"),
        (failed(143), "machine was taken"),
        (failed(-15), "machine was taken"),
    ],
)
def test_what_the_cluster_lost_is_to_be_started_again(found, said):
    assert said in ending_of(found).said and ending_of(found).retry


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (failed(9), "exit code 9"),
        (failed(-9), "signal 9"),
        (failed(137), "signal 9"),
        (failed(124), "time limit"),
        (failed(1, message="...logs:\nNameError: name 'x' is not defined"), "exit code 1: NameError"),
        (failed(error_type="RUNTIME_ENV_SETUP_FAILURE", message="pip failed"), "pip failed"),
        (Submission("s", "STOPPED"), "stopped on the Ray cluster"),
        (Submission("s", "SUCCEEDED"), ""),
    ],
)
def test_what_the_job_did_itself_is_not(found, said):
    assert said in ending_of(found).said and not ending_of(found).retry


def test_a_slot_offers_as_many_jobs_as_the_machines_hold():
    nodes = [Node("a", {"CPU": 8, "GPU": 4, "accelerator_type:A100": 1}), Node("b", {"CPU": 2, "memory": 4e9})]
    assert "2 GPUs; room for 2 at once" in offer("A100:2", nodes).about and offer("A100:2", nodes).accelerators == 2
    assert "no machine" in offer("H100:1", nodes).about
    assert "room for 2 at once" in offer("cpu:4", nodes).about


def test_a_machines_use_in_words_and_how_busy_it_is():
    gpus = [{"index": 0, "utilizationGpu": 97, "memoryUsed": 20480, "memoryTotal": 81920}]
    use = {"cpu": 41.6, "mem": [16 * 1024**3, 0, 25.0, 0], "gpus": gpus}
    said = "machine: 42 % of its cores · 25 % of 16 GiB of memory · GPU 0: 97 %, 20.0 of 80 GiB"
    assert machine_use(use) == Use(said, 0.97) and machine_use({**use, "gpus": []}).busy == pytest.approx(0.416)
    assert machine_use({}) == Use()
