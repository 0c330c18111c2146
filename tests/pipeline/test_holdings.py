"""What an erasure does not reach: runs frozen after the first answer, versions made from them, backups."""

import json

import pytest

from pipeline.holdings import holdings
from pipeline.services import Services
from storage import people, runs, versions
from storage.assignments import Assignments
from storage.backup import backup
from storage.database import Database
from storage.rankings import submit
from storage.records import ModelVersion, Submission
from tests.conftest import make_campaign
from tests.ui.leads import IdleBackend


@pytest.fixture
def services(tmp_path):
    database = Database(tmp_path / "data")
    yield Services(tmp_path / "data", database, Assignments(database), IdleBackend())
    database.close()


def frozen(services, kind, campaign_id, watermark, models=()):
    """A run with the config that a launch writes."""
    made = runs.create_run(services.database, kind, campaign_id, {})
    services.directory(made).mkdir(parents=True)
    config = {"watermark": watermark, "models": {name: {"name": name} for name in models}}
    (services.directory(made) / "config.json").write_text(json.dumps(config))
    return made


def version(services, name, run, parent=None):
    path = f"{run.directory}/artifacts/model"
    versions.register_version(services.database, ModelVersion(name, "policy", path, parent, run.id))


@pytest.fixture
def answered(services):
    """(campaign, person): the person's first answer has seq 1; a reward run saw it, an earlier one did not."""
    made = make_campaign(services.database)
    services.pool.rebuild()
    ann = people.create_person(services.database, "Ann", "annotator")
    held = services.pool.claim(ann.id)
    tiers = tuple((one,) for one in held.shown)
    submit(services.database, services.pool, ann.id, Submission("key-00001", held.id, "ranking", tiers))
    return made.campaign, ann


def test_runs_frozen_after_the_first_answer_hold_it(services, answered):
    campaign, ann = answered
    frozen(services, "reward", campaign.id, 0)
    later = frozen(services, "dpo", campaign.id, 1)
    frozen(services, "generate", campaign.id, 1)
    frozen(services, "dpo", make_campaign(services.database, "other").campaign.id, 1)
    assert [one["run"] for one in holdings(services, ann.id)["runs"]] == [later.id]


def test_versions_learned_from_it_directly_and_indirectly(services, answered):
    campaign, ann = answered
    reward = frozen(services, "reward", campaign.id, 1)
    version(services, "reward-1", reward)
    ppo = frozen(services, "ppo", campaign.id, 0, models=["reward-1"])
    version(services, "ppo-1", ppo)
    version(services, "ppo-2", frozen(services, "ppo", campaign.id, 0), parent="ppo-1")
    version(services, "elsewhere", frozen(services, "starter", None, 0))
    told = holdings(services, ann.id)["versions"]
    assert [(one["version"], one["how"]) for one in told] == [
        ("reward-1", "directly"),
        ("ppo-1", "indirectly"),
        ("ppo-2", "indirectly"),
    ]


def test_a_run_on_demonstrations_holds_the_answers_that_people_edited(services, answered):
    campaign, ann = answered
    frozen(services, "sft", campaign.id, 0)
    held = [frozen(services, kind, campaign.id, 1).id for kind in ("sft", "ppo")]
    assert sorted(one["run"] for one in holdings(services, ann.id)["runs"]) == held


def test_backups_are_remembered_with_their_watermark(services, tmp_path, answered):
    file = tmp_path / "all.zip"
    backup(services.database, file)
    [told] = holdings(services, answered[1].id)["backups"]
    assert (told["path"], told["there"]) == (str(file.resolve()), True)
    file.unlink()
    assert not holdings(services, answered[1].id)["backups"][0]["there"]


def test_somebody_without_answers_is_held_by_nothing(services, answered, tmp_path):
    backup(services.database, tmp_path / "all.zip")
    frozen(services, "dpo", answered[0].id, 1)
    bob = people.create_person(services.database, "Bob", "annotator")
    assert holdings(services, bob.id) == {"runs": [], "versions": [], "backups": []}
