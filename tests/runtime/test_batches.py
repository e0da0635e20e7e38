import gc
import mmap
import threading

import numpy as np
import pytest
import torch

from stages.runtime.batches import Feed, resident_gb
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path):
    save_arrays(tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8))
    return load_arrays(tmp_path / "a.npz", "images")[0]


@pytest.mark.parametrize(("said", "meant"), [(None, 4.0), ("", 4.0), ("0", 0.0), ("0.5", 0.5), ("1e3", 1000.0)])
def test_the_environment_says_how_much_may_lie_on_the_device(monkeypatch, said, meant):
    monkeypatch.delenv("RESIDENT_GB", raising=False)
    if said is not None:
        monkeypatch.setenv("RESIDENT_GB", said)
    assert resident_gb() == meant


@pytest.mark.parametrize("said", ["-1", "nan", "inf", "four", "4GB"])
def test_a_bad_budget_is_refused(monkeypatch, said):
    monkeypatch.setenv("RESIDENT_GB", said)
    with pytest.raises(UserError, match=f"RESIDENT_GB is '{said}'"):
        resident_gb()


def feed(images, resident_gb, **more):
    return Feed(images, 8, **{"seed": 1, "name": "real", "place": CPU, "resident_gb": resident_gb} | more)


@pytest.mark.parametrize("resident_gb", [1.0, 0.0])
def test_a_batch_is_the_images_of_its_index(images, resident_gb):
    batch, index = feed(images, resident_gb).at(1)
    assert batch.dtype == torch.uint8 and batch.shape == (8, 4, 5, 3) and index.dtype == torch.int64
    np.testing.assert_array_equal(batch, images[index.numpy()])


def test_streamed_batches_are_the_resident_ones_in_any_order(images):
    resident, streamed = feed(images, 1.0, parts=2), feed(images, 0.0, parts=2)
    for step, part in [(1, 0), (1, 1), (2, 0), (2, 1), (7, 1), (7, 0), (7, 0), (3, 0)]:
        for ours, theirs in zip(streamed.at(step, part), resident.at(step, part), strict=True):
            assert torch.equal(ours, theirs)


def test_every_step_part_seed_and_name_has_its_own_batch(images):
    batches = [feed(images, 1.0, parts=2).at(*at)[1].tolist() for at in ((1, 0), (1, 1), (2, 0))]
    batches += [feed(images, 1.0, **other).at(1)[1].tolist() for other in ({"seed": 2}, {"name": "target"})]
    assert len({tuple(index) for index in batches}) == 5


def test_a_batch_does_not_depend_on_what_was_drawn_before(images):
    one = feed(images, 1.0)
    one.at(1)
    torch.rand(3)
    assert torch.equal(one.at(4)[1], feed(images, 0.0).at(4)[1])


def test_every_image_is_drawn_sooner_or_later(images):
    one = feed(images, 1.0)
    assert {image for step in range(1, 101) for image in one.at(step)[1].tolist()} == set(range(len(images)))


def test_the_budget_decides_where_images_lie(images):
    assert feed(images, images.nbytes / 1e9).resident is not None
    assert feed(images, (images.nbytes - 1) / 1e9).resident is None
    assert len(feed(images, 0.0)) == 50


def test_what_fails_in_the_thread_is_raised_where_the_batch_is_asked_for(images, monkeypatch):
    one = feed(images, 0.0)
    one.at(1)
    monkeypatch.setattr(np, "take", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        for step in (2, 3):  # the thread may have had step 2 already
            one.at(step)


def test_a_feed_that_nobody_has_leaves_no_thread(images):
    one = feed(images, 0.0)
    one.at(1)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("feed")]
    del one
    gc.collect()
    for thread in threads:
        thread.join(5)
    assert threads and not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("first", [0, 7])
def test_the_disk_is_asked_for_the_rows_of_a_batch_and_no_others(images, first):
    asked = []

    class Noting:
        def madvise(self, how, start, length):
            assert how == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0
            asked.append((start, start + length))

    part = images[first:]
    ahead = feed(part, 0.0)._ahead
    whole, ahead.whole = ahead.whole, Noting()
    ahead.ask_for(np.array([3, 40]))
    for row, (start, end) in zip((3, 40), asked, strict=True):
        inside = end - part[row].nbytes
        assert whole[inside:end] == part[row].tobytes() and inside - start < mmap.PAGESIZE


def test_images_that_are_in_memory_or_turned_round_are_streamed_without_asking_the_disk(images):
    for others in (np.array(images), images[:, :, ::-1]):
        one = feed(others, 0.0)
        batch, index = one.at(1)
        assert one._ahead.whole is None
        np.testing.assert_array_equal(batch, others[index.numpy()])
