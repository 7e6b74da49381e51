"""Extra tasks of weeks 5 to 7: their own data set, files of every kind, a README of their own."""

import json
import zipfile

import pytest
from hand_ins import CLASSES, scores

from medssl.course import Submission
from medssl.errors import MedsslError
from medssl.evaluate import evaluate


def test_extra_tasks_belong_to_their_data_set(tmp_path):
    work = Submission(5, "breastmnist", "ada", tmp_path)
    path = work.table("breast_label_grid_B1.csv", "fraction,auroc\n0.05,0.7")
    assert path == tmp_path / "results/week5/breastmnist/ada/breast_label_grid_B1.csv" and path.read_text().endswith(
        "0.7\n"
    )
    assert Submission(5, "breastphantom", "ada", tmp_path).path("x_B2.png").name == "x_B2.png"
    with pytest.raises(MedsslError, match="P1, which is for pneumoniamnist"):
        work.path("pneumo_label_grid_P1.csv")
    for file in ("../x_B1.csv", "a/x_B1.csv", "x_B6.csv", "x_B1.py", "x_b1.csv"):
        with pytest.raises(MedsslError):
            work.path(file)


def test_an_extra_task_hands_in_files_of_every_kind_and_a_readme_that_keeps_the_students_words(tmp_path):
    from matplotlib.figure import Figure

    for week in (5, 6, 7):
        for task, data in (("P3", "pneumoniaphantom"), ("B5", "breastmnist")):
            work = Submission(week, data, "ada", tmp_path)
            work.table(f"grid_{task}.csv", "a,b\n1,2")
            work.config(f"summary_{task}.json", {"auroc": 0.8})
            work.figure(f"roc_{task}.png", Figure(figsize=(1, 1)))
            path = work.task_readme(task, "| a |\n| --- |\n| 1 |", {"DRAWS": 10})
            assert path == work.folder / f"README_week{week}_{task}.md"
            new = path.read_text()
            assert f"# Task {task}: " in new and "| 1 |" in new and "| DRAWS | 10 |" in new and "What it shows" in new
            assert ("PHANTOM data" in new) == (data == "pneumoniaphantom")
            path.write_text(new.replace("> Two to four sentences", "It holds.\n\n> Two to four sentences"))
            assert "It holds." in work.task_readme(task, "| 2 |", {"DRAWS": 20}).read_text()
            assert "| 1 |" not in path.read_text() and "| DRAWS | 20 |" in path.read_text()
            there = {p.name for p in work.folder.iterdir()}
            assert there == {f"grid_{task}.csv", f"summary_{task}.json", f"roc_{task}.png", path.name}
            packed = work.pack()
            with zipfile.ZipFile(packed) as archive:
                assert {name.rpartition("/")[2] for name in archive.namelist()} == there
    with pytest.raises(MedsslError, match="P3, which is for pneumoniamnist"):
        work.task_readme("P3", "", {})
    with pytest.raises(MedsslError, match="hands in no file"):
        work.task_readme("B6", "", {})


def test_predictions_and_metrics_of_an_extra_task_are_recomputed_like_a_weeks(tmp_path):
    index, y, p = scores(0)
    work = Submission(6, "breastmnist", "ada", tmp_path)
    work.predictions("predictions_platt_B5.csv", seed=0, index=index, y=y, p=p)
    result, more = evaluate(y, p, CLASSES, n_boot=0), {"model": "platt", "predictions": "predictions_platt_B5.csv"}
    with pytest.raises(MedsslError, match="auroc = 0.99"):
        work.metrics("metrics_platt_B5.json", [result | {"auroc": 0.99}], **more)
    work.metrics("metrics_platt_B5.json", [result], **more)
    assert json.loads(work.path("metrics_platt_B5.json").read_text())["predictions"] == more["predictions"]
