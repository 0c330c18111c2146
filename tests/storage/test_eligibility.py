from storage import checks, members, rankings
from storage.assignments import Assignments
from storage.checks import agreement
from storage.details import Detail
from storage.people import create_person
from storage.records import Submission
from storage.setups import edit_setup
from tests.conftest import make_campaign


def someone(db, name="ann"):
    return create_person(db, name, "annotator").id


def answer(db, pool, person, assignment, tiers=None, key="", **rest):
    tiers = tiers or tuple((c,) for c in sorted(assignment.shown))
    sent = Submission(key or f"key-{assignment.id}", assignment.id, "ranking", tiers, **rest)
    return rankings.submit(db, pool, person, sent)


def answer_all(db, pool, person, **rest):
    done = []
    while assignment := pool.claim(person):
        done.append(answer(db, pool, person, assignment, **rest))
    return done


def test_a_campaign_for_members_gives_others_nothing(db):
    made = make_campaign(db)
    pool, person = Assignments(db), someone(db)
    edit_setup(db, made.campaign.id, members_only=True)
    assert pool.claim(person) is None
    assert [refusal.code for refusal in pool.refusals(person)] == ["members"]
    members.add_member(db, made.campaign.id, person)
    assert pool.claim(person) is not None


def test_a_quota_ends_the_work_of_one_annotator_only(db):
    made = make_campaign(db, tasks=4)
    pool, person = Assignments(db), someone(db)
    edit_setup(db, made.campaign.id, quota=2)
    assert len(answer_all(db, pool, person)) == 2
    assert pool.refusals(person)[0].code == "quota"
    assert Assignments(db).refusals(person)[0].code == "quota"
    assert len(answer_all(db, Assignments(db), someone(db, "ben"))) == 2


def test_a_task_for_named_people_is_offered_to_them_alone(db):
    made = make_campaign(db, tasks=2)
    pool, ann, ben = Assignments(db), someone(db), someone(db, "ben")
    members.assign(db, [made.tasks[0].id], [ben])
    assert {a.task_id for a in answer_all(db, pool, ann)} == {made.tasks[1].id}
    assert {a.task_id for a in answer_all(db, Assignments(db), ben)} == {t.id for t in made.tasks}


def test_several_tasks_can_be_claimed_at_once_and_stay_the_same(db):
    make_campaign(db, tasks=5)
    pool, person = Assignments(db), someone(db)
    first = [a.id for a in pool.claim_ahead(person, count=3)]
    assert len(set(first)) == 3
    assert [a.id for a in pool.claim_ahead(person, count=3)] == first
    assert [a.id for a in Assignments(db).claim_ahead(person, count=3)] == first


def test_nobody_holds_several_tasks_where_others_would_miss_them(db):
    make_campaign(db, tasks=4, overlap=1)
    pool, ann, ben = Assignments(db), someone(db), someone(db, "ben")
    assert pool.claim(ben)
    assert len(pool.claim_ahead(ann, count=3)) == 2  # of three: one is left for the other who is at work


def test_a_campaign_with_a_higher_priority_comes_first(db):
    make_campaign(db, "one")
    two = make_campaign(db, "two")
    pool, person = Assignments(db), someone(db)
    edit_setup(db, two.campaign.id, priority=1)
    assert pool.claim(person).campaign_id == two.campaign.id


def gold(db, made, purpose="gold", count=1):
    tasks = []
    for task in made.tasks[:count]:
        ranks = [1, 2, 3, 4]
        tasks.append(checks.add_check(db, made.campaign.id, task.prompt_id, task.completion_ids, ranks, purpose))
    return tasks


def test_training_and_test_tasks_come_before_the_work(db):
    made = make_campaign(db)
    pool, person = Assignments(db), someone(db)
    gold(db, made, "test")
    gold(db, made, "training")
    purposes = [a.purpose for a in answer_all(db, pool, person)]
    assert purposes == ["training", "test", "work", "work", "work"]


def test_gold_tasks_come_in_their_share_and_do_not_count_as_data(db):
    made = make_campaign(db, tasks=10)
    pool, person = Assignments(db), someone(db)
    gold(db, made, count=10)
    edit_setup(db, made.campaign.id, gold_share=0.25)
    done = answer_all(db, pool, person)
    assert [a.purpose for a in done].count("gold") in (3, 4)
    assert {a.status for a in done if a.purpose == "gold"} == {"check"}
    assert rankings.answer_table(db).num_rows == 10


def test_who_fails_the_gold_tasks_is_paused_until_a_lead_says_otherwise(db):
    made = make_campaign(db, tasks=10)
    pool, person = Assignments(db), someone(db)
    gold(db, made, count=10)
    edit_setup(db, made.campaign.id, gold_share=0.5, gold_after=2, on_fail="pause")
    while assignment := pool.claim(person):
        answer(db, pool, person, assignment, tuple((c,) for c in sorted(assignment.shown, reverse=True)))
    (state,) = members.annotator_states(db, made.campaign.id)
    assert state.reason == "gold tasks: 0% agreement over 2, expected at least 70%"
    assert pool.refusals(person)[0].message.startswith("You are paused here: too many of your answers differ")
    members.set_annotator_state(db, made.campaign.id, person, "active", "talked it over")
    assert pool.claim(person) is not None
    assert Assignments(db).failing(made.campaign.id, person) is None


def test_a_repeat_shows_a_task_again_and_leaves_the_first_answer_alone(db):
    made = make_campaign(db, tasks=20, overlap=1)
    pool, person = Assignments(db), someone(db)
    edit_setup(db, made.campaign.id, repeat_share=0.1)
    done = answer_all(db, pool, person)
    again = [a for a in done if a.purpose == "repeat"]
    assert len(again) == 2 and again[0].status == "check"
    assert again[0].reason == "repeat: 100% agreement"
    assert rankings.answer_table(db).num_rows == 20


def test_an_answer_that_is_too_fast_is_excluded_with_the_reason(db):
    made = make_campaign(db)
    pool, person = Assignments(db), someone(db)
    edit_setup(db, made.campaign.id, min_seconds=3, on_fast="exclude")
    stored = answer(db, pool, person, pool.claim(person), seconds=0.5)
    assert (stored.status, stored.reason) == ("excluded", "too fast: 0.5 s, expected at least 3 s")
    assert pool.remaining(someone(db, "ben")) == 3


def test_flags_are_known_to_the_pool_also_after_a_restart(db):
    make_campaign(db)
    pool, person = Assignments(db), someone(db)
    assignment = pool.claim(person)
    flagged = assignment.shown[0]
    answer(db, pool, person, assignment, detail=Detail(flags={flagged: ("unsafe",)}))
    for known in (pool, Assignments(db)):
        assert known.flags(assignment.shown) == {flagged: frozenset({"unsafe"})}


def test_agreement_counts_pairs_and_halves_ties():
    assert agreement((1, 2, 3), "ranking", (1, 2, 3)) == 1
    assert agreement((1, 2, 2), "ranking", (1, 1, 2)) == 0.75  # one tie of two known pairs
    assert agreement(None, "all_bad", None) == 1
    assert agreement((1, 2), "all_bad", None) == 0
    assert agreement((1, 2), "skip", None) is None


def test_what_is_left_counts_down_by_one_whatever_the_task(db):
    made = make_campaign(db, tasks=24, overlap=1)
    pool, person = Assignments(db), someone(db)
    gold(db, made, "training")
    gold(db, made, "test", count=2)
    gold(db, made, count=24)
    edit_setup(db, made.campaign.id, gold_share=0.25, repeat_share=0.1)
    left, purposes = [pool.remaining(person)], set()
    while assignment := pool.claim(person):
        assert pool.remaining(person) == left[-1]
        purposes.add(answer(db, pool, person, assignment).purpose)
        left.append(pool.remaining(person))
    assert purposes == {"work", "training", "test", "gold", "repeat"}
    assert left == list(range(len(left) - 1, -1, -1))


def test_what_is_left_ends_with_the_quota(db):
    made = make_campaign(db, tasks=9)
    pool, person = Assignments(db), someone(db)
    gold(db, made, count=9)
    edit_setup(db, made.campaign.id, gold_share=0.3, quota=5)
    left = [pool.remaining(person)]
    while assignment := pool.claim(person):
        answer(db, pool, person, assignment)
        left.append(pool.remaining(person))
    assert left == list(range(len(left) - 1, -1, -1))
