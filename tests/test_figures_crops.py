"""Boxes are drawn where they are, and ratios counted as they are."""

import numpy as np
import pytest
import torch

from medssl.errors import MedsslError
from medssl.figures import crop_boxes, ratio_histograms


def test_a_box_in_mm_frames_what_lies_in_it_in_every_plane():
    array, spacing = np.zeros((20, 30, 40)), (5.0, 2.0, 1.0)
    array[4:9, 20:26, 3:17] = 1  # in no axis in the middle, so no flip goes unseen
    low, high = np.array([4, 20, 3]) - 0.5, np.array([9, 26, 17]) - 0.5
    box = torch.tensor(np.stack([low * spacing, high * spacing]))[None]
    figure = crop_boxes(torch.tensor(array), spacing, {"local": box}, at=(6, 22, 10))
    for ax in figure.axes[:3]:
        picture, frame = np.asarray(ax.images[0].get_array()), ax.patches[0]
        rows, columns = (np.flatnonzero(picture.any(axis)) for axis in (1, 0))
        assert frame.get_x() == columns[0] - 0.5 and frame.get_y() == rows[0] - 0.5
        assert frame.get_width() == len(columns) and frame.get_height() == len(rows)
        assert frame.get_linestyle() != ":"
    away = crop_boxes(array, spacing, {"local": box}, at=(12, 22, 10))
    assert [ax.patches[0].get_linestyle() == ":" for ax in away.axes[:3]] == [True, False, False]
    with pytest.raises(MedsslError, match="N,2,3"):
        crop_boxes(array, spacing, {"local": box[0]})


def test_the_histogram_is_of_percent_and_its_legend_says_who_gets_there():
    figure = ratio_histograms({"before": torch.tensor([0.1, 0.2, 0.6, 0.7]), "after": torch.tensor([0.5, 0.9])}, 0.5)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["before (n=4): 50% at or above 0.5", "after (n=2): 100% at or above 0.5"]
    exact = ratio_histograms({"exact": torch.tensor([0.7, 0.8])}, 0.7)  # 0.7 in float32 is a little less in float64
    assert exact.axes[0].get_legend_handles_labels()[1] == ["exact (n=2): 100% at or above 0.7"]
    with pytest.raises(MedsslError, match="after"):
        ratio_histograms({"after": torch.tensor([1.2])})
