"""A cohort with every deviation of the catalogue that lives in a submission: all found, and nobody else accused."""

from collections import Counter, defaultdict

import cohort_claims  # noqa: F401  (each enters its faults)
import cohort_contents  # noqa: F401
import cohort_names  # noqa: F401
import cohort_numbers  # noqa: F401
import pytest
from cohort import PLAN, SETS, old
from cohort_faults import FAULTS
from cohort_today import perfect, renamed

from medssl.course.checker.grade import grade

CODES = {f"D{k:02d}" for k in range(1, 43)} - {"D23", "D28", "D41"}  # negative controls; shared files of the repository
# The earlier edition asked for no predictions, run.json and environment: that they are missing is no accusation.
NOT_THERE = {"missing", "key-missing", "not-recomputable"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """{(week, data set): a perfect hand-in}, made once."""
    root = tmp_path_factory.mktemp("whole")
    return {(week, dataset): perfect(root, week, dataset, "samename") for week in range(1, 8) for dataset in SETS}


@pytest.fixture(scope="module")
def cohort(whole, tmp_path_factory) -> tuple[dict, list]:
    """(report, [(fault, hand-in, what counts as found)]): each fault in a hand-in of its own."""
    root, put = tmp_path_factory.mktemp("cohort"), []
    for fault in FAULTS:
        week, dataset, who = fault.week, fault.dataset, fault.person
        hand = renamed(whole[week, dataset], who) if fault.new else old(week, dataset, who)
        put.append((fault, hand, fault.put(hand, fault.variant)))
        hand.write(root)
    return grade(root, jobs=2).as_dict(), put


def harsh(submission: dict) -> list[dict]:
    return [f for f in submission["findings"] if f["severity"] != "note"]


def test_every_deviation_of_the_catalogue_is_found(cohort):
    report, put = cohort
    assert {fault.code for fault, *_ in put} >= CODES
    assert len({s["name"] for s in report["submissions"]}) >= 6 and len(report["submissions"]) >= 30
    assert {s["week"] for s in report["submissions"]} == set(range(1, 8))
    missed, total = defaultdict(list), Counter()
    for fault, hand, found in put:
        total[fault.code] += 1
        if not found(report, hand):
            missed[fault.code].append(f"{fault.id} ({hand.folder})")
    share = 1 - sum(map(len, missed.values())) / total.total()
    assert share >= 0.95, (f"{share:.1%}", dict(missed))
    assert not [code for code in total if len(missed[code]) > total[code] / 2], dict(missed)


def test_the_checker_never_breaks_on_them(cohort):
    found = [f for s in cohort[0]["submissions"] for f in s["findings"]]
    assert [f for f in found if f["code"] == "checker-error"] == []
    assert all(f["message"] and f["fix"] for f in found), [f for f in found if not f["fix"]]


def test_a_fault_of_the_metrics_does_not_make_the_figures_suspect(cohort):
    """One fault, few findings: what follows from an error is not said again."""
    report, put = cohort
    new = {hand.folder for fault, hand, _ in put if fault.new}
    many = {s["folder"]: [f["code"] for f in harsh(s)] for s in report["submissions"]
            if s["folder"] in new and len(harsh(s)) > 3}
    assert not many


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> tuple[dict, list]:
    """Six people, seven weeks, no fault: (report, hand-ins) of the earlier edition."""
    root = tmp_path_factory.mktemp("honest")
    hands = [old(week, list(SETS)[k % 2], f"person{k}") for k in range(6) for week in PLAN]
    for hand in hands:
        hand.write(root)
    return grade(root, jobs=2).as_dict(), hands


def test_honest_hand_ins_of_the_earlier_edition_are_accused_of_nothing(honest):
    accused = {f"{s['folder']}: {f['message']}" for s in honest[0]["submissions"] for f in harsh(s)
               if f["code"] not in NOT_THERE}
    assert not accused
    assert not [f for f in honest[0]["findings"] if f["severity"] != "note"]


@pytest.mark.parametrize("dataset", SETS)
@pytest.mark.parametrize("week", PLAN)
def test_a_perfect_submission_gets_no_finding(whole, tmp_path, week, dataset):
    whole[week, dataset].write(tmp_path)
    (submission,) = grade(tmp_path).submissions
    assert (submission["findings"], submission["score"]) == ([], 100.0)


def test_seven_perfect_weeks_of_one_person_get_no_finding(whole, tmp_path):
    for (_, dataset), hand in whole.items():
        renamed(hand, "pia" if dataset == "breastmnist" else "bo").write(tmp_path)
    report = grade(tmp_path)
    assert {s["folder"]: s["findings"] for s in report.submissions if s["findings"]} == {}
    assert report.findings == []


def test_thirty_honest_copies_of_one_seed_accuse_nobody(whole, tmp_path):
    """D28: who runs the same notebook with the same seed gets the same digits, and did nothing wrong."""
    for k in range(30):
        renamed(whole[1, "breastmnist"], f"student{k}").write(tmp_path)
        old(1, "pneumoniamnist", f"student{k}", who="starter").write(tmp_path)
        old(6, "pneumoniamnist", f"student{k}", who="starter").write(tmp_path)
    report = grade(tmp_path, jobs=2).as_dict()
    assert len(report["submissions"]) == 90
    accused = {f"{s['name']} {f['code']}: {f['message']}" for s in report["submissions"] for f in harsh(s)
               if f["code"] not in NOT_THERE}
    assert not accused and not report["findings"]
    assert not [f for s in report["submissions"] for f in s["findings"] if "student" in f["message"]]  # no names


def test_the_state_of_each_slot_is_known(honest, cohort):
    """Present, renamed, merged or missing, for each file of the course plan's folders."""
    right, wrong, states = 0, [], Counter()
    for report, hands in ((honest[0], honest[1]),
                          (cohort[0], [h for f, h, _ in cohort[1] if not f.new and f.code < "D12"])):
        by_folder = {s["folder"]: {slot["file"]: slot for slot in s["slots"]} for s in report["submissions"]}
        for hand in hands:
            for file, (statuses, names) in hand.expected.items():
                if hand.week != 8 and hand.folder in by_folder:
                    slot = by_folder[hand.folder].get("env.json" if file == "screenshot_env.png" else file)
                    gone = not names & set(hand.files)
                    wanted = {"renamed"} if file == "screenshot_env.png" else statuses
                    if gone and statuses == {"present"}:
                        continue  # merged, moved or deleted: judged with its fault
                    ok = slot and slot["status"] in wanted
                    right, states[next(iter(wanted))] = right + bool(ok), states[next(iter(wanted))] + 1
                    if not ok:
                        wrong.append((hand.folder, file, slot and slot["status"]))
    assert states["present"] > 300 and states["renamed"] > 40, states
    assert right / (right + len(wrong)) >= 0.97, wrong


