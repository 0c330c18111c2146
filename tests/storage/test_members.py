import pytest

from storage import members
from storage.people import create_person
from storage.records import InvalidRecord
from tests.conftest import make_campaign


def test_members_come_and_go(db):
    made, ann = make_campaign(db), create_person(db, "ann", "annotator")
    members.add_member(db, made.campaign.id, ann.id)
    members.add_member(db, made.campaign.id, ann.id)
    assert members.members(db, made.campaign.id) == [ann]
    assert members.campaigns_of(db, ann.id) == [made.campaign.id]
    members.remove_member(db, made.campaign.id, ann.id)
    assert members.members(db, made.campaign.id) == []


def test_unknown_people_tasks_and_campaigns_are_refused(db):
    made = make_campaign(db)
    for call in (
        lambda: members.add_member(db, made.campaign.id, 99),
        lambda: members.add_member(db, 99, create_person(db, "ann", "annotator").id),
        lambda: members.assign(db, [999], []),
        lambda: members.set_annotator_state(db, made.campaign.id, 99, "paused", "why"),
    ):
        with pytest.raises(InvalidRecord):
            call()


def test_an_annotators_state_is_kept_with_its_reason(db):
    made, ann = make_campaign(db), create_person(db, "ann", "annotator")
    members.set_annotator_state(db, made.campaign.id, ann.id, "paused", "on holiday", ann.id)
    (state,) = members.annotator_states(db, made.campaign.id)
    assert (state.person_id, state.state, state.reason) == (ann.id, "paused", "on holiday")
