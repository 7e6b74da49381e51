"""Batches of a source in memory: what they carry, their order, the last one, and sources that cannot be."""

import numpy as np
import pytest
import torch
from toy_data import random_split

from medssl.data import InMemory
from medssl.errors import MedsslError


def order(source: InMemory, epoch: int) -> list[int]:
    return [i for batch in source.batches(epoch) for i in batch["index"].tolist()]


def test_batches_carry_image_label_and_index_and_the_last_is_small():
    split = random_split(10, 0)
    source = InMemory(split, 4)
    batches = list(source.batches(0))
    assert [len(b["index"]) for b in batches] == [4, 4, 2] and len(source) == 3
    assert sorted(order(source, 0)) == list(range(10))
    for b in batches:
        assert b["image"].dtype == torch.uint8 and b["label"].dtype == b["index"].dtype == torch.int64
        assert torch.equal(b["image"], split.images[b["index"]]) and torch.equal(b["label"], split.labels[b["index"]])


def test_order_is_a_function_of_seed_and_epoch_only():
    split = random_split(50, 0)
    source = InMemory(split, 7, seed=3)
    fifth = order(source, 5)
    torch.manual_seed(99)
    np.random.seed(99)
    half = source.batches(5)
    next(half)  # an iteration that is given up
    order(source, 0)
    assert order(source, 5) == fifth == order(InMemory(split, 7, seed=3), 5)
    assert order(InMemory(split, 8, seed=3), 5) == fifth  # another batch size, the same order
    orders = {tuple(order(InMemory(split, 7, seed=s), e)) for s in range(6) for e in range(6)}
    assert len(orders) == 36  # (1, 2) is not (2, 1), nor (0, 3)


def test_drop_last_shuffle_off_and_a_batch_that_divides():
    split = random_split(10, 0)
    dropped = InMemory(split, 4, drop_last=True)
    assert [len(b["index"]) for b in dropped.batches(0)] == [4, 4] and len(dropped) == 2
    assert order(InMemory(split, 4, shuffle=False), 8) == list(range(10))
    whole = InMemory(split, 5)
    assert [len(b["index"]) for b in whole.batches(0)] == [5, 5] and len(whole) == 2


def test_a_single_image_left_over_joins_the_batch_before_it():
    """BatchNorm refuses a batch of one image in training: 546 images in batches of 109 ended every epoch with one."""
    for n, size, sizes in ((546, 109, [109] * 4 + [110]), (9, 4, [4, 5]), (9, 8, [9]), (3, 1, [1, 1, 1]), (1, 4, [1])):
        for shuffle in (True, False):
            source = InMemory(random_split(n, 0), size, shuffle=shuffle)
            assert [len(b["index"]) for b in source.batches(3)] == sizes and len(source) == len(sizes)
            assert sorted(order(source, 3)) == list(range(n)) and (shuffle or order(source, 3) == list(range(n)))
    dropped = InMemory(random_split(9, 0), 4, drop_last=True)
    assert [len(b["index"]) for b in dropped.batches(0)] == [4, 4] and len(dropped) == 2


def test_indices_name_places_in_the_split():
    split, chosen = random_split(10, 0), torch.tensor([1, 4, 9])
    source = InMemory(split, 2, indices=chosen)
    assert sorted(order(source, 1)) == [1, 4, 9] and len(source) == 1
    first = next(source.batches(0))
    assert torch.equal(first["image"], split.images[first["index"]])
    assert order(InMemory(split, 2, indices=[9, 1], shuffle=False), 0) == [9, 1]


@pytest.mark.parametrize("bad", [{"indices": torch.tensor([0, 10])}, {"indices": [-1]}, {"indices": torch.ones(10) > 0},
                                 {"indices": []}, {"indices": [1, 1, 1]}, {"indices": [0.5]},
                                 {"indices": torch.tensor([[1], [2]])},
                                 {"batch_size": 0}, {"batch_size": 11, "drop_last": True}])
def test_a_source_without_a_sensible_batch_is_refused(bad):
    with pytest.raises(MedsslError):
        InMemory(random_split(10, 0), **({"batch_size": 4} | bad))


def test_a_source_moves_whole_and_has_no_state():
    source = InMemory(random_split(10, 0), 4, indices=[1, 2, 3, 5])
    moved = source.to("meta")
    assert moved is source and source.images.device.type == source.labels.device.type == "meta"
    assert source.state_dict() == {}
    source.load_state_dict({})
