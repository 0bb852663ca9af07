"""Benchmarks whose download is folders of images and of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ....errors import LikewiseError
from ....io.coco_masks import encode_runs
from ....io.masks import read_label_map
from ..episodes import RunLengths
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, files_in, read_lines
from .pickles import read_object_array
from .sampler import Draw, check_pools, sample

EPISODES = 600
SUIM_CLASSES = ("FV", "HD", "PF", "RI", "RO", "SR", "WR")


def isic(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """ISIC 2018 task 1: three kinds of skin lesion, 600 episodes.

    The three kinds are the classes, drawn in turn.

    ISIC/ISIC2018_Task1-2_Training_Input/{1,2,3}/ISIC_*.jpg    sorted by DR-Adapter's ISIC_Split.py
    ISIC/ISIC2018_Task1_Training_GroundTruth/ISIC_*_segmentation.png
    """
    images = root / "ISIC" / "ISIC2018_Task1-2_Training_Input"
    truths = root / "ISIC" / "ISIC2018_Task1_Training_GroundTruth"
    pools = {kind: files_in(images / kind, ".jpg") for kind in "123"}

    def entry(image: Path) -> dict[str, object]:
        return marked_entry(image, truths / f"{image.stem}_segmentation.png", root, min_value=128)

    drawn = sample(pools, EPISODES, shots, "ISIC", cycle=True, pick=entry)
    return Built([mask_entry("all", *episode) for episode in drawn], {})


def chest(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Chest X-ray: the lungs, 600 episodes.

    Drawn from the masks, as in the released code: images without a mask are not used.

    LungSegmentation/CXR_png/CHNCXR_0001_0.png       MCUCXR_0001_0.png
    LungSegmentation/masks/CHNCXR_0001_0_mask.png    MCUCXR_0001_0.png
    """
    folder = root / "LungSegmentation"
    pools = {"lungs": files_in(folder / "masks", ".png")}

    def entry(mask: Path) -> dict[str, object]:
        name = mask.name if "MCUCXR" in mask.name else f"{mask.name[: -len('_mask.png')]}.png"
        return marked_entry(folder / "CXR_png" / name, mask, root, min_value=128)

    drawn = sample(pools, EPISODES, shots, "Chest X-ray", cycle=True, pick=entry)
    return Built([mask_entry("all", *episode) for episode in drawn], {})


def suim(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """SUIM: seven underwater classes, as many episodes as there are masks that mark something.

    Classes are drawn in turn; masks without foreground are left out, as in the released code.

    SUIM/images/NAME.jpg
    SUIM/masks/{FV,HD,PF,RI,RO,SR,WR}/NAME.bmp      a mask for each class (SUIM merged)
    """
    folder = root / "SUIM"
    pools = {
        cls: [
            path
            for path in files_in(folder / "masks" / cls, ".bmp", ".png")
            if _marks_something(path)
        ]
        for cls in SUIM_CLASSES
    }

    def entry(mask: Path) -> dict[str, object]:
        return marked_entry(folder / "images" / f"{mask.stem}.jpg", mask, root, min_value=128)

    count = sum(len(masks) for masks in pools.values())
    drawn = sample(pools, count, shots, "SUIM", cycle=True, pick=entry)
    return Built([mask_entry("all", *episode) for episode in drawn], {"classes": SUIM_CLASSES})


def _marks_something(mask: Path) -> bool:
    return bool((read_label_map(mask) >= 128).any())


def fss1000(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """FSS-1000: 240 test classes of ten images; every image is a target once.

    References are drawn by number, as in the released code.

    FSS-1000/data/CLASS/1.jpg 1.png ... 10.jpg 10.png
    FSS-1000/splits/test.txt                             a class a line
    """
    folder, split = root / "FSS-1000" / "data", root / "FSS-1000" / "splits" / "test.txt"
    draw, entries = Draw(), []

    def entry(image: Path) -> dict[str, object]:
        return marked_entry(image, image.with_suffix(".png"), root, min_value=128)

    for cls in sorted(read_lines(split)):
        images = sorted((folder / cls).glob("*.jpg"), key=str)
        numbered = sorted(images, key=lambda path: (len(path.stem), path.stem))
        if len(images) <= shots:
            raise LikewiseError(
                f"FSS-1000: class {cls} has {len(images)} images, but a target and {shots} "
                f"references need {shots + 1}: give a smaller --shots, or complete the download."
            )
        for target in images:
            found = draw.references(numbered, target, shots, lambda p: p, f"class {cls}")
            entries.append(mask_entry("test", cls, entry(target), [entry(p) for p in found]))
    return Built(entries, {"split": "test"}, [split])


def permis(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """PerMIS: the same object of a video in its first frame and in two later ones.

    Two episodes a video, with one reference.

    PerMIRS/VIDEO/0.jpg 1.jpg 2.jpg    made by Where's Waldo's permirs_gen_dataset.py from BURST
    PerMIRS/VIDEO/masks.npz.npy        three dicts, object → (H, W) mask; the first object is used
    """
    if shots > 1:
        raise LikewiseError("PerMIS has one reference a video: leave out --shots.")
    entries = []
    for video in sorted(p for p in (root / "PerMIRS").iterdir() if p.is_dir()):
        frames = [
            _frame(root, video, number, mask) for number, mask in enumerate(_first_objects(video))
        ]
        entries += [mask_entry("all", "object", frame, frames[:1]) for frame in frames[1:]]
    if not entries:
        raise LikewiseError(f"{root / 'PerMIRS'} holds no folder of a video.")
    return Built(entries, {"videos": len(entries) // 2})


def _first_objects(video: Path) -> list[np.ndarray]:
    """The first object's (H, W) bool mask in each of three frames."""
    path = video / "masks.npz.npy"
    content = read_object_array(path)
    try:
        return [np.asarray(next(iter(content[frame].values()))) > 0 for frame in range(3)]
    except (IndexError, KeyError, AttributeError, TypeError, StopIteration) as error:
        raise LikewiseError(f"{path} does not hold the masks of three frames.") from error


def _frame(root: Path, video: Path, number: int, mask: np.ndarray) -> dict[str, Any]:
    runs = encode_runs(mask, (mask.shape[0], mask.shape[1]))
    size = (int(mask.shape[0]), int(mask.shape[1]))
    return marked_entry(video / f"{number}.jpg", RunLengths(size, runs["counts"]), root)


def vessels(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """DRIVE and CHASE_DB1: the vessels of the retina, thinner than a patch.

    Every image is a target once, with drawn references.

        DRIVE/training/images/21_training.tif   DRIVE/training/1st_manual/21_manual1.gif
        CHASEDB1/Image_01L.jpg                  CHASEDB1/Image_01L_1stHO.png

    No paper of the tables fixes episodes for them: here every image is a target once, and its
    references are drawn with seed 0. The masks of DRIVE's test images are no longer public, so its
    training images are used.
    """
    drive = benchmark.name == "drive"
    folder = root / benchmark.folder
    if drive:
        images = files_in(folder / "training" / "images", ".tif", ".png")
    else:
        images = files_in(folder, ".jpg")
    check_pools({"vessels": images}, shots, benchmark.title)

    def entry(image: Path) -> dict[str, object]:
        number = image.stem.split("_")[0]
        mask = folder / "training" / "1st_manual" / f"{number}_manual1.gif"
        if not drive:
            mask = image.with_name(f"{image.stem}_1stHO.png")
        return marked_entry(image, mask, root, min_value=128)

    draw, entries = Draw(), []
    for target in images:
        found = draw.references(images, target, shots, entry, benchmark.title)
        entries.append(mask_entry("all", "vessels", entry(target), found))
    return Built(entries, {})
