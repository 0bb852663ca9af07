"""Draw docs/gallery/*.jpg: what likewise finds, and where it fails, on pictures that may be shown.

    pip install scikit-image scikit-learn
    python tools/draw_gallery.py [CASE...] [--out docs/gallery] [--backbone embedded]

Pictures are those that scikit-image and scikit-learn install, the bundled ones, and composites that
are drawn here; docs/gallery/LICENSE.md says whose they are. So are the masks of references.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from likewise.example import FOLDER
from likewise.io.draw import contact_sheet, overlay, overlay_labels
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.reference import Reference
from likewise.segmenter import Segmenter

RGB = np.ndarray
MOST = 60_000
"""Bytes of a picture."""
CYAN = (0, 215, 255)
"""Most of the things are red."""


@dataclass(frozen=True)
class Case:
    """References and where to look for what they mark."""

    references: list[Reference]
    targets: list[RGB]
    captions: tuple[str, ...] = ()


# --- pictures -------------------------------------------------------------------------------------


def photo(name: str) -> RGB:
    """(H, W, 3) uint8 of scikit-image."""
    from skimage import data

    pixels = np.asarray(getattr(data, name)())
    return np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]


def dahlia() -> RGB:
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image("flower.jpg"))


def drawn(size: tuple[int, ...], *shapes: list[tuple[float, float]]) -> np.ndarray:
    """(H, W) bool of polygons (x, y); one of two points is an ellipse in their box."""
    mask = Image.new("L", size[1::-1])
    for shape in shapes:
        if len(shape) == 2:
            ImageDraw.Draw(mask).ellipse([*shape[0], *shape[1]], fill=255)
        else:
            ImageDraw.Draw(mask).polygon(shape, fill=255)
    return np.asarray(mask) > 0


def turned(pixels: RGB, degrees: float, light: float = 1.0, mirror: bool = True) -> RGB:
    """Mirrored, turned and relit, without the corners that turning leaves empty."""
    image = Image.fromarray(pixels)
    if mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    width, height = image.size
    image = image.rotate(degrees, Image.Resampling.BICUBIC)
    cut = abs(np.sin(np.radians(degrees))) / 2
    image = image.crop(
        (
            *(round(cut * height), round(cut * width)),
            *(round(width - cut * height), round(height - cut * width)),
        )
    )
    return np.asarray(ImageEnhance.Brightness(image).enhance(light))


def ground(name: str, tint: tuple[float, float, float], seed: int = 0) -> RGB:
    """(400, 560, 3) uint8: a grey texture of scikit-image in a colour."""
    grey = np.tile(photo(name)[..., 0], (2, 2))
    y, x = np.random.default_rng(seed).integers(0, 400, 2)
    part = grey[y : y + 400, x : x + 560, None] / 255
    return (255 * part ** (1 / np.array(tint))).clip(0, 255).astype(np.uint8)


GRASS, BRICK, GRAVEL = (0.8, 1.1, 0.45), (1.3, 0.7, 0.55), (1.0, 0.95, 0.85)


def pasted(below: RGB, cut: RGB, mask: np.ndarray, place: tuple[int, int], side: int, turn: float):
    """A thing that is cut out, laid on a picture at (x, y), ``side`` pixels wide."""
    rows, columns = np.nonzero(mask)
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    thing = Image.fromarray(np.dstack([cut, mask.astype(np.uint8) * 255])).crop(box)
    thing = thing.resize((side, round(side * thing.height / thing.width)))
    thing = thing.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    image = Image.fromarray(below)
    image.paste(thing, place, thing)
    return np.asarray(image)


# --- cases ----------------------------------------------------------------------------------------

CUP = [
    *((172, 85), (185, 40), (240, 18), (300, 16), (360, 28), (400, 60), (408, 105), (395, 170)),
    *((370, 235), (330, 265), (265, 285), (235, 308), (205, 305), (195, 280), (200, 240)),
    *((215, 225), (195, 180), (178, 130)),
]


def cup() -> Case:
    coffee = photo("coffee")
    mask = drawn(coffee.shape, CUP)
    return Case([Reference(coffee, mask)], [turned(coffee, 14, 0.8), ground("brick", BRICK)])


def eyes() -> Case:
    cat = photo("chelsea")
    left = cat[:, :250]
    mask = drawn(left.shape, [(138, 86), (202, 142)])
    return Case([Reference(left, mask)], [turned(cat, 6)])


def kinds() -> Case:
    cat = photo("chelsea")
    mask = drawn(cat.shape, [(138, 86), (202, 142)], [(300, 110), (344, 158)])
    return Case([Reference(cat, mask)], [photo("astronaut")[20:220, 120:320]])


def flower() -> Case:
    pixels = dahlia()
    above = pixels[:370]
    mask = drawn(above.shape, [(170, 86), (444, 357)])
    return Case([Reference(above, mask)], [turned(pixels, 0, 0.85)])


def suit() -> Case:
    from scipy.ndimage import binary_fill_holes, binary_opening

    pixels = photo("astronaut").astype(int)
    r, g, b = np.moveaxis(pixels, -1, 0)
    orange = (r > 120) & (r - g > 50) & (g - b > 5) & (np.arange(512)[:, None] > 180)
    orange = binary_fill_holes(binary_opening(orange, iterations=2))
    pixels = pixels.astype(np.uint8)
    half = slice(0, 240)
    return Case([Reference(pixels[:, half], orange[:, half])], [turned(pixels, 5, 0.9)])


def glands() -> Case:
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2hed

    pixels = photo("immunohistochemistry")
    brown = gaussian_filter(rgb2hed(pixels)[..., 2], 6)
    mask = brown > np.quantile(brown, 0.62)
    return Case([Reference(pixels[:, :256], mask[:, :256])], [pixels[:, 256:]])


def galaxies() -> Case:
    from scipy.ndimage import gaussian_filter

    pixels = photo("hubble_deep_field")[:600, :900]
    light = gaussian_filter(pixels.max(axis=-1).astype(float), 2) > 60
    return Case([Reference(pixels[:, :400], light[:, :400])], [pixels[:, 420:820]])


def disc() -> Case:
    eye = np.asarray(Image.fromarray(photo("retina")).resize((600, 600)))
    mask = drawn(eye.shape, [(66, 244), (134, 330)])
    return Case([Reference(eye, mask)], [turned(eye, 12, 1.15)])


def vessels() -> Case:
    from scipy.ndimage import gaussian_filter

    eye = np.asarray(Image.fromarray(photo("retina")).resize((600, 600)))
    green = eye[..., 1].astype(float)
    dark = gaussian_filter(green, 9) - gaussian_filter(green, 1) > 7
    dark &= gaussian_filter((eye.max(axis=-1) > 60).astype(float), 12) > 0.98
    return Case([Reference(eye[:300], dark[:300])], [eye[300:]])


def field(seed: int, roofs: int) -> tuple[RGB, np.ndarray]:
    """Brick roofs and a gravel road in a meadow, from above."""
    rng = np.random.default_rng(seed)
    image = ground("grass", GRASS, seed)
    road = drawn(image.shape, [(0, 330), (560, 250 + 20 * seed), (560, 290 + 20 * seed), (0, 370)])
    image = np.where(road[..., None], ground("gravel", GRAVEL, seed), image)
    mask = np.zeros(road.shape, bool)
    for k in range(roofs):
        x, y = 70 + (k % 3) * 180 + rng.integers(-20, 20), 70 + (k // 3) * 110 + rng.integers(0, 15)
        a, (w, h) = rng.uniform(0, np.pi), rng.uniform(28, 48, 2)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        corners = np.array([(-w, -h), (w, -h), (w, h), (-w, h)]) @ turn.T + (x, y)
        one = drawn(image.shape, [tuple(c) for c in corners])
        image = np.where(one[..., None], ground("brick", BRICK, seed + k), image)
        mask |= one
    return image, mask


def roofs() -> Case:
    return Case([Reference(*field(1, 2))], [field(2, 6)[0], field(4, 5)[0]])


def cracked(seed: int) -> tuple[RGB, np.ndarray]:
    """A crack in a wall."""
    rng = np.random.default_rng(seed)
    image, mask = ground("gravel", GRAVEL, seed), Image.new("L", (560, 400))
    x, y = np.linspace(20, 540, 24), 200 + np.cumsum(rng.normal(0, 18, 24))
    ImageDraw.Draw(mask).line([*zip(x, y, strict=True)], fill=255, width=11, joint="curve")
    crack = np.asarray(mask) > 0
    return np.where(crack[..., None], (0.2 * image).astype(np.uint8), image), crack


def cracks() -> Case:
    return Case([Reference(*cracked(3))], [cracked(8)[0], ground("gravel", GRAVEL, 5)])


def materials() -> Case:
    kinds = {"grass": GRASS, "brick": BRICK, "gravel": GRAVEL}
    yes = np.ones((400, 560), bool)
    yes[0] = False  # some of a reference must not be marked
    references = [Reference(ground(k, t, 1), yes, label=k) for k, t in kinds.items()]
    rng = np.random.default_rng(6)
    seeds = rng.uniform(0, 1, (9, 2)) * (400, 560)
    rows, columns = np.mgrid[:400, :560]
    far = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in seeds]
    kind = np.argmin(far, axis=0) % 3
    image = np.zeros((400, 560, 3), np.uint8)
    for k, (name, tint) in enumerate(kinds.items()):
        image[kind == k] = ground(name, tint, 9)[kind == k]
    return Case(references, [image])


def strip() -> Case:
    coffee = photo("coffee")
    mask = drawn(coffee.shape, CUP)
    yard = ground("gravel", GRAVEL, 2)
    path = [(20, 30, 150, 0), (130, 90, 170, 20), (240, 110, 190, 45), (360, 150, 160, 75)]
    frames = [pasted(yard, coffee, mask, (x, y), side, turn) for x, y, side, turn in path]
    marked = pasted(
        np.zeros_like(yard), np.full_like(coffee, 255), mask, path[0][:2], path[0][2], path[0][3]
    )
    captions = ("frame 1, by hand", *(f"frame {k}" for k in range(2, 5)))
    return Case([Reference(frames[0], marked[..., 0] > 127)], frames[1:], captions)


def bundled(name: str, ending: str) -> Case:
    image = read_image(FOLDER / f"{name}_reference.{ending}")
    mask = read_mask(FOLDER / f"{name}_reference_mask.png")
    targets = sorted(FOLDER.glob(f"{name}_[0-9].{ending}"))
    return Case([Reference(image, mask)], [read_image(path) for path in targets])


CASES: dict[str, Callable[[], Case]] = {
    "cup": cup,
    "eyes": eyes,
    "flower": flower,
    "suit": suit,
    "glands": glands,
    "disc": disc,
    "galaxies": galaxies,
    "windows": lambda: bundled("window", "jpg"),
    "capacitors": lambda: bundled("capacitor", "jpg"),
    "coins": lambda: bundled("coin", "png"),
    "roofs": roofs,
    "cracks": cracks,
    "materials": materials,
    "strip": strip,
    "vessels": vessels,
    "kinds": kinds,
}


# --- drawing --------------------------------------------------------------------------------------


def row(case: Case, segmenter: Segmenter) -> Iterator[tuple[RGB, str]]:
    """References, targets and what is found in them, with captions."""
    segmenter.fit(case.references)
    several = len(case.references) > 1
    for k, reference in enumerate(case.references, start=1):
        image, mask = np.asarray(reference.image), np.asarray(reference.mask)
        shown = overlay_labels(image, mask.astype(np.uint8) * k) if several else marked(image, mask)
        yield shown, reference.label if several else (case.captions or ("marked",))[0]
    for k, target in enumerate(case.targets, start=1):
        result = segmenter.segment(target)
        if several:
            yield target, "target"
            yield overlay_labels(target, result.label_map), "found"
            continue
        if not case.captions:
            yield target, "target"
        found = "found" if result.present else "not there"
        yield marked(target, result.mask), case.captions[k] if case.captions else found
    print(f"  confidence {result.confidence:.2f}")


def marked(image: RGB, mask: np.ndarray) -> RGB:
    return overlay(image, mask, colour=CYAN)


def jpeg(sheet: RGB) -> bytes:
    """The best that has at most MOST bytes."""
    for quality in range(88, 20, -4):
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST:
            return file.getvalue()
    raise SystemExit(f"a picture does not fit into {MOST} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", choices=[*CASES, []])
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    parser.add_argument("--backbone", default="embedded")
    args = parser.parse_args()
    segmenter = Segmenter(args.backbone)
    for name in args.cases or CASES:
        pictures = list(row(CASES[name](), segmenter))
        (args.out / f"{name}.jpg").write_bytes(jpeg(contact_sheet([pictures], height=200)))
        print(name, [caption for _, caption in pictures], flush=True)


if __name__ == "__main__":
    main()
