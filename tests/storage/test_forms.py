import pytest

from storage.details import Detail, Scale, implied_ranks
from storage.forms import QUALITY_SCALES, check
from storage.records import InvalidRecord, Submission
from storage.setups import Setup, from_json, made, to_json

IDS = (11, 12)


def sent(kind="ranking", tiers=((11,), (12,)), **detail):
    return Submission("a-key-of-mine", "lease", kind, tiers if kind == "ranking" else (), detail=Detail(**detail))


def refused(setup, submission):
    with pytest.raises(InvalidRecord) as error:
        check(submission, setup, IDS)
    return error.value.field


def test_a_detail_is_the_same_after_storing():
    detail = Detail(2, ratings={11: {"fluency": 3}}, flags={12: ("unsafe", "other")}, flag_notes={12: "rude"}, edit="x")
    assert Detail.from_json(detail.to_json()) == detail
    assert Detail().to_json() == "{}"


def test_a_grade_of_zero_is_kept():
    assert Detail.from_json(Detail(grade=0).to_json()).grade == 0


def test_ratings_rank_by_the_overall_scale_else_by_the_mean():
    ratings = {11: {"fluency": 5, "overall": 1}, 12: {"fluency": 1, "overall": 2}}
    assert implied_ranks("ratings", Detail(ratings=ratings), IDS, "overall") == (2, 1)
    assert implied_ranks("ratings", Detail(ratings=ratings), IDS) == (1, 2)


def test_thumbs_rank_up_before_down():
    assert implied_ranks("thumbs", Detail(thumbs={11: -1, 12: 1}), IDS) == (2, 1)
    assert implied_ranks("thumbs", Detail(thumbs={11: 1}), IDS) is None


def test_a_pair_needs_its_grade_and_a_ranking_has_none():
    assert refused(Setup(form="pairwise"), sent()) == "grade"
    assert refused(Setup(), sent(grade=2)) == "grade"
    check(sent(grade=2), Setup(form="pairwise"), IDS)


def test_every_completion_is_rated_on_every_scale():
    setup = Setup(form="ratings", scales=(Scale("fluency"),))
    assert refused(setup, sent("ratings", ratings={11: {"fluency": 3}})) == "ratings"
    assert refused(setup, sent("ratings", ratings={11: {"fluency": 3}, 12: {"fluency": 6}})) == "ratings"
    check(sent("ratings", ratings={11: {"fluency": 3}, 12: {"fluency": 5}}), setup, IDS)


def test_a_kind_of_another_form_is_refused():
    assert refused(Setup(form="thumbs"), sent()) == "kind"
    check(sent("cannot_judge"), Setup(form="thumbs"), IDS)


def test_a_required_rationale_has_its_length():
    setup = Setup(rationale="required", rationale_min=5, reasons=("clear",))
    assert refused(setup, sent(rationale="no", reasons=("clear",))) == "rationale"
    check(sent(rationale="because"), setup, IDS)
    check(sent(reasons=("clear",)), Setup(rationale="required", reasons=("clear",)), IDS)


def test_flags_and_reasons_are_the_campaigns_own():
    assert refused(Setup(flags=("unsafe",)), sent(flags={11: ("broken",)})) == "flags"
    assert refused(Setup(), sent(flags={99: ("unsafe",)})) == "flags"
    assert refused(Setup(), sent(flags={11: ("other",)})) == "flag_notes"
    assert refused(Setup(), sent(reasons=("clear",))) == "reasons"


def test_an_edit_is_taken_only_where_it_is_asked_for():
    assert refused(Setup(), sent(edited=11, edit="better")) == "edit"
    assert refused(Setup(edit=True), sent(edited=99, edit="better")) == "edited"
    check(sent(edited=11, edit="better"), Setup(edit=True), IDS)


def test_a_setup_is_the_same_after_storing_and_refuses_wrong_values():
    setup = made({"form": "ratings", "scales": [vars(scale) for scale in QUALITY_SCALES], "gold_share": 0.1})
    assert from_json(to_json(setup)) == setup and setup.overall == "overall quality"
    for field, value in (("form", "essay"), ("gold_share", 2), ("quota", "many"), ("colour", 1), ("edit", "yes")):
        with pytest.raises(InvalidRecord) as error:
            made({field: value})
        assert error.value.field == field
