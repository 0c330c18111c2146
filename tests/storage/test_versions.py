"""Model versions: registered once, together with the end of their run."""

import pytest

from storage import runs, versions
from storage.database import Database
from storage.records import ModelVersion


@pytest.fixture
def database():
    with Database(None) as opened:
        yield opened


def made_by(database, kind, campaign_id, name, role="policy", parent=None):
    run = runs.create_run(database, kind, campaign_id, {})
    new = ModelVersion(name, role, f"{run.directory}/artifacts/model", parent, run.id, "hash", {"eval/accuracy": 0.9})
    return versions.register_version(database, new, run.id)


def test_a_version_and_its_runs_success_enter_together(database):
    stored = made_by(database, "ppo", 1, "ppo-1", parent="starter")
    assert (stored.parent, stored.metrics, stored.data_hash) == ("starter", {"eval/accuracy": 0.9}, "hash")
    run = runs.run(database, stored.run_id)
    assert (run.state, run.reason) == ("succeeded", "made ppo-1")


def test_registering_a_run_again_returns_what_is_stored(database):
    first = made_by(database, "ppo", 1, "ppo-1")
    again = versions.register_version(database, ModelVersion("ppo-2", "policy", "x", run_id=first.run_id), first.run_id)
    assert again == first
    assert [v.name for v in versions.versions(database)] == ["ppo-1"]


def test_neither_enters_when_one_cannot(database):
    run = runs.create_run(database, "ppo", 1, {})
    runs.set_state(database, run.id, "cancelled")
    with pytest.raises(runs.RunEnded):
        versions.register_version(database, ModelVersion("ppo-1", "policy", "x", run_id=run.id), run.id)
    assert versions.version(database, "ppo-1") is None


def test_a_name_belongs_to_one_version(database):
    made_by(database, "ppo", 1, "ppo-1")
    with pytest.raises(versions.VersionExists, match="ppo-1"):
        made_by(database, "ppo", 1, "ppo-1")


def test_the_newest_of_a_role_is_the_campaigns_own(database):
    made_by(database, "reward", 1, "reward-1", "reward")
    made_by(database, "reward", 2, "reward-2", "reward")
    assert versions.newest_version(database, "reward", 1).name == "reward-1"
    assert versions.newest_version(database, "reward").name == "reward-2"
    assert versions.newest_version(database, "reward", 3) is None


def test_versions_of_no_campaign_belong_to_all(database):
    made_by(database, "starter", None, "starter")
    versions.register_version(database, ModelVersion("base", "policy", "owner/base"))
    assert [v.name for v in versions.versions(database, "policy", 5)] == ["starter", "base"]


def test_names_count_up_by_kind(database):
    assert versions.next_version_name(database, "starter") == "starter"
    made_by(database, "starter", None, "starter")
    made_by(database, "ppo", 1, "ppo-1")
    assert versions.next_version_name(database, "starter") == "starter-2"
    assert versions.next_version_name(database, "ppo") == "ppo-2"
    assert versions.next_version_name(database, "dpo") == "dpo-1"
