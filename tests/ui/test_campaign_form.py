"""The form of a campaign: every choice is on it once, is stored as typed, and a wrong one is refused whole."""

import pytest

from storage import campaigns, runs, versions
from storage.forms import HHH_SCALES, QUALITY_SCALES
from storage.records import InvalidRecord, ModelVersion
from storage.setups import DEFAULT, MEANINGS, edit_setup, setup
from tests.ui.leads import HOSTILE, new_campaign
from tests.ui.test_campaigns_page import asked  # noqa: F401, a fixture
from ui import campaign_fields as fields
from ui import campaign_form as form


def typed(services, campaign, **changes):
    """The form's values as they stand, with changes."""
    values = fields.form_values(campaign, setup(services.database, campaign.id))
    for name, value in changes.items():
        values[fields.NAMES.index(name)] = value
    return values


def save(asked, campaign, **changes):  # noqa: F811
    services, auth, request = asked
    return form.save(services, auth, request, campaign.id, *typed(services, campaign, **changes))[0]


def test_every_choice_of_a_campaign_is_on_the_form_once():
    assert sorted(fields.NAMES) == sorted({*fields.CAMPAIGN_FIELDS, *MEANINGS} - {"consent_version"})


def test_the_form_of_a_campaign_saved_unchanged_changes_nothing(asked):  # noqa: F811
    services, *_ = asked
    made, _ = new_campaign(services)
    full = {"scales": QUALITY_SCALES, "reasons": ["clear", "kind"], "flags": ["unsafe"], "quota": 5, "gold_share": 0.1}
    edit_setup(services.database, made.id, **full)
    before = setup(services.database, made.id)
    assert "is saved" in save(asked, made)
    assert setup(services.database, made.id) == before
    assert campaigns.campaign(services.database, made.id) == made


def test_everything_typed_is_stored(asked):  # noqa: F811
    services, *_ = asked
    made, _ = new_campaign(services)
    told = save(
        asked, made, name="Better", criterion="kind", k=2, overlap=3, guidelines="# Read", form="pairwise",
        reasons="clear\n\n kind ", moderation_words="bad\nworse", members_only=True, rationale="optional",
        consent="You agree.", gold_share=0.2, policies=[], min_seconds=2,
    )  # fmt: skip
    changed, chosen = campaigns.campaign(services.database, made.id), setup(services.database, made.id)
    assert (changed.name, changed.k, changed.overlap, changed.guidelines_version) == ("Better", 2, 3, 2)
    assert (chosen.form, chosen.reasons, chosen.moderation_words) == ("pairwise", ("clear", "kind"), ("bad", "worse"))
    assert (chosen.members_only, chosen.consent_version, chosen.gold_share) == (True, 1, 0.2)
    assert "guidelines changed" in told and "Only members" in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "}, {"k": 1}, {"k": 2.5}, {"overlap": None}, {"form": "essay"}, {"form": "ratings"},
        {"scales": "a | 5 | 1"}, {"scales": "a | x"}, {"scales": "a\na"}, {"scales": "a | 1 | 5 | | | perhaps"},
        {"gold_share": 0.9}, {"quota": None}, {"flags": ["strange"]}, {"temperature": 0}, {"rationale": "maybe"},
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_and_nothing_at_all_is_stored(asked, wrong):  # noqa: F811
    services, *_ = asked
    made, _ = new_campaign(services)
    assert "error" in save(asked, made, **{"criterion": "other", **wrong})
    assert campaigns.campaign(services.database, made.id) == made
    assert setup(services.database, made.id) == DEFAULT


def test_scales_are_lines_that_read_back_the_same():
    for scales in (QUALITY_SCALES, HHH_SCALES):
        assert tuple(fields.scales_of(fields.scale_lines(scales))) == scales
    assert [(s.name, s.low, s.high) for s in fields.scales_of("kind\n\nwise | 0 | 10")] == [
        ("kind", 1, 5),
        ("wise", 0, 10),
    ]


def test_a_ready_set_fills_the_lines(asked):  # noqa: F811
    services, auth, request = asked
    lines = form.use_scales(services, auth, "helpful, honest, harmless", request)
    assert [scale.name for scale in fields.scales_of(lines)] == ["helpful", "honest", "harmless"]


def test_the_preview_shows_markdown_and_runs_nothing(asked):  # noqa: F811
    services, auth, request = asked
    markup = form.preview(services, auth, f"# Read **this** {HOSTILE}", "- one", request)
    assert "<h1>" in markup and "Examples" in markup and "<img" not in markup
    assert "appears here" in form.preview(services, auth, "", " ", request)


def test_completions_are_written_by_the_chosen_policies_with_the_saved_settings(asked):  # noqa: F811
    services, auth, request = asked
    made, _ = new_campaign(services)
    for name in ("one", "two", "three"):
        versions.register_version(services.database, ModelVersion(name, "policy", f"owner/{name}"))
    edit_setup(services.database, made.id, policies=["one", "two", "three"], temperature=0.7, max_new_tokens=9)
    said = form.write_completions(services, auth, made.id, 5, request)
    started = runs.runs(services.database, "generate")
    assert len(started) == 2 and all(run.id in said for run in started)
    assert {(r.options["temperature"], r.options["max_new_tokens"], r.options["prompts"]) for r in started} == {
        (0.7, 9, 5)
    }


def test_without_a_policy_writing_says_what_is_missing(asked):  # noqa: F811
    services, auth, request = asked
    made, _ = new_campaign(services)
    assert "no policy for campaign" in form.write_completions(services, auth, made.id, 0, request)
    assert "Choose a campaign" in form.write_completions(services, auth, None, 0, request)


def test_several_policies_meet_the_first():
    assert form.meetings(DEFAULT) == [{}]
    three = type(DEFAULT)(policies=("a", "b", "c"))
    assert form.meetings(three) == [{"policy": "a", "against": "b"}, {"policy": "a", "against": "c"}]


def test_an_unreadable_value_names_its_field():
    with pytest.raises(InvalidRecord, match="overlap"):
        fields.parsed("overlap", "many")
