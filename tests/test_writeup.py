"""From the JSON of weeks 1-8 to the paper: what counts, what is left out, what is printed, and that no text is code."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pypdf
import pytest

from medssl.cli import main
from medssl.course import Submission
from medssl.course.contract import load_contract
from medssl.course.writeup import facts, figures, paper, records, sections, tables, typeset, words
from medssl.course.writeup.collect import collect
from medssl.errors import MedsslError
from medssl.evaluate import difference, evaluate

REPO = Path(__file__).resolve().parents[1]
NASTY = '#eval("1") $x$ @foo <b> [c] `d` \\ *e* _f_ ~ // https://x.y /* = g'


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sys.modules["medssl.course.writeup.collect"], "DRAWS", 60)
    monkeypatch.setattr(figures, "DPI", 30)


def scores(dataset, seed, split="test", skill=2.0):
    counts = load_contract().datasets[dataset].counts[split]
    y = np.random.default_rng(9).permutation(np.repeat([0, 1], counts))
    logits = skill * (y - 0.4) + np.random.default_rng(seed).standard_normal(len(y))
    return range(len(y)), y, 1 / (1 + np.exp(-logits))


def hand_in(root, week, dataset="breastmnist", name="ada", runs=2, model="{}", **finish):
    """One week as a notebook would hand it in, of made scores; required metrics only."""
    work = Submission(week, dataset, name, root, backbone="ssl" if week > 3 else "random")
    about = load_contract().datasets[dataset]
    for place, slot in enumerate(s for s in work.week.files if s.kind == "metrics" and s.required):
        blocks = []
        for run in range(runs):
            index, y, p = scores(dataset, 100 * week + 10 * place + run)
            work.predictions(slot.predictions, seed=run, index=index, y=y, p=p)
            blocks.append(evaluate(y, p, tuple(about.classes), n_boot=0))
        share = 0.05 if "5pct" in slot.path else 0.1
        few = {"label_fraction": share, "n_train": round(share * sum(about.counts["train"]))}
        more = few if "label_fraction" in slot.keys else {"config": {"steps": 3}, "selected_on": "val"}
        work.metrics(slot.path, blocks, model=model.format(slot.path.removesuffix(".json")), **more)
    if week == 7:
        for split in ("val", "test"):
            index, y, p = scores(dataset, 5, split)
            work.predictions(f"predictions_{split}.csv", seed=0, index=index, y=y, p=p)
        work.config("operating_point.json", {"threshold": 0.5, "selected_on": "val"})
    work.finish(params={"STEPS": 3}, **finish)
    return work


@pytest.fixture(scope="module")
def weeks(tmp_path_factory):
    """All weeks that measure something, of one person on BreastMNIST."""
    root = tmp_path_factory.mktemp("weeks")
    for week in (1, 2, 3, 5, 6, 7):
        hand_in(root, week)
    return root


@pytest.fixture
def copy(weeks, tmp_path):
    return Path(shutil.copytree(weeks, tmp_path / "mine"))


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """Week 1 of one person."""
    root = tmp_path_factory.mktemp("little")
    hand_in(root, 1, runs=1)
    return root


def another(root, dataset, name, week="week*", whose="breastmnist/ada"):
    """The same files for somebody else."""
    for folder in root.glob(f"results/{week}/{whose}"):
        shutil.copytree(folder, folder.parents[1] / dataset / name, dirs_exist_ok=True)


def text_of(pdf: Path) -> tuple[str, int]:
    pages = pypdf.PdfReader(pdf).pages
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages)), len(pages)


def assert_clean(text):
    """Nothing that a program says when it has nothing to say, and no heading above a heading's number."""
    assert not re.search(r"\b(nan|NaN|None|inf|null)\b|\{\}|\[\]|@[A-Z]+@|\?\?", text)
    for empty in (r"5 Results 6 ", r"\d Discussion \d Limitations", r"Does self-supervision save labels\? Do prob"):
        assert not re.search(empty, text), empty


# ------------------------------------------------------------------------------------------------------------- collect
def test_everything_is_read_with_its_scores_and_method(weeks):
    found = collect(weeks)
    assert (found.people, found.datasets, found.broken) == (["ada"], ["breastmnist"], {})
    assert len(found.metrics) == 12 and [run.week for run in found.runs] == [1, 2, 3, 5, 6, 7]
    methods = {r.file: (r.method, r.label_fraction, r.n_train) for r in found.metrics}
    assert methods["metrics_resnet18_head.json"][0] == "head"
    assert methods["probe_metrics_5pct.json"] == ("probe", 0.05, 27)
    assert methods["metrics_ssl_finetune.json"] == ("finetune", 0.1, 55)
    assert methods["reference_supervised.json"] == ("supervised", 1.0, 546)
    for result in found.metrics:
        y, p = found.scores(result)
        assert p.shape == (2, 156) and ((p >= 0.5) == y).mean() == pytest.approx(result.values["accuracy"])
    assert found.operating[0]["val"].name == "predictions_val.csv"
    assert collect(weeks / "results").people == ["ada"]


def test_a_number_that_its_predictions_do_not_give_is_left_out_and_named(copy):
    folder = copy / "results/week1/breastmnist/ada"
    path = folder / "test_metrics.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"auroc": 0.987}))
    (copy / "results/week2/breastmnist/ada/metrics_smallcnn.json").write_text("{not json")
    (copy / "results/week5/breastmnist/ada/predictions_probe_5pct_test.csv").unlink()
    third = copy / "results/week3/breastmnist/ada/metrics_resnet18_head.json"
    third.write_text(third.read_text().replace('"seeds": [ 0, 1 ]', '"seeds": [ 0, 7 ]'))
    found = collect(copy)
    said = {Path(file).name: why for file, why in found.broken.items()}
    assert said.keys() == {"test_metrics.json", "metrics_smallcnn.json", "probe_metrics_5pct.json",
                           "metrics_resnet18_head.json"}
    assert said["test_metrics.json"].startswith("says auroc = 0.987, its predictions give 0.")
    assert said["metrics_smallcnn.json"].startswith("is not JSON")
    assert said["probe_metrics_5pct.json"] == "cannot be checked: predictions_probe_5pct_test.csv is not there"
    assert said["metrics_resnet18_head.json"] == "has seeds [0, 7], its predictions have [0, 1]"
    assert len(found.metrics) == 8
    lines = {Path(line.file).name: line for line in found.missing}
    assert lines["test_metrics.json"].command == "medssl run week01 --dataset breastmnist --name ada"
    assert lines["predictions_probe_5pct_test.csv"].week == 5 and lines["reliability.png"].week == 1


def test_a_link_is_not_followed(copy, tmp_path):
    path = copy / "results/week1/breastmnist/ada/test_metrics.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    (copy / "results/week1/breastmnist/eve").symlink_to(copy / "results/week1/breastmnist/ada")
    found = collect(copy)
    assert found.people == ["ada"] and not found.of(week=1)


def test_phantoms_never_meet_real_results(copy):
    another(copy, "breastphantom", "bob")
    found = collect(copy)
    assert found.people == ["ada"] and not found.phantom
    assert found.left_out == ["bob, breastphantom: phantom data, as there are real results"]


def test_a_phantom_says_so_in_every_result(tmp_path):
    hand_in(tmp_path, 1, "breastphantom")
    found = collect(tmp_path)
    assert found.phantom and all(r.phantom for r in found.metrics)
    assert [line.dataset for line in found.missing if line.file.endswith("/")] == ["pneumoniaphantom"]


def test_the_reference_counts_only_where_nobody_else_is_or_when_asked_for(copy):
    another(copy, "breastmnist", "reference")
    assert collect(copy).people == ["ada"] and "reference" in collect(copy).left_out[0]
    assert collect(copy, name="Reference").people == ["reference"]
    assert collect(copy, name="A D A").people == ["ada"]
    shutil.rmtree(copy / "results/week1/breastmnist/ada")
    for folder in copy.glob("results/*/breastmnist/ada"):
        shutil.rmtree(folder)
    assert collect(copy).people == ["reference"]


def test_draws_are_crossed_with_encoders(copy):
    path = copy / "results/week5/breastmnist/ada/probe_metrics_10pct.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoders": 2, "draws": 1}))
    found = collect(copy)
    probe = found.result("probe_metrics_10pct.json", "breastmnist", "ada")
    y, p = found.crossed(probe)
    assert (probe.encoders, probe.draws, p.shape) == (2, 1, (2, 1, 156))
    assert found.interval(probe) == difference(y, p, n_boot=60, paired=False)
    assert records.shape_of({"label_fraction": 0.1}, {"label_indices": {"draw 0": [], "draw 1": []}}, 6) == (3, 2)
    assert records.shape_of({"draws": 4}, None, 6) == (1, 6), "a shape that does not fit is none"


# ---------------------------------------------------------------------------------------------------------- typesetting
def test_no_text_becomes_code(tmp_path):
    lines = [NASTY, "= a heading", "- an item", "12. an item", "+ an item", "/ term: x", "#{", "\\", "a--b", "*/", "-?",
             "...", "a\u202eb\x07c", "[@nobody2001]", "#image(\"/etc/passwd\")"]
    source = "\n\n".join(typeset.escape(line) for line in lines)
    (tmp_path / "x.pdf").write_bytes(typeset.compile_pdf(source, tmp_path))
    text, _ = text_of(tmp_path / "x.pdf")
    squeezed = re.sub(r"\s", "", text)
    for line in lines:
        shown = re.sub(r"\s", "", "".join(c for c in line if c.isprintable()))
        assert shown in squeezed, line


def test_words_may_be_bold_and_may_cite_what_exists():
    assert typeset.prose("**so** *it* is `x`") == ('#strong[so]; #emph[it]; is '
                                                   '#text(font: "DejaVu Sans Mono", size: 0.85em)[x];')
    assert typeset.prose("see [@chen2020], not [@smith1999]") == "see #cite(<chen2020>);, not \\[\\@smith1999\\]"


def test_a_broken_source_is_told():
    with pytest.raises(MedsslError, match="cannot be typeset"):
        typeset.compile_pdf("#nothing()", REPO)


# ---------------------------------------------------------------------------------------------------------------- words
def test_words_are_made_once_and_never_touched(tmp_path):
    assert not any(words.words_of(tmp_path).values())
    path = tmp_path / "words.md"
    path.write_text(path.read_text() + "\n## discussion\n\n> a question\n\nFirst.\nStill first.\n\n- one\n- two\n\n"
                    "<!-- hidden -->\n## Nonsense\n\nnot taken\n")
    before = path.read_bytes()
    assert words.words_of(tmp_path)["Discussion"] == ["First. Still first.", "- one", "- two"]
    assert path.read_bytes() == before


# ---------------------------------------------------------------------------------------------------------------- facts
def test_nothing_is_claimed_where_the_interval_holds_zero(weeks):
    found = collect(weeks)
    for a in found.metrics[:4]:
        gap = found.difference(a, found.metrics[-1])
        said = facts.compared(found, a, found.metrics[-1])
        assert ("not enough evidence" in said) == (gap["lo"] <= 0 <= gap["hi"])
        assert ("higher." in said) == (gap["lo"] > 0) and ("lower." in said) == (gap["hi"] < 0)


def test_calibration_is_held_against_its_floor(weeks):
    found = collect(weeks)
    chosen = tables.calibrated(found, "breastmnist", "ada")
    assert [r.week for r in chosen] == [6, 6, 6]
    for r, said in zip(chosen, facts.calibration_claims(found, "breastmnist", "ada"), strict=False):
        assert (": miscalibrated." in said) == (r.values["ece"] > r.floor["p95"])


def test_the_gap_of_two_gaps_is_square_and_add():
    mean, low, high = facts.gap_of_gaps((0.1, 0.02, 0.18), (0.03, -0.05, 0.11))
    assert (mean, low, high) == pytest.approx((0.07, 0.07 - 0.08 * 2**0.5, 0.07 + 0.08 * 2**0.5))


def test_the_example_is_the_most_complete_person_and_not_the_best(copy):
    another(copy, "breastmnist", "zoe")
    (copy / "results/week1/breastmnist/ada/test_metrics.json").unlink()
    assert sections.choose_examples(collect(copy)) == [("breastmnist", "zoe")]


def shifted(root, clean_seeds=(0, 1)):
    """Week 8 of three small networks: blurred images, and the same networks on images as they are for some seeds."""
    work = Submission(8, "breastmnist", "ada", root, backbone="ssl")
    for shift, skill, seeds in (("blur", 1.0, (0, 1)), ("none", 1.2, clean_seeds)):
        for seed in seeds:
            index, y, p = scores("breastmnist", 70 + seed, skill=skill)
            work.predictions(f"predictions_robustness_{shift}_test.csv", seed=seed, index=index, y=y, p=p)
    work.finish(params={"shifts": {"blur": [0.4, 1.4]}})
    return collect(root)


def test_a_shift_is_held_against_the_same_networks_unshifted(copy):
    """Week 3's reference (skill 2) is another model: against it the blur would cost much more than it does."""
    found = shifted(copy)
    none, blur = facts.shift_rows(found, "breastmnist", "ada")
    assert (none["shift"], none["change"], blur["strength"]) == ("none", None, "1.4")
    assert blur["change"]["mean"] == pytest.approx(blur["auroc"] - none["auroc"])
    assert blur["auroc"] - found.reference("breastmnist", "ada").values["auroc"] < 2 * blur["change"]["mean"] < 0
    assert blur["change"]["hi"] - blur["change"]["lo"] < 0.12, "the same runs are drawn for both"


@pytest.mark.parametrize("clean_seeds", [(), (5, 6)])
def test_without_unshifted_scores_of_these_networks_there_is_no_change(copy, clean_seeds):
    rows = facts.shift_rows(shifted(copy, clean_seeds), "breastmnist", "ada")
    assert [row["change"] for row in rows] == [None] * len(rows) and not facts.shift_claims(rows)


LADDER = """| model | 1 % | 5 % | 10 % |
| --- | --- | --- | --- |
| majority | 0.500 | 0.500 | 0.500 |
| logistic regression on pixels | 0.587 ± 0.114 [0.512, 0.679] | 0.703 ± 0.033 [0.630, 0.775] | 0.743 ± 0.048 |
| smallcnn, trained on the same labels | – | 0.706 ± 0.077 [0.592, 0.828] | 0.807 ± 0.060 |
| SSL, linear probe | 0.648 ± 0.097 [0.570, 0.734] | 0.793 ± 0.030 [0.728, 0.857] | 0.833 ± 0.029 |

With 5 % of the labels no claim that SSL, linear probe helps: its AUROC lead does not clear 0 over smallcnn, trained \
on the same labels (+0.087 [-0.027, +0.214]).
"""


def test_the_comparison_on_the_same_labels_is_in_the_paper(copy):
    """Its question is about the same labels: sentence, count and figure have them, from week 5's ladder."""
    (copy / "results/week5/breastmnist/ada/ladder.md").write_text(LADDER)
    found = shifted(copy)
    first = facts.label_claims(found, "breastmnist", "ada")[0]
    assert first == ("With 5 % of the labels SSL, linear probe over smallcnn, trained on the same labels: AUROC +0.087 "
                     "[−0.027, +0.214], not enough evidence for a difference.")
    assert figures.rungs_below(found, "breastmnist", "ada", {0.05: 27, 0.1: 55}) == {
        "logistic regression on pixels": [(27, 0.703), (55, 0.743)],
        "smallcnn, trained on the same labels": [(27, 0.706), (55, 0.807)]}
    picture = figures.label_figure(found, "breastmnist", "ada", figures.label_curves(found, "breastmnist", "ada"))
    (legend,) = picture.legends
    assert "smallcnn, trained on the same labels" in {text.get_text() for text in legend.get_texts()}
    who = ("breastmnist", "ada")
    looks = facts.looks(found, [who], {}, {who: facts.shift_rows(found, *who)})
    assert [len(gaps) for gaps in looks.values()][1:] == [1, 1, 0], "one on the ladder, one shift, no threshold"
    reference = figures.figures.reliability  # what the panel says is another ECE than the table's
    assert "P(" in reference.__doc__ and "P(class 1)" in figures.RELIABILITY and "top-label" in figures.RELIABILITY


def test_rows_of_one_model_can_be_told_apart(weeks):
    found = collect(weeks)
    for made in (tables.label_table, tables.baseline_table, tables.settings_table):
        rows = [tuple(row[:3]) for row in made(found, [("breastmnist", "ada")])[1]]
        assert len(set(rows)) == len(rows) and not any("_" in row[0] for row in rows)


# ---------------------------------------------------------------------------------------------------------------- paper
def test_the_paper_holds_the_numbers_and_nothing_empty(copy, tmp_path):
    made = paper.build(copy, tmp_path / "out")
    text, pages = text_of(made.pdf)
    assert pages == made.pages and 4 <= pages <= 6
    assert_clean(text)
    for result in made.found.metrics:
        assert tables.spread(result, "accuracy") in text or tables.spread(result, "ece") in text, result.file
    for head in ("Abstract", "Introduction", "Data", "Methods", "Experiments", "Results", "Discussion", "Limitations",
                 "What is missing", "Reproducibility", "References"):
        assert head in text
    assert "Robustness" not in text and "Everybody" not in text, "no heading without anything under it"
    assert {path.name for path in made.figures} == {path.name for path in (tmp_path / "out/figures").iterdir()}
    assert all(re.fullmatch(r"fig\d\d_[a-z_]+\.png", path.name) for path in made.figures)
    assert "medssl run week04 --dataset breastmnist --name ada" in made.missing.read_text()
    first = made.pdf.read_bytes()
    assert paper.build(copy, tmp_path / "out", keep_source=False).pdf.read_bytes() == first, "the same bytes each time"


def test_the_final_paper_is_no_draft(copy, tmp_path):
    draft = paper.build(copy, tmp_path / "out")
    made = paper.build(copy, tmp_path / "out", found=draft.found, final=True)
    (before, _), (text, pages) = text_of(draft.pdf), text_of(made.pdf)
    assert made.pdf.name == "final_writeup.pdf" and draft.pdf.is_file() and 4 <= pages <= 6
    assert "What is missing" in before and "What is missing" not in text
    assert "medssl run week04" in made.missing.read_text()
    assert "ada · final" in text and "· final" not in before
    assert "Shown in" not in text and "medssl run 1 2" not in text and "medssl reproduce" in text


def test_the_groups_words_come_in_and_stay(little, tmp_path):
    words.words_of(tmp_path)
    text = (tmp_path / "words.md").read_text()
    own = {"Title": "Few labels, *many* doubts", "Abstract": "Our own summary.", "Discussion": NASTY}
    for head, mine in own.items():
        text = text.replace(f"## {head}\n", f"## {head}\n\n{mine}\n")
    (tmp_path / "words.md").write_text(text)
    made = paper.build(little, tmp_path)
    shown, _ = text_of(made.pdf)
    assert "Few labels, *many* doubts" in shown and "Our own summary." in shown and "We study how far" not in shown
    assert '#eval("1")' in shown and (tmp_path / "words.md").read_text() == text


@pytest.mark.parametrize("dataset", ["breastmnist", "breastphantom"])
def test_one_week_of_one_person_is_a_paper_of_four_pages(tmp_path, dataset):
    hand_in(tmp_path, 1, dataset, runs=1, model=NASTY, notes=NASTY)
    made = paper.build(tmp_path)
    text, pages = text_of(made.pdf)
    assert 4 <= pages <= 6 and made.pdf == tmp_path / "reports/final_writeup/draft_v1.pdf"
    assert_clean(text)
    assert ("Phantom data" in text and "phantom data" in text) == (dataset == "breastphantom")
    assert "#eval" in text and "1 models" not in text


def test_thirty_people_on_two_data_sets_are_six_pages_at_most(copy, tmp_path):
    for week in (3, 5, 6):
        hand_in(copy, week, "pneumoniamnist", "bob", runs=1)
    for k in range(14):
        another(copy, "breastmnist", f"person{k:02d}", "week5")
        another(copy, "pneumoniamnist", f"other{k:02d}", "week5", "pneumoniamnist/bob")
    made = paper.build(copy, tmp_path / "out")
    text, pages = text_of(made.pdf)
    assert len(made.found.people) == 30 and 4 <= pages <= 6
    assert_clean(text)
    assert "Everybody" in text and "other13" in text and "Do the two data sets differ?" in text
    assert "averaged over people" in text


def test_without_results_it_says_what_to_run(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path)])
    assert "run a week first" in capsys.readouterr().err


def test_weeks_without_a_folder_results_around_them_are_told(tmp_path, capsys):
    (tmp_path / "hand/week1/breastmnist/ada").mkdir(parents=True)
    for verb in ("report", "slides", "questions"):
        with pytest.raises(SystemExit):
            main([verb, str(tmp_path / "hand")])
        assert "no folder results/" in capsys.readouterr().err


def test_words_that_cannot_be_read_are_told_before_anything_is_made(little, tmp_path):
    (tmp_path / "words.md").write_bytes(b"\xff\xfe")
    with pytest.raises(MedsslError, match="words.md"):
        paper.build(little, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["words.md"]


def test_the_verb_takes_title_and_place(little, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(little / "results"), "--out", str(tmp_path / "o"), "--title", "T #1", "--no-keep-source"])
    assert stop.value.code == 0 and "draft_v1.pdf: " in capsys.readouterr().out
    assert "T #1" in text_of(tmp_path / "o/draft_v1.pdf")[0] and not (tmp_path / "o/draft_v1.typ").exists()


def test_the_reference_paper_is_of_the_reference_numbers():
    """Made again after the reference hand-ins change: `medssl report --name reference`."""
    text, pages = text_of(REPO / "reports/final_writeup/draft_v1.pdf")
    assert 4 <= pages <= 6
    assert_clean(text)
    for result in collect(REPO, name="reference").metrics:
        assert tables.spread(result, "auroc") in text, f"week {result.week}, {result.file}"
