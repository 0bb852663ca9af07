"""Synthetic training data: cut-outs (images with alpha) pasted on photographs, with exact masks.

For the stamps of Tux Paint (Debian's ``tuxpaint-stamps-default``, GPL-2) or any folder of RGBA
images.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ....errors import ImageError, LikewiseError
from ....io.decoding import decode
from ....io.prefetch import prefetch_map
from .augment import MIN_SHARE
from .compose import Pasting, Photos, Scene, compose
from .marked import ReadCache
from .pairs import NEGATIVES, TrainingPair

TUXPAINT = Path("/usr/share/tuxpaint/stamps")
"""Folder of the stamps in Debian."""
KINDS = (
    *("amphibians", "apes", "bears", "birds", "bovines", "camel", "cats"),
    *("deer", "dogs", "equines", "fish", "flowers", "fruit", "insects"),
    *("mushrooms", "nuts", "planes", "rodents", "string", "trees", "vegetables"),
)
"""Folders of Tux Paint that hold one class each, for ``by_folder``."""
_DRAWINGS = {
    "cartoon",
    "symbols",
    "roadsigns",
    "flags",
    "easter",
    "hanukkah",
}  # folders of drawings
# Words of file names that do not name a class.
_QUALITIES = {
    *("black", "blue", "brown", "christmas", "german", "golden", "green"),
    *("large", "little", "new", "old", "photo", "pink", "purple"),
    *("red", "silver", "small", "sliced", "white", "yellow"),
}
_FLAT = 0.4  # share of flat pixels from which a picture is a drawing
_LONGEST = 400
_TRIES = 5

RGBA = npt.NDArray[np.uint8]


class Stamps:
    """A source of pairs: cut-outs of several classes on photographs."""

    def __init__(
        self,
        folder: Path,
        photos: Photos,
        *,
        name: str = "stamps",
        by_folder: Collection[str] | bool = False,
        drawings: bool = False,
        instances: float = 0.25,
        absent: float = 0.0,
        pasting: Pasting | None = None,
        length: int = 1000,
    ) -> None:
        """Read the cut-outs; those without clear edges are left out.

        Args:
            folder: RGBA images, also in subfolders.
            photos: backgrounds.
            name: of the source.
            by_folder: True: each folder is a class; names: only these folders are; False: classes
                come from file names, see ``class_names``.
            drawings: also use drawings, which are recognised by folder names and flat colours.
            instances: 0..1, share of pairs of task ``instance``; other cut-outs of the class are
                then background.
            absent: 0..1, share of pairs whose target does not show the class.
            pasting: default as the class's.
            length: nominal samples per epoch.

        Raises:
            LikewiseError: if there is no image, one cannot be read, or there are fewer than two
                classes.
        """
        self.name, self._photos, self._length = name, photos, length
        self.instances, self.absent, self._pasting = instances, absent, pasting or Pasting()
        files = [
            p
            for p in sorted(folder.rglob("*.png"))
            if not p.stem.endswith("_mirror")
            and (drawings or not _DRAWINGS & set(p.relative_to(folder).parts))
        ]
        if not files:
            raise LikewiseError(
                f"{folder} holds no cut-outs (.png with alpha): install "
                "tuxpaint-stamps-default, or give a folder of your own."
            )
        self._read = ReadCache(_read)
        fit = prefetch_map(lambda p: _is_fit(self._read(p)[0], drawings), files, 8)
        names = class_names([p for p, good in zip(files, fit, strict=True) if good])
        classes = defaultdict(list)
        for path, category in names.items():
            if by_folder is False:
                classes[category].append(path)
            elif by_folder is True or path.parent.name in by_folder:
                classes[path.parent.name].append(path)
        self.classes = dict(sorted(classes.items()))
        if len(self.classes) < 2:
            raise LikewiseError(
                f"{folder} holds cut-outs of {len(self.classes)} classes: give two or more, each "
                "a picture whose surroundings are transparent."
            )

    def __len__(self) -> int:
        """``length``."""
        return self._length

    def sample(self, rng: np.random.Generator, size: int) -> TrainingPair:
        """Two scenes with the same class: see ``pairs.Source``."""
        names = list(self.classes)
        category = names[rng.integers(len(names))]
        own = self.classes[category]
        order = [own[i] for i in rng.permutation(len(own))]
        same = rng.random() < self.instances
        first, second = order[0], order[0] if same else order[min(1, len(own) - 1)]
        # Distractors of other classes; about half of the reference's are in the target too.
        around = [self._other(category, rng) for _ in range(rng.integers(0, 4))]
        also = [p for p in around if rng.random() < 0.5]
        also += [self._other(category, rng) for _ in range(rng.integers(0, 3))]
        if same:  # other cut-outs of the class as distractors
            around, also = around + order[1:2], also + order[1:3]
        many = 1 if same else int(rng.choice([1, 1, 1, 2, 3]))
        copies = [own[i] for i in rng.integers(0, len(own), many - 1)]
        reference, mask = self._scene([first], around, rng, size, 0.6)
        wanted = [] if rng.random() < self.absent else [second, *copies]
        target, target_mask = self._scene(wanted, also, rng, size, 0.35)
        others = [reference.labels == k for k in range(2, 2 + len(around))]
        seen = [o for o in others if o.mean() >= MIN_SHARE]
        chosen = [seen[i] for i in rng.permutation(len(seen))[:NEGATIVES]]
        return TrainingPair(
            reference.image,
            mask,
            target.image,
            target_mask,
            np.stack(chosen) if chosen else np.zeros((0, size, size), bool),
            "instance" if same else "semantic",
            category,
            np.ones((size, size), bool),
        )

    def _other(self, category: str, rng: np.random.Generator) -> Path:
        """A cut-out of another class."""
        names = [name for name in self.classes if name != category]
        files = self.classes[names[rng.integers(len(names))]]
        return files[rng.integers(len(files))]

    def _scene(
        self,
        wanted: Sequence[Path],
        around: Sequence[Path],
        rng: np.random.Generator,
        size: int,
        share: float,
    ) -> tuple[Scene, npt.NDArray[np.bool_]]:
        """A scene, and the mask of ``wanted``, of each of which ``share`` or more is visible."""
        things = [self._read(path)[0] for path in (*wanted, *around)]
        for attempt in range(_TRIES + 1):
            photo = self._photos.part(rng, size)
            last = attempt == _TRIES
            scene = compose(photo, things, rng, self._pasting, easy=last)
            counts = np.bincount(scene.labels.ravel(), minlength=len(things) + 1)[1:]
            min_pixels = MIN_SHARE * size * size
            seen = all(
                counts[k] >= max(min_pixels, share * scene.whole[k]) for k in range(len(wanted))
            )
            if seen or last:
                break
        mask = (scene.labels > 0) & (scene.labels <= len(wanted))
        return scene, mask


def class_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Class of each cut-out, from its file name.

    Files of a folder that share a word are of the class of that name: ``apple_red`` and
    ``apple_fuji`` are ``apple``. Others have the class of all their words. Colours and other
    qualities, numbers and single letters are not words.
    """
    words = {path: _words(path) for path in paths}
    often = Counter((path.parent, word) for path, found in words.items() for word in set(found))
    names = {}
    for path, found in words.items():
        most = max(reversed(found), key=lambda word: often[path.parent, word])
        names[path] = most if often[path.parent, most] > 1 else " ".join(found)
    return names


def _words(path: Path) -> list[str]:
    parts = [part for part in re.split(r"[-_\W\d]+", path.stem.lower()) if len(part) > 1]
    return [part for part in parts if part not in _QUALITIES] or parts or [path.stem.lower()]


def _read(path: Path) -> tuple[np.ndarray, ...]:
    """(h, w, 4) uint8 RGBA, cropped to alpha above 8, longer side at most 400."""
    pixels = decode(path, str(path), first=True).pixels
    if not isinstance(pixels, Image.Image):
        raise ImageError(f"{path} has more than 8 bits a colour: save it as an 8-bit PNG.")
    image = pixels.convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 8)).getbbox())
    if max(image.size) > _LONGEST:
        image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BICUBIC)
    return (np.asarray(image),)


def _is_fit(pixels: RGBA, drawings: bool) -> bool:
    """Whether a cut-out is large enough and mostly opaque, and no drawing unless ``drawings``."""
    alpha = pixels[..., 3]
    if (alpha > 127).sum() < 700 or (alpha > 200).sum() < 0.6 * (alpha > 25).sum():
        return False
    if alpha.min() > 127:  # no surroundings
        return False
    return drawings or _flatness(pixels) < _FLAT


def _flatness(pixels: RGBA) -> float:
    """Share, 0..1, of opaque pixels that differ by ≤ 1 from those to their right and below."""
    colour, opaque = pixels[..., :3].astype(np.int16), pixels[..., 3] > 250
    inner = opaque[:-1, :-1] & opaque[1:, :-1] & opaque[:-1, 1:]
    here = colour[:-1, :-1]
    steps = np.maximum(np.abs(here - colour[1:, :-1]), np.abs(here - colour[:-1, 1:])).max(axis=2)
    return float((steps[inner] <= 1).mean()) if inner.any() else 1.0
