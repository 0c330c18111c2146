"""First start: an empty folder gets a policy and a demo to rank; a folder with data gets a policy only."""

import pytest

from pipeline import first_start
from pipeline.services import open_services
from storage import campaigns, prompts, runs, summaries, versions
from tests.pipeline.following import quick
from tests.pipeline.small_campaign import add_campaign, behave


@pytest.fixture
def services(bare_services, monkeypatch):
    monkeypatch.setattr(first_start, "DEMO_PROMPTS", 12)
    return bare_services


def start(services):
    first_start.ensure_started(services, wait=True, monitor=quick(services))


def kinds(services):
    return [run.kind for run in reversed(runs.runs(services.database))]


@pytest.mark.slow
def test_an_empty_folder_gets_a_policy_and_a_demo_to_rank(services):
    start(services)
    demo = campaigns.campaign_by_name(services.database, "demo")
    assert (demo.policy, demo.overlap, demo.k, demo.criterion) == ("starter", 2, 4, "helpful")
    assert len(prompts.prompts(services.database, demo.id)) == 12
    assert summaries.counts(services.database, demo.id)["tasks"] == 11  # the fake job leaves one prompt with one text
    assert kinds(services) == ["starter", "generate"] and first_start.state(services) is None


@pytest.mark.slow
def test_a_second_start_does_nothing(services):
    start(services)
    start(services)
    assert kinds(services) == ["starter", "generate"]


@pytest.mark.slow
def test_the_state_says_what_is_made_and_how_far_it_is(services):
    behave(services, "wait")
    first_start.ensure_started(services)
    monitor = quick(services)
    monitor.poll_once()
    now = first_start.state(services)
    assert now["step"] == "starter" and 0 <= now["progress"] < 1 and now["elapsed"] >= 0
    (services.data / "runs" / "go").touch()
    start(services)
    assert first_start.state(services) is None


def test_a_folder_with_a_campaign_gets_a_policy_only(services):
    add_campaign(services)
    start(services)
    assert kinds(services) == ["starter"]
    assert [c.name for c in campaigns.campaigns(services.database)] == ["trial"]


@pytest.mark.slow
def test_a_restart_goes_on_where_the_last_process_ended(services):
    first_start.ensure_started(services)
    quick(services).wait("0001-starter")
    services.after_run.clear()
    for run in runs.unfinished_runs(services.database):
        runs.set_state(services.database, run.id, "cancelled")
    services.close()
    reopened = open_services(services.data)
    start(reopened)
    demo = campaigns.campaign_by_name(reopened.database, "demo")
    assert summaries.counts(reopened.database, demo.id)["tasks"] == 11
    reopened.close()


@pytest.mark.slow
def test_a_failed_start_says_why_and_tries_again_next_time(services):
    behave(services, "fail")
    with pytest.raises(first_start.FirstStartFailed, match="found 0 groups"):
        start(services)
    assert first_start.state(services)["step"] == "failed" and kinds(services) == ["starter"]
    services.close()
    behave(services, "succeed")
    reopened = open_services(services.data)
    start(reopened)
    assert kinds(reopened) == ["starter", "starter", "generate"]
    assert versions.version(reopened.database, "starter") is not None
    reopened.close()


def test_another_base_model_is_registered_by_its_short_name(services, tmp_path):
    services.base_model = "owner/tiny-chat"
    start(services)
    base = versions.version(services.database, "tiny-chat")
    assert (base.path, base.role, base.run_id) == ("owner/tiny-chat", "policy", None)
    assert kinds(services) == ["generate"]
    assert campaigns.campaign_by_name(services.database, "demo").policy == "tiny-chat"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(first_start.InvalidBaseModel, match=r"without config\.json"):
        first_start.base_path(str(tmp_path))
    with pytest.raises(first_start.InvalidBaseModel, match="no such folder"):
        first_start.base_path(str(tmp_path / "gone"))
    with pytest.raises(first_start.InvalidBaseModel, match="expected 'starter'"):
        first_start.base_path("a b c")
    (tmp_path / "config.json").write_text("{}")
    assert first_start.base_path(str(tmp_path)) == str(tmp_path.resolve())
