from storage import campaigns
from storage.assignments import Assignments
from storage.setups import DEFAULT, edit_setup, setup
from tests.conftest import make_campaign


def test_a_campaign_without_a_setup_has_the_defaults(db):
    assert setup(db, make_campaign(db).campaign.id) == DEFAULT


def test_an_edit_changes_one_field_and_reaches_the_pool(db):
    pool, made = Assignments(db), make_campaign(db)
    edit_setup(db, made.campaign.id, form="pairwise")
    edited = edit_setup(db, made.campaign.id, quota=5)
    assert edited == setup(db, made.campaign.id) == pool.setup(made.campaign.id)
    assert (edited.form, edited.quota) == ("pairwise", 5)
    assert Assignments(db).setup(made.campaign.id) == edited


def test_a_changed_consent_text_gets_the_next_version(db):
    made = make_campaign(db)
    assert edit_setup(db, made.campaign.id, consent="I agree").consent_version == 1
    assert edit_setup(db, made.campaign.id, quota=1).consent_version == 1
    assert edit_setup(db, made.campaign.id, consent="I agree to more").consent_version == 2


def test_changed_examples_renew_the_guidelines(db):
    made = make_campaign(db)
    edit_setup(db, made.campaign.id, examples="Like this.")
    assert campaigns.campaign(db, made.campaign.id).guidelines_version == 2
