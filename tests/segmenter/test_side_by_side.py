"""Images one by one or several at a time on the CPU: the same masks, in order, all threads used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from boxes import LEFT, RIGHT, pair, picture
from likewise import Segmenter
from likewise.backbones import device
from likewise.backbones.device import FEW, faster_way, share_of_threads, side_by_side, workers_for
from likewise.run.folder import FolderRun

THREADS = 3


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There may be three threads, whatever the machine has."""
    for module in ("backbones.device", "io.prefetch"):
        monkeypatch.setattr(f"likewise.{module}.WORKERS", THREADS)
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "workers"), [(1, 1), (2, 2), (8, 8), (9, 4), (12, 6), (16, 8), (24, 8), (64, 8)]
)
def test_workers_share_all_threads(
    threads: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.backbones.device.WORKERS", 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert workers_for(1000) == workers
    assert workers_for(FEW * workers - 1) == 1


@pytest.mark.usefixtures("threads")
def test_each_worker_has_its_share_of_threads() -> None:
    together, seen = threading.Barrier(THREADS), set[int]()

    def work(n: int) -> int:
        together.wait(10)  # all of them at the same time
        seen.add(torch.get_num_threads())
        return n * n

    assert list(side_by_side(work, range(2 * THREADS), THREADS)) == [0, 1, 4, 9, 16, 25]
    assert seen == {1}
    assert torch.get_num_threads() == THREADS
    found = list[int]()
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [THREADS]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("slower_beside", [True, False])
def test_the_faster_way_is_found_again_and_again(
    slower_beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "BETWEEN", 4)
    here, clock, sizes, found = threading.get_ident(), [0.0], list[int](), list[int]()
    monkeypatch.setattr(device.time, "perf_counter", lambda: clock[0])

    def work(some: list[int]) -> list[tuple[int, int]]:
        together = threading.get_ident() == here
        assert len(some) == (THREADS if together else 1)
        assert share_of_threads() == (1 if together else 1 / THREADS)
        return [(n, len(some)) for n in some]

    for n, size in faster_way(work, range(60), 1, THREADS):
        found.append(n)
        sizes.append(size)
        clock[0] += 1.0 if (size > 1) == slower_beside else 2.0
    assert found == [*range(60)]
    tried = [THREADS] * 6 + [1] * 6 + [THREADS if slower_beside else 1] * 12
    assert sizes == (tried * 3)[:60]


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 12, 13, 24, 25])
@pytest.mark.usefixtures("threads")
def test_every_item_is_done_whatever_their_number(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "BETWEEN", 4)
    sizes = list[int]()

    def work(some: list[int]) -> list[int]:
        sizes.append(len(some))
        return some

    assert list(faster_way(work, range(count), 1, THREADS)) == [*range(count)]
    sizes.clear()
    assert list(faster_way(work, range(count), 4, 1)) == [*range(count)]
    assert sizes == [4] * (count // 4) + [count % 4] * (count % 4 > 0)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("wrong", [3, 8, 20])
def test_what_fails_is_raised_in_its_turn(wrong: int) -> None:
    def work(some: list[int]) -> list[int]:
        if wrong in some:
            raise ValueError(wrong)
        return some

    results = faster_way(work, range(40), 1, THREADS)
    found = list[int]()
    with pytest.raises(ValueError, match=str(wrong)):
        found.extend(iter(lambda: next(results), None))
    assert torch.get_num_threads() == THREADS
    results = faster_way(work, range(40), 1, THREADS)
    before = range(wrong - wrong % THREADS)
    assert [next(results) for _ in before] == [*before]


@pytest.mark.usefixtures("threads")
def test_a_list_is_segmented_both_ways(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter.fit(pair())
    images = [picture(box, seed=n) for n, box in enumerate([LEFT, RIGHT] * 2 * FEW)]
    one_by_one = [segmenter.segment(image) for image in images]
    used = set[int]()
    encode = segmenter.encoder.encode_many

    def encode_many(*args: object) -> Iterator[object]:
        used.add(threading.get_ident())
        return encode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(segmenter.encoder, "encode_many", encode_many)
    together = list(segmenter.segment_many(images))
    assert threading.get_ident() in used
    assert len(used) > 1
    assert len(together) == len(images)
    for alone, result in zip(one_by_one, together, strict=True):
        assert np.array_equal(alone.mask, result.mask)
    used.clear()
    assert len(list(segmenter.segment_many(iter(images)))) == len(images)
    assert used == {threading.get_ident()}  # how many there will be is not known


@pytest.mark.usefixtures("threads")
def test_a_folder_keeps_its_order_and_its_failures(segmenter: Segmenter, tmp_path: Path) -> None:
    targets = tmp_path / "in"
    targets.mkdir()
    for n in range(FEW * THREADS):
        Image.fromarray(picture((LEFT, RIGHT)[n % 2], seed=n)).save(targets / f"{n:02d}.png")
    (targets / "05.png").write_bytes(b"no picture")
    run = FolderRun(targets, tmp_path / "out", pair(), backbone=segmenter.encoder)
    outcomes = list(run)
    assert [o.target.name for o in outcomes] == [f"{n:02d}.png" for n in range(FEW * THREADS)]
    assert [n for n, o in enumerate(outcomes) if o.state == "failed"] == [5]
    for outcome in outcomes[:5]:
        assert outcome.mask is not None
        found = np.asarray(Image.open(outcome.mask)) > 0
        assert np.array_equal(found, run.segmenter.segment(outcome.target).mask)
