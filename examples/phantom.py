"""Make a volume to try `likewise volume` on: a phantom of a belly, in the numbers of a CT.

    python examples/phantom.py work
    likewise volume work/ct.nii.gz -l work/labels.nii.gz --window soft -o work/found

A body with a spine, a stomach, two kidneys and a liver that change from slice to slice, with noise.
Only slices 6 and 17 of the labels are annotated; truth.nii.gz has them all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np

SHAPE = 128, 112, 24
AFFINE = np.array([[3.0, 0, 0, -190], [0, 3.0, 0, -160], [0, 0, 5.0, 40], [0, 0, 0, 1]])


def ellipsoid(x: float, y: float, z: float, *radii: float) -> np.ndarray:
    """(A, B, C) bool around a middle in voxels; x to the patient's right, y to the front."""
    places = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return sum(((p - c) / r) ** 2 for p, c, r in zip(places, (x, y, z), radii, strict=True)) < 1


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """(A, B, C) int16 Hounsfield units, and uint8: 2 the kidneys, 5 the liver."""
    random = np.random.default_rng(0)
    values, labels = np.full(SHAPE, -1000.0), np.zeros(SHAPE, np.uint8)
    values[ellipsoid(64, 58, 12, 58, 48, 1e6)] = -90
    values[ellipsoid(64, 58, 12, 53, 43, 1e6)] = 45
    values[ellipsoid(64, 62, 12, 45, 34, 1e6)] = -80
    values[ellipsoid(64, 26, 12, 9, 9, 1e6)] = 420
    values[ellipsoid(64, 26, 12, 6, 6, 1e6)] = 180
    values[ellipsoid(58, 44, 12, 5, 5, 1e6)] = 150
    values[ellipsoid(36, 78, 4, 14, 10, 9)] = -700
    values[ellipsoid(44, 72, 20, 13, 12, 8)] = 30
    for value, found, brightness in (
        (5, ellipsoid(84, 72, 19, 26, 22, 14), 100),
        (2, ellipsoid(90, 44, 9, 11, 10, 8), 170),
        (2, ellipsoid(38, 45, 12, 11, 10, 9), 170),
    ):
        values[found], labels[found] = brightness, value
    values += random.normal(0, 14, SHAPE)
    return values.clip(-1000, 1500).astype(np.int16), labels


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "work")
    out.mkdir(parents=True, exist_ok=True)
    values, labels = phantom()
    given = np.zeros_like(labels)
    for k in (6, 17):
        given[..., k] = labels[..., k]
    for name, array in (("ct", values), ("labels", given), ("truth", labels)):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), out / f"{name}.nii.gz")
    print(f"{out / 'ct.nii.gz'} and {out / 'labels.nii.gz'} written")


if __name__ == "__main__":
    main()
