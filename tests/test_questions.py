"""The three questions: the interval answers, phantoms never do, and an unfair comparison is no evidence against."""

import json
import shutil
from pathlib import Path

import pytest

from medssl.course.writeup import collect, evidence, questions
from medssl.course.writeup.evidence import Lead
from medssl.course.writeup.questions import NO, OPEN, YES, answer, page, settle

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "N_BOOT", 60)
        yield


@pytest.fixture(scope="module")
def ours():
    found = collect(REPO, dataset="breastmnist", name="reference")
    return found, answer(found)


def judge(leads):
    return questions.judge(leads, evidence.holm(leads))


def lead(mean, half, handicap=False, fraction=0.1, dataset="breastmnist"):
    return Lead("labels", dataset, "ada", "SSL over none", "auroc", fraction, mean, mean - half, mean + half, handicap,
                "3 runs", ["f"])


def test_the_reference_answers_with_its_own_intervals_files_and_no_more(ours):
    found, answers = ours
    one, two, three = answers
    assert [a.verdict for a in answers] == [OPEN, OPEN, OPEN]
    assert "+0.087 [-0.027, +0.214]" in one.sentence and "about 1.9 times" in one.settle
    gap = found.difference(found.result("probe_metrics_10pct.json", "breastmnist", "reference"),
                           found.reference("breastmnist", "reference"))
    mine = next(x for x in one.leads if "week 5" in x.what and x.fraction == 0.1 and x.metric == "auroc")
    assert (mine.mean, mine.lo, mine.hi) == (gap["mean"], gap["lo"], gap["hi"]) and mine.handicap
    nll = next(x for x in two.leads if x.metric == "nll")
    assert nll.lo < nll.mean < nll.hi  # turned round: a lower NLL is a lead
    assert "no PneumoniaMNIST result" in three.sentence and "--dataset pneumoniamnist" in three.settle
    assert all((REPO / source).is_file() for a in answers for source in a.sources)


def test_the_page_has_every_lead_and_no_hole(ours):
    found, answers = ours
    text = page(answers, found)
    assert text.count("| breastmnist |") >= sum(len(a.leads) for a in answers)
    assert "Holm" in text and not [word for word in ("None", "nan", "NaN", "[]", "{}") if word in text.split()]
    for a in answers:
        assert a.sentence.strip() and a.settle.strip()


def test_sentences_of_the_ladder_are_read_as_they_were_written(tmp_path):
    helps = ("| model | 5 % | 10 % |\n| --- | --- | --- |\n| majority | 0.5 | 0.5 |\n| pixels | 0.6 | 0.7 |\n"
             "| smallcnn, trained on the same labels | 0.7 | – |\n| SSL, linear probe | 0.8 | 0.9 |\n\n"
             "With 5 % of the labels SSL, linear probe helps: its AUROC lead clears 0 over every row before it, least "
             "over smallcnn, trained on the same labels (+0.100 [+0.050, +0.150]).\n"
             "With 10 % of the labels no claim that SSL, linear probe helps: its AUROC lead does not clear 0 over "
             "pixels (+0.010 [-0.020, +0.040]), random, frozen (-0.001 [-0.020, +0.010]). Not compared, no run with "
             "this share: x.")
    shutil.copytree(REPO / "results/week5/breastmnist/reference", tmp_path / "results/week5/breastmnist/ada")
    (tmp_path / "results/week5/breastmnist/ada/ladder.md").write_text(helps)
    rows = evidence.ladders(collect(tmp_path), "breastmnist", "ada")
    assert [(row[0].what, row[0].mean, row[0].lo, row[0].hi, row[2]) for row in rows] == [
        ("SSL, linear probe over smallcnn, trained on the same labels", 0.1, 0.05, 0.15, 0.05),
        ("SSL, linear probe over pixels", 0.01, -0.02, 0.04, 0.1),
        ("SSL, linear probe over random, frozen", -0.001, -0.02, 0.01, 0.1)]
    assert rows[0][3] == ["pixels", "smallcnn, trained on the same labels"] and rows[1][3] == []
    one = answer(collect(tmp_path))[0]
    assert rows[0][0].said and one.verdict == OPEN  # a sentence is shown, and decides nothing
    assert "+0.100 [+0.050, +0.150]" in one.sentence and "as the file says" in one.sentence
    assert one.corrected[0] is None and "| – | as the file of week 5 says |" in page([one], collect(tmp_path))


@pytest.mark.parametrize("text", ["", "\xff" * 50, "With 5 % of the labels " + "SSL (" * 9000, "| | |\n" * 9000,
                                  "With 5 % of the labels SSL helps: least over a (+9.9 [+1.0, +2.0])"])
def test_a_ladder_that_is_none_is_no_evidence_and_no_crash(tmp_path, text):
    shutil.copytree(REPO / "results/week5/breastmnist/reference", tmp_path / "results/week5/breastmnist/ada")
    (tmp_path / "results/week5/breastmnist/ada/ladder.md").write_text(text)
    assert evidence.ladders(collect(tmp_path), "breastmnist", "ada") == []


def test_a_lead_counts_despite_fewer_labels_and_a_deficit_does_not():
    assert judge([lead(0.2, 0.05, handicap=True)])[0] == YES
    assert judge([lead(-0.2, 0.05, handicap=True)])[0] == OPEN
    assert judge([lead(-0.2, 0.05)])[1][0].mean == -0.2


def test_one_of_many_that_just_clears_zero_is_luck_and_small_ones_are_a_no():
    just = lead(0.05, 0.045)
    assert judge([just])[0] == YES and judge([just, *[lead(0.0, 0.05)] * 9])[0] == OPEN
    assert judge([lead(0.001, 0.01), lead(-0.002, 0.01)])[0] == NO
    assert judge([lead(0.001, 0.01), lead(0.01, 0.04)])[0] == OPEN
    assert judge([lead(0.001, 0.01, handicap=True)])[0] == OPEN and judge([])[0] == OPEN


def interval(mean, lo, hi):
    return Lead("labels", "breastmnist", "ada", "SSL over none", "auroc", 0.1, mean, lo, hi, False, "3 runs", ["f"])


@pytest.mark.parametrize("ends", [(0.1, 0.1, 0.1), (0.0, 0.0, 0.0), (0.1, 0.2, 0.3)])
def test_an_interval_without_a_width_or_its_mean_has_no_p(ends):
    assert interval(*ends).p is None and judge([interval(*ends)])[1] == []
    assert evidence.holm([interval(*ends), lead(0.05, 0.049)])[1] < 0.05  # and was not asked


@pytest.mark.parametrize("ends", [(0.05, 0.001, 0.3), (0.05, -0.001, 0.06), (-0.05, -0.3, -0.001),
                                  (-0.05, -0.06, 0.001)])
def test_a_skewed_interval_clears_zero_where_its_p_is_small(ends):
    one = interval(*ends)
    assert (one.p < 0.05) == (one.lo > 0 or one.hi < 0) == bool(judge([one])[1])


def test_the_verdict_uses_the_p_values_that_are_shown(tmp_path, monkeypatch):
    just, others = lead(0.05, 0.047), [lead(0.0, 0.05, fraction=1.0)] * 5
    monkeypatch.setattr(questions, "against_reference", lambda *rest: [just, *others])
    monkeypatch.setattr(questions, "ladders", lambda *rest: [])
    monkeypatch.setattr(questions, "settle", lambda *rest: "")
    out = questions.Answer(1, "")
    questions.label_efficiency(out, None, [("breastmnist", "ada")])
    assert out.corrected[0] > 0.05 and out.verdict == OPEN  # alone, or among its share of the labels, it would be a yes


def test_what_would_settle_it_grows_with_the_square(ours):
    found, _ = ours
    assert "about 4.0 times" in settle(found, [lead(0.05, 0.1)]) and "about 624" in settle(found, [lead(0.05, 0.1)])
    assert "too small a difference" in settle(found, [lead(0.001, 0.1)])
    assert "same labels" in settle(found, [lead(0.05, 0.1, handicap=True)])


def test_the_two_data_sets_are_compared_where_both_have_the_same_comparison(ours):
    found, _ = ours
    leads = [lead(0.3, 0.03), lead(0.1, 0.04, dataset="pneumoniamnist"), lead(0.5, 0.01, fraction=0.05)]
    out = questions.Answer(3, "")
    questions.both(out, found, leads)
    (gap,) = out.leads
    assert (gap.mean, gap.hi - gap.mean) == pytest.approx((0.2, 0.05)) and out.verdict == YES
    assert "larger on Breast" in out.sentence
    out = questions.Answer(3, "")
    questions.both(out, found, [lead(0.1, 0.03), lead(0.1, 0.04, dataset="pneumoniamnist")])
    assert out.verdict == OPEN and "told to differ" in out.sentence


def test_phantoms_answer_nothing(tmp_path):
    for week in (3, 5):
        target = tmp_path / f"results/week{week}/breastphantom/ada"
        shutil.copytree(REPO / f"results/week{week}/breastmnist/reference", target)
        for path in target.glob("*.json"):
            content = json.loads(path.read_text())
            if "per_seed" in content:
                content.update(dataset="breastphantom", data={"phantom": True})
                path.write_text(json.dumps(content))
    found = collect(tmp_path)
    assert found.phantom
    for one in answer(found):
        assert one.verdict == OPEN and "phantom" in one.sentence and not one.leads


def test_an_empty_folder_has_an_honest_page(tmp_path):
    lines = questions.write_questions(tmp_path)
    assert lines[0].startswith("1. When") and "nobody can tell" in lines[0]
    assert (tmp_path / "reports/three_questions.md").read_text().count("Not enough evidence") == 3
