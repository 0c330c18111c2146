"""The Leaderboard's forms for models: a base model taken in, an adapter merged, files to download."""

import gradio as gr
import pytest

from pipeline.base_models import MODELS
from pipeline.policy import save_policy
from storage import runs, versions
from storage.records import ModelVersion
from tests.pipeline.conftest import save_tiny
from tests.pipeline.test_adapters import adapted
from tests.ui.leads import HOSTILE, FakeEvent, FakeRequest, new_campaign, new_person, new_services
from ui import leaderboard_page, model_forms
from ui.auth import Auth
from ui.run_view import detail
from ui.standing import version_list


@pytest.fixture
def asked(tmp_path):
    """(services, auth, request of a lead); the tiny model lies where leads may register from."""
    services = new_services(tmp_path)
    auth = Auth(services, "secret")
    new_campaign(services)
    save_tiny(tmp_path / MODELS / "tiny")
    yield services, auth, FakeRequest(auth, new_person(services, "lead"))
    services.close()


def take(asked, model, name="", role=model_forms.BY_ARCHITECTURE):
    services, auth, request = asked
    return model_forms.take_in(services, auth, str(model), name, role, "talk", request)


def test_a_base_model_is_taken_in_and_listed(asked):
    said, shown = take(asked, asked[0].data / MODELS / "tiny")
    assert "is a policy version now" in said and "parameters" in shown
    assert 'href="api/v1/versions/tiny/model"' in shown and 'data-act="merge"' not in shown


@pytest.mark.parametrize("model", ["", HOSTILE, "/etc", "owner/name"])
def test_what_is_no_model_is_refused_as_text(asked, model):
    said, _ = take(asked, model)
    assert 'class="error"' in said and "<img" not in said and versions.versions(asked[0].database) == []


def test_an_adapter_is_merged_by_a_run(asked):
    services, auth, request = asked
    folder = services.data / MODELS / "adapter"
    save_policy(adapted(services.data / MODELS / "tiny"), folder)
    versions.register_version(services.database, ModelVersion("mine", "policy", str(folder)))
    assert 'data-act="merge" data-version="mine"' in version_list(services, None)
    event = FakeEvent({"act": "merge", "version": "mine"})
    said = leaderboard_page.act(services, auth, "talk", event, request)[0]
    [run] = runs.runs(services.database, "export")
    assert run.id in said and run.options["merged"] is True and run.campaign_id is None
    assert detail(services, run)["models"] == {"version": "mine"}
    refused = leaderboard_page.act(services, auth, "talk", FakeEvent({"act": "merge", "version": HOSTILE}), request)[0]
    assert 'class="error"' in refused and "<img" not in refused


@pytest.mark.parametrize("role", ["annotator", "reviewer", None])
def test_only_leads_take_models_in(asked, role):
    services, auth, _ = asked
    request = FakeRequest(auth, new_person(services, role) if role else None)
    with pytest.raises(gr.Error):
        model_forms.take_in(services, auth, "owner/name", "", "policy", "talk", request)
    assert "Download" not in version_list(services, None, may_lead=False)
