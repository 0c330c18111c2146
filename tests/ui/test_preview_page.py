"""A campaign seen as an annotator sees it: the view of a task, and nothing stored or claimed."""

import json

import pytest

from storage import rankings
from storage.setups import edit_setup
from tests.ui.leads import new_campaign, new_services
from ui.answering import Desk
from ui.preview_page import next_view, scripts
from ui.ranking_board import static_text
from ui.routes import Conflict


@pytest.fixture
def desk(tmp_path):
    services = new_services(tmp_path)
    yield Desk(services)
    services.close()


def test_a_sample_looks_as_on_the_rank_page_and_claims_nothing(desk):
    made, _ = new_campaign(desk.services)
    view = next_view(desk, None, {"campaign": made.id})
    assert view["state"] == "task" and len(view["task"]["completions"]) == 3
    assert "m1" not in json.dumps(view)
    assert desk.services.pool.counts()["leases"] == 0 and rankings.answers(desk.services.database) == []


def test_each_further_sample_is_another_task_until_they_begin_again(desk):
    made, _ = new_campaign(desk.services, sets=2)
    said = [next_view(desk, None, {"campaign": made.id, "nth": n})["task"]["prompt"][0]["html"] for n in range(3)]
    assert said[0] == said[2] != said[1]


@pytest.mark.parametrize(("form", "count"), [("ranking", 4), ("pairwise", 2)])
def test_without_tasks_there_is_a_made_up_one_in_the_campaigns_form(desk, form, count):
    made, _ = new_campaign(desk.services, sets=0)
    edit_setup(desk.services.database, made.id, form=form)
    task = next_view(desk, None, {"campaign": made.id})["task"]
    assert (task["form"], len(task["completions"])) == (form, count)


def test_a_made_up_task_has_every_part_of_a_real_one(desk):
    real, _ = new_campaign(desk.services)
    empty, _ = new_campaign(desk.services, "empty", sets=0)
    one, other = (next_view(desk, None, {"campaign": made.id})["task"] for made in (real, empty))
    assert one.keys() == other.keys() and one["completions"][0].keys() == other["completions"][0].keys()


def test_the_consent_comes_first_and_is_not_stored(desk):
    made, _ = new_campaign(desk.services)
    edit_setup(desk.services.database, made.id, consent="You **agree**.")
    view = next_view(desk, None, {"campaign": made.id})
    assert view["state"] == "blocked" and "<strong>" in view["blocked"][0]["consent"]
    assert next_view(desk, None, {"campaign": made.id, "agreed": True})["state"] == "task"


def test_an_unknown_campaign_is_told(desk):
    with pytest.raises(Conflict):
        next_view(desk, None, {"campaign": 7})


def test_the_board_of_a_preview_knows_no_route_that_stores():
    assert "preview.js" in scripts() and not {"sending.js", "outbox.js", "offline.js"} & set(scripts())
    assert "rank/" not in static_text("preview.js").replace("'rank/consent'", "")
