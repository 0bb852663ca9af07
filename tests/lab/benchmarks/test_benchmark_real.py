"""Real images through the real loaders: parts of DAVIS-2016 and SUIM in their official layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.lab.evaluation.metrics import contour_f
from likewise.segmenter import Segmenter
from scenes import run, sandbox

BENCH = Path(__file__).resolve().parents[4] / "shared" / "bench"
SUIM = {"HD": 1, "WR": 3, "RO": 4, "RI": 5, "FV": 6}
"""The classes that are in more than one of the images, and their values in the label maps."""


@pytest.fixture(autouse=True)
def bench() -> None:
    if not BENCH.is_dir():
        pytest.skip("the images of ../shared/bench are not beside this checkout")


def lay_out_davis(root: Path, step: int = 1) -> None:
    """Every so many frames of the videos, and the list that names them."""
    videos = sorted((BENCH / "davis_video/JPEGImages/480p").iterdir())
    for video in videos:
        for frame in sorted(video.iterdir())[::step]:
            mask = BENCH / "davis_video/Annotations/480p" / video.name / f"{frame.stem}.png"
            for kind, file in (("JPEGImages", frame), ("Annotations", mask)):
                link = root / "DAVIS" / kind / "480p" / video.name / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
    for year in ("2016", "2017"):
        listed = root / "DAVIS" / "ImageSets" / year / "val.txt"
        listed.parent.mkdir(parents=True)
        listed.write_text("".join(f"{video.name}\n" for video in videos))


def lay_out_suim(root: Path) -> None:
    """A mask for each class instead of one label map."""
    folder = root / "SUIM"
    for path in sorted((BENCH / "suim_samples/masks").glob("*.png")):
        image = BENCH / "suim_samples/images" / f"{path.stem}.jpg"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / image.name).symlink_to(image)
        for cls, value in SUIM.items():
            (folder / "masks" / cls).mkdir(parents=True, exist_ok=True)
            mask = (np.asarray(Image.open(path)) == value).astype(np.uint8) * 255
            Image.fromarray(mask).save(folder / "masks" / cls / f"{path.stem}.bmp")


def test_davis_videos(tmp_path: Path) -> None:
    lay_out_davis(tmp_path / "data", step=30)
    with sandbox(tmp_path):
        ran = run(["benchmark", "davis2016", "--size", "224", "--json"])
        report = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    frames = sum(1 for _ in (tmp_path / "data/DAVIS/JPEGImages/480p").glob("*/*"))
    videos = sum(1 for _ in (tmp_path / "data/DAVIS/JPEGImages/480p").iterdir())
    assert report["episodes"] == frames - 2 * videos
    assert report["mean"]["J"] > 40  # at a fifth of the usual pixels; noise would have under 20
    # The last of them once more, without the benchmark's code.
    record = report["records"][-1]
    video = record["unit"]
    images = sorted((tmp_path / "data/DAVIS/JPEGImages/480p" / video).iterdir())
    masks = [Path(str(p).replace("JPEGImages", "Annotations")).with_suffix(".png") for p in images]
    first, there = (np.asarray(Image.open(masks[k])) > 0 for k in (0, -2))
    with sandbox(tmp_path):  # no basis that another version kept
        segmenter = Segmenter(image_size=224, refiner="none").fit((images[0], first))
    found = segmenter.segment(images[-2]).mask
    j, f = record["objects"][video]
    assert j == pytest.approx(100 * (found & there).sum() / (found | there).sum(), abs=0.5)
    assert f == pytest.approx(contour_f(found, there), abs=0.5)


def test_suim_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likewise.lab.evaluation.datasets.folders.SUIM_CLASSES", tuple(SUIM))
    lay_out_suim(tmp_path / "data")
    with sandbox(tmp_path):
        ran = run(["benchmark", "suim", "--size", "144", "--episodes", "6", "--json"])
        report = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert report["total"] == 19  # as many as masks that mark something
    classes = {r["cls"] for r in report["records"]}
    assert classes == set(SUIM)
    assert report["mean"]["mIoU"] > 20
    assert abs(report["mean"]["mIoU"] - report["mean"]["mIoU at input size"]) < 3
