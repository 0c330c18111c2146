"""The answer forms: how a campaign asks, and the check of an answer against it.

A form is a ranking, a pairwise choice with a graded margin, ratings on scales, or thumbs. Flags, a rationale and
an edited answer can stand beside any of them. Nothing here touches the database.
"""

from collections.abc import Sequence

from storage.details import Detail, Scale
from storage.records import Submission, require

FORMS = ("ranking", "pairwise", "ratings", "thumbs")
KIND_OF_FORM = {"ranking": "ranking", "pairwise": "ranking", "ratings": "ratings", "thumbs": "thumbs"}
FLAGS = ("unsafe", "off-topic", "broken", "other")
GRADES = (0, 1, 2, 3)  # about equal, slightly better, better, significantly better
LONGEST_NOTE, LONGEST_RATIONALE, LONGEST_EDIT = 500, 10_000, 50_000  # characters

QUALITY_SCALES = (
    Scale("relevance", low_label="beside the point", high_label="to the point"),
    Scale("fluency", low_label="broken", high_label="reads well"),
    Scale("coherence", low_label="contradicts itself", high_label="hangs together"),
    Scale("overall quality", low_label="poor", high_label="excellent", overall=True),
)
HHH_SCALES = (
    Scale("helpful", low_label="useless", high_label="just what was needed"),
    Scale("honest", low_label="misleading", high_label="true and frank"),
    Scale("harmless", low_label="harmful", high_label="harmless"),
)
SCALE_SETS = {"quality": QUALITY_SCALES, "helpful, honest, harmless": HHH_SCALES}


def check(submission: Submission, setup, completion_ids: Sequence[int]) -> None:
    """Refuse an answer that does not fit the campaign's form. Raises InvalidRecord with the field.

    setup: the campaign's `storage.setups.Setup`.
    """
    detail, ids = submission.detail, set(completion_ids)
    for name in ("ratings", "thumbs", "flags", "flag_notes"):
        strange = set(getattr(detail, name)) - ids
        require(not strange, name, sorted(strange), "completions of the task only")
    _check_beside(detail, setup, ids)
    if submission.kind in ("skip", "cannot_judge"):
        return
    expected = KIND_OF_FORM[setup.form]
    require(
        submission.kind in (expected, "all_bad"), "kind", submission.kind, f"{expected} or all_bad in this campaign"
    )
    _check_rationale(detail, setup)
    if submission.kind == "all_bad":
        return
    _check_form(submission, setup, ids)


def _check_form(submission: Submission, setup, ids: set[int]) -> None:
    detail = submission.detail
    if setup.form == "pairwise":
        require(detail.grade in GRADES, "grade", detail.grade, "0 (about equal) to 3 (significantly better)")
        tied = len(submission.tiers) == 1
        require(tied == (detail.grade == 0), "grade", detail.grade, "0 for a tie, 1 to 3 for a preference")
        require(tied or not detail.both_good, "both_good", True, "a tie, where both are good")
    else:
        require(detail.grade is None, "grade", detail.grade, "no grade outside the pairwise form")
    if setup.form == "thumbs":
        complete = set(detail.thumbs) == ids and set(detail.thumbs.values()) <= {1, -1}
        require(complete, "thumbs", dict(detail.thumbs), "1 or -1 for each completion")
    for scale in setup.scales:
        for completion in ids:
            value = detail.ratings.get(completion, {}).get(scale.name)
            fits = isinstance(value, int) and scale.low <= value <= scale.high
            require(fits, "ratings", value, f"{scale.low} to {scale.high} on {scale.name} for each completion")


def _check_beside(detail: Detail, setup, ids: set[int]) -> None:
    for completion, names in detail.flags.items():
        strange = set(names) - set(setup.flags)
        require(not strange, "flags", sorted(strange), "one of " + (", ".join(setup.flags) or "none"))
        note = detail.flag_notes.get(completion, "")
        require("other" not in names or note.strip() != "", "flag_notes", note, "some words beside the flag `other`")
    longest = max((len(note) for note in detail.flag_notes.values()), default=0)
    require(longest <= LONGEST_NOTE, "flag_notes", f"{longest} characters", f"at most {LONGEST_NOTE}")
    require(set(detail.reasons) <= set(setup.reasons), "reasons", list(detail.reasons), "the campaign's own reasons")
    names = {scale.name for scale in setup.scales}
    rated = {name for values in detail.ratings.values() for name in values}
    require(rated <= names, "ratings", sorted(rated - names), "the campaign's own scales")
    if detail.edit or detail.edited is not None:
        require(setup.edit, "edit", "an edited answer", "none, as the campaign asks for none")
        require(detail.edited in ids, "edited", detail.edited, "a completion of the task")
        require(0 < len(detail.edit) <= LONGEST_EDIT, "edit", len(detail.edit), f"1 to {LONGEST_EDIT} characters")


def _check_rationale(detail: Detail, setup) -> None:
    length = len(detail.rationale.strip())
    require(length <= LONGEST_RATIONALE, "rationale", f"{length} characters", f"at most {LONGEST_RATIONALE}")
    if setup.rationale == "off":
        require(not length, "rationale", detail.rationale, "none, as the campaign asks for none")
    elif setup.rationale == "required":
        needed = max(1, setup.rationale_min)
        given = length or (len(detail.reasons) and setup.rationale_min == 0)
        require(
            bool(given) and (not setup.rationale_min or length >= needed),
            "rationale",
            f"{length} characters",
            f"at least {needed} characters",
        )
    elif length:
        require(
            length >= setup.rationale_min, "rationale", f"{length} characters", f"none, or {setup.rationale_min} up"
        )
