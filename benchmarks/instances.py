"""Objects told apart: connected pieces against pieces cut at their necks, and their scores.

    python benchmarks/instances.py EPISODES.json ROOT [--each 15] [--json FILE]

The sets have no masks of single objects. Where objects of one class touch, `touching.json` beside
this file says which are which: points marked by eye in the development images, lists of groups, a
group being the objects of what hangs together in the mask, an object being its points (x, y); every
pixel goes to the nearest point. Everything else that hangs together is one object. Kinds:

nuclei  dsb2018_nuclei, 62 groups marked        eyes    fasseg_face_parts, two apart
coco    five images with several objects        single  one object, which must stay one
pairs   made up: the reference's object is pasted beside the target's, so that they touch

F1 at IoU 0.5 is the mean over images; AP at IoU 0.5 is by pycocotools over all images of a kind.
Both of the true masks ("oracle") and of the masks found with one reference (`presence=0`).
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.progress import track
from scipy.ndimage import label
from scipy.spatial import cKDTree

from likewise import LikewiseParams, Segmenter, instances
from likewise.instances import CORNERS, Instance, find_objects
from likewise.io.coco_masks import encode_runs
from likewise.io.images import read_image
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.episodes import Episode, read_episodes

TOUCHING = json.loads(Path(__file__).with_name("touching.json").read_text())
SINGLES = ("personal_objects", "davis2016_val", "fss1000_samples", "ph2_skin")
SINGLE_COCO = (6, 7, 14, 16, 17, 22, 34, 35, 38, 39, 40, 50, 51, 54, 56, 59, 67, 68, 69)
SEVERAL_COCO = (20, 21, 26, 27, 58)
LEAST = 20
"""Smaller than this many pixels is a speck, of the truth and of what is found."""


@dataclass(frozen=True, eq=False)
class Item:
    """One image with its objects, and what was found in it."""

    kind: str
    truth: np.ndarray
    """(H, W): 0 nothing, k the k-th object."""
    mask: np.ndarray
    scores: np.ndarray
    confidence: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--each", type=int, default=15, help="at most so many of a set and kind")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    segmenter = Segmenter(TimedEncoder(), method=LikewiseParams(presence=0))
    todo = list(images(read_episodes([args.episodes], args.root), args.root, args.each))
    items = []
    for kind, episode, image, truth in track(todo, "segment"):
        segmenter.fit([(episode.reference, truth_mask(episode, reference=True))])
        found = segmenter.segment(image)
        items.append(Item(kind, truth, found.mask, found.scores, found.confidence))
    report = {}
    for source in ("oracle", "found"):
        scores: dict[str, dict[str, list[float]]] = {}
        for kind in dict.fromkeys(item.kind for item in items):
            of_kind = [item for item in items if item.kind == kind]
            found = {}
            for name, neck in (("pieces", 0.0), ("cut", instances.NECK)):
                with mock.patch.object(instances, "NECK", neck):  # no neck is thinner than 0
                    found[name] = [objects(item, source) for item in of_kind]
            f1 = {
                name: [f1_score(i, item) for i, item in zip(all_of_them, of_kind, strict=True)]
                for name, all_of_them in found.items()
            }
            ap = {}
            for name, all_of_them in found.items():
                even = [
                    [replace(i, score=item.confidence) for i in one]
                    for one, item in zip(all_of_them, of_kind, strict=True)
                ]
                ap[f"{name}, score of the class"] = average_precision(even, of_kind)
                ap[f"{name}, own scores"] = average_precision(all_of_them, of_kind)
            scores[kind] = f1
            low, high = interval({kind: f1})
            row = {
                "images": len(of_kind),
                "f1": [float(np.mean(f1[name])) for name in f1],
                "interval": [low, high],
                "ap": ap,
            }
            report[f"{source} {kind}"] = row
            print(
                f"{source:7} {kind:7} {len(of_kind):3}  F1 {row['f1'][0]:5.1f} {row['f1'][1]:5.1f} "
                f"[{low:+.1f}, {high:+.1f}]  AP",
                *(f"{value:5.1f} ({name})" for name, value in ap.items()),
                flush=True,
            )
        means = [np.mean([np.mean(s[n]) for s in scores.values()]) for n in ("pieces", "cut")]
        low, high = interval(scores)
        report[source] = {"f1": [float(m) for m in means], "interval": [low, high]}
        print(
            f"{source:7} mean         F1 {means[0]:5.1f} {means[1]:5.1f} [{low:+.1f}, {high:+.1f}]"
        )
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def images(
    episodes: list[Episode], root: Path, each: int
) -> Iterator[tuple[str, Episode, np.ndarray, np.ndarray]]:
    """Kind, episode, picture and true objects."""
    number: Counter[tuple[str, str]] = Counter()
    rng = np.random.default_rng(0)
    for episode in episodes:
        single = episode.dataset in SINGLES or int(episode.id) in SINGLE_COCO
        if episode.dataset == "dsb2018_nuclei":
            kind = "nuclei"
        elif episode.dataset == "fasseg_face_parts" and episode.value == 3:
            kind = "eyes"
        elif int(episode.id) in SEVERAL_COCO or single:
            kind = "single" if single else "coco"
        else:
            continue
        number[kind, episode.dataset] += 1
        if number[kind, episode.dataset] > each and episode.dataset != "coco128_seg":
            continue
        image, mask = read_image(episode.target), truth_mask(episode)
        marked = TOUCHING.get(episode.target.relative_to(root).as_posix(), [])
        yield kind, episode, image, mask.astype(int) if single else true_objects(mask, marked)
        if single and episode.dataset != "ph2_skin":
            made = pasted(episode, image, mask, rng)
            if made is not None:
                yield "pairs", episode, *made


def truth_mask(episode: Episode, reference: bool = False) -> np.ndarray:
    path = episode.reference_mask if reference else episode.target_mask
    assert path is not None
    with Image.open(path) as file:
        return np.asarray(file) == episode.value


def true_objects(mask: np.ndarray, groups: list[list[list[list[int]]]]) -> np.ndarray:
    """(H, W): 0 nothing, k the k-th object of at least LEAST pixels."""
    together, count = label(mask, structure=CORNERS)
    truth, marked, last = np.zeros(mask.shape, int), {0}, 0
    for group in groups:
        points = np.array([point for one in group for point in one])
        owner = np.repeat(np.arange(len(group)), [len(one) for one in group])
        here = set(together[points[:, 1], points[:, 0]].tolist()) - {0}
        rows, columns = np.nonzero(np.isin(together, list(here)))
        _, nearest = cKDTree(points).query(np.stack([columns, rows], axis=1))
        truth[rows, columns] = last + 1 + owner[nearest]
        last, marked = last + len(group), marked | here
    for piece in set(range(count + 1)) - marked:
        last += 1
        truth[together == piece] = last
    sizes = np.bincount(truth.ravel())
    _, compact = np.unique(np.where(sizes[truth] < LEAST, 0, truth), return_inverse=True)
    return compact.reshape(mask.shape)


def pasted(
    episode: Episode, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """The reference's object beside the target's, at most 15 % of either hidden; None: no room."""
    target = largest(mask)
    source, shape = read_image(episode.reference), largest(truth_mask(episode, reference=True))
    rows, columns = (np.flatnonzero(shape.any(axis=a)) for a in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    source, shape = source[window], shape[window]
    if rng.random() < 0.5:
        source, shape = source[:, ::-1], shape[:, ::-1]
    middle = np.argwhere(target).mean(axis=0)
    for share in (1, 0.8, 0.6, 0.45):
        factor = np.sqrt(target.sum() * share / shape.sum())
        h, w = (max(4, round(side * factor)) for side in shape.shape)
        small = np.asarray(Image.fromarray(shape).resize((w, h)))
        for angle in rng.permutation(8) * np.pi / 4:
            for away in np.arange(0, 2 * max(image.shape), 3):
                direction = np.array([np.sin(angle), np.cos(angle)])
                top, left = np.rint(middle + away * direction - (h / 2, w / 2)).astype(int)
                if min(top, left) < 0 or top + h > image.shape[0] or left + w > image.shape[1]:
                    break
                place = slice(top, top + h), slice(left, left + w)
                hidden = (target[place] & small).sum()
                if hidden <= 0.15 * min(target.sum(), small.sum()):
                    if hidden == 0:
                        break
                    picture, truth = image.copy(), target.astype(int)
                    soft = Image.fromarray(shape.astype(np.uint8) * 255).resize((w, h))
                    alpha = np.asarray(soft)[..., None] / 255
                    thing = np.asarray(Image.fromarray(source).resize((w, h)))
                    picture[place] = np.rint(thing * alpha + picture[place] * (1 - alpha))
                    truth[place][small] = 2
                    return picture, truth
    return None


def largest(mask: np.ndarray) -> np.ndarray:
    together, _ = label(mask, structure=CORNERS)
    return together == np.bincount(together.ravel())[1:].argmax() + 1


def objects(item: Item, source: str) -> list[Instance]:
    mask = item.truth > 0 if source == "oracle" else item.mask
    found = find_objects(mask, item.scores, item.confidence)
    return [instance for instance in found if instance.area >= LEAST]


def f1_score(found: list[Instance], item: Item) -> float:
    """Percent; a match has an IoU above 0.5, so that each has one at most."""
    areas = np.bincount(item.truth.ravel())[1:]
    hits = 0
    for i in found:
        window = item.truth[i.top : i.top + i.mask.shape[0], i.left : i.left + i.mask.shape[1]]
        inside = np.bincount(window[i.mask], minlength=len(areas) + 1)[1:]
        hits += (inside > 0.5 * (areas + i.area - inside)).any()
    return 200 * hits / max(1, len(found) + len(areas))


def average_precision(found: list[list[Instance]], items: list[Item]) -> float:
    """Percent, at IoU 0.5, by pycocotools."""
    pictures, truths, results = [], [], []
    for number, (all_of_them, item) in enumerate(zip(found, items, strict=True), 1):
        size = item.truth.shape
        pictures.append({"id": number, "height": size[0], "width": size[1]})
        entry = {"image_id": number, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1]}
        for k in range(1, item.truth.max() + 1):
            one = item.truth == k
            own = {"id": len(truths) + 1, "area": int(one.sum())}
            truths.append(entry | own | {"segmentation": encode_runs(one, size)})
        for i in all_of_them:
            runs = encode_runs(i.mask, size, i.top, i.left)
            results.append(entry | {"segmentation": runs, "score": i.score})
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": pictures, "annotations": truths, "info": {}}
        coco.dataset["categories"] = [{"id": 1, "name": "object"}]
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "segm")
        judge.params.maxDets = [1, 10, 1000]
        judge.evaluate()
        judge.accumulate()
    return float(100 * judge.eval["precision"][0, :, 0, 0, -1].mean())


def interval(scores: dict[str, dict[str, list[float]]], rounds: int = 2000) -> tuple[float, float]:
    """95 % of the paired difference, images drawn again within each kind."""
    rng, differences = np.random.default_rng(0), []
    gains = [np.subtract(s["cut"], s["pieces"]) for s in scores.values()]
    for _ in range(rounds):
        drawn = [gain[rng.integers(0, len(gain), len(gain))].mean() for gain in gains]
        differences.append(np.mean(drawn))
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
