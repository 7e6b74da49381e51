"""Figures and galleries as files: copies, blank ones, one image repeated, rows that are no errors."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from hand_ins import scores
from matplotlib.figure import Figure
from PIL import Image

from medssl import figures
from medssl.course import Submission
from medssl.course.checker.figures.galleries import repeated_tiles
from medssl.course.checker.grade import grade

MATPLOTLIB = tuple(map(int, matplotlib.__version__.split(".")[:2]))
WEEK2 = "results/week2/breastmnist/ada"
CODES = {"same-figure", "duplicate-figure", "blank-figure", "small-figure", "gallery-repeats", "gallery-table",
         "checker-error"}


def found(root) -> list[tuple[str, str, str]]:
    return sorted((f["code"], f["severity"], f["where"].rpartition("/")[2]) for s in grade(root).submissions
                  for f in s["findings"] if f["code"] in CODES)


def put(root, **files):
    folder = root / WEEK2
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        name = file.replace("__", ".")
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def plot(seed=0, size=(4, 3), ending="png") -> bytes:
    figure, buffer = Figure(figsize=size), io.BytesIO()
    figure.subplots().plot(np.random.default_rng(seed).random(20))
    figure.savefig(buffer, dpi=60, format=ending)
    return buffer.getvalue()


def pictures(n, seed=0):
    """[n, 28, 28] smooth grey images, all of them different."""
    rough = np.random.default_rng(seed).integers(0, 200, (n, 7, 7)).astype(np.uint8)
    return [np.asarray(Image.fromarray(one).resize((28, 28), Image.Resampling.BICUBIC)) for one in rough]


def gallery(tiles, shape=None, size=(10, 2.4), dpi=100, axis=False, ending="png", titles=True) -> Image.Image:
    """As students draw it: imshow in subplots, each under its title."""
    figure, buffer = Figure(figsize=size), io.BytesIO()
    for axes, tile in zip(np.ravel(figure.subplots(*(shape or (1, len(tiles))))), tiles, strict=True):
        axes.imshow(tile, cmap="gray")
        axes.set_title("T:[1] P:1" if titles else "")
        axes.axis("on" if axis else "off")
    figure.savefig(buffer, dpi=dpi, format=ending)
    buffer.seek(0)
    return Image.open(buffer)


def all_five(layout: dict) -> list:
    """What may be found. Before matplotlib 3.11 an axis' numbers touch the tile to their left: the last has no such."""
    return [[[1, 2, 3, 4, 5]], *([[[1, 2, 3, 4]]] if "axis" in layout and MATPLOTLIB < (3, 11) else [])]


LAYOUTS = [{}, {"dpi": 150}, {"axis": True}, {"size": (7, 1.7)}, {"size": (11.3, 2.1), "dpi": 77}, {"ending": "jpg"}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_repeated_image_is_found_in_every_layout_and_distinct_ones_are_not(layout):
    tiles = pictures(6)
    assert repeated_tiles(gallery([tiles[0]] * 5, **layout)) in all_five(layout)
    assert repeated_tiles(gallery([tiles[0]] * 4 + [tiles[1]], **layout)) == [[1, 2, 3, 4]]
    assert repeated_tiles(gallery(tiles[:5], **layout)) == []


def test_a_grid_and_a_montage_without_gaps_are_read_too():
    tiles = pictures(10)
    assert repeated_tiles(gallery([*tiles[:4], tiles[1], *tiles[4:9]], (2, 5), (10, 5))) == [[2, 5]]
    row = np.concatenate([tiles[0], tiles[1], tiles[0], tiles[2]], axis=1)
    assert repeated_tiles(Image.fromarray(np.kron(row, np.ones((6, 6), np.uint8)))) == [[1, 3]]


def test_our_own_galleries_and_ordinary_figures_are_left_alone():
    tiles = torch.from_numpy(np.stack(pictures(156))[:, None])
    _, y, p = scores(1)
    figure, buffer = figures.misclassified(tiles, y, p, ("malignant", "normal, benign")), io.BytesIO()
    figure.savefig(buffer, dpi=150)
    assert repeated_tiles(Image.open(buffer)) == []
    assert repeated_tiles(Image.open(io.BytesIO(plot()))) == []


def test_the_two_most_alike_images_of_the_real_test_split_are_two(real_data_root):
    with np.load(real_data_root / "breastmnist.npz") as file:
        images = file["test_images"]
    for layout in LAYOUTS:
        assert repeated_tiles(gallery([images[k] for k in (46, 17, 12, 41, 3)], **layout)) == []
        assert repeated_tiles(gallery([images[46]] * 5, **layout)) in all_five(layout)


def test_one_figure_in_two_slots_and_a_copy_beside_it(tmp_path):
    one, other = plot(1), plot(2)
    put(tmp_path, cm_smallcnn__png=one, cm_resnet18_head__png=one, reliability_smallcnn__png=other,
        reliability_resnet18_head__png=plot(3), **{"my copy__png": other})
    assert found(tmp_path) == [("duplicate-figure", "note", "my copy.png"), ("same-figure", "error", "cm_smallcnn.png")]


def test_blank_and_tiny_figures(tmp_path):
    def flat(mode, size, ending):
        buffer = io.BytesIO()
        Image.new(mode, size, "white").save(buffer, ending)
        return buffer.getvalue()

    put(tmp_path, cm_smallcnn__png=flat("RGBA", (800, 600), "PNG"), reliability_smallcnn__png=plot(1, (1, 1)),
        class_counts__png=flat("RGB", (640, 480), "JPEG"), cm_resnet18_head__png=plot(5))
    assert found(tmp_path) == [
        ("blank-figure", "error", "class_counts.png"), ("blank-figure", "error", "cm_smallcnn.png"),
        ("small-figure", "note", "reliability_smallcnn.png")]


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("order", "severity"), [([0] * 5, "error"), ([0, 1, 2, 1, 3], "warning"), (range(5), "")])
def test_the_gallery_of_a_submission_is_looked_at(tmp_path, order, severity):
    tiles = pictures(5)
    put(tmp_path, misclassified_gallery__png=as_png(gallery([tiles[k] for k in order])))
    assert found(tmp_path) == ([("gallery-repeats", severity, "misclassified_gallery.png")] if severity else [])


def rows(change=lambda r: r, columns="index,y_true,p,predicted"):
    _, y, p = scores(4)
    wrong = np.flatnonzero((p >= 0.5) != y)[:6]
    lines = change([[str(k), str(y[k]), f"{p[k]:.6g}", str(1 - y[k])] for k in wrong])
    return "\n".join([columns, *(",".join(line[:columns.count(",") + 1]) for line in lines)])


TABLES = [(lambda r: r, ""), (lambda r: r[:2] + r[:1], "more than once"), (lambda r: [["400", *r[0][1:]]], "0 to 155"),
          (lambda r: [[r[0][0], str(1 - int(r[0][1])), r[0][2], r[0][1]]], "says label"),
          (lambda r: [[*r[0][:3], r[0][1]], *r[1:]], "called right"),
          (lambda r: [[*r[0][:3], "0.5"], *r[1:]], "neither 0 nor 1"),
          (lambda r: [[*r[0][:2], "0.123456", r[0][3]], *r[1:]], "another model")]


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize(("change", "said"), TABLES)
def test_the_rows_of_a_gallery_are_errors_of_the_scores_handed_in(tmp_path, change, said, scored):
    if scored:
        work = Submission(2, "breastmnist", "ada", tmp_path)
        for seed in (3, 4):
            index, y, p = scores(seed)
            work.predictions("predictions_smallcnn_test.csv", seed=seed, index=index, y=y, p=p)
    put(tmp_path, misclassified_gallery__csv=rows(change))
    said = "" if said == "another model" and not scored else said
    (one,) = grade(tmp_path).submissions
    messages = [f["message"] for f in one["findings"] if f["code"] == "gallery-table"]
    assert len(messages) == bool(said) and all(said in one for one in messages)


def test_without_a_predicted_column_the_threshold_decides(tmp_path):
    put(tmp_path, misclassified_gallery__csv=rows(columns="idx,label,prob"))
    assert found(tmp_path) == []
    right = [[k, y, str(float(y)), ""] for k, y, *_ in [row.split(",") for row in rows().splitlines()[1:]]]
    put(tmp_path, misclassified_gallery__csv=rows(lambda _: right, "idx,label,prob"))
    assert found(tmp_path) == [("gallery-table", "error", "misclassified_gallery.csv")]


