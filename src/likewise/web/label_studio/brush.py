"""Label Studio's run lengths of brush masks, as bits.

32 bits: how many values follow, four (red, green, blue, alpha) for each pixel, row by row. 5 bits:
bits of a value, less one. Four times 4 bits: sizes that a length can have, less one. Then runs: a
bit that says whether one value is repeated (1) or each is given (0), 2 bits for the size of the
length, the length less one, and the value or values.

(label-studio-sdk does the same, but takes seconds to import and brings OpenCV, pandas and NLTK.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIZES = (3, 4, 8, 16)


def encode_brush(mask: npt.NDArray[np.bool_]) -> list[int]:
    """(H, W) bool → bytes as numbers; 255 in all four channels where the mask is."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = 4 * np.diff(starts, append=flat.size)
    bits = [f"{4 * flat.size:032b}{8 - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = "1" * 8 if flat[start] else "0" * 8
        while length:
            part = min(length, 2 ** SIZES[-1])
            kind = next(k for k, size in enumerate(SIZES) if part <= 2**size)
            bits.append(f"1{kind:02b}{part - 1:0{SIZES[kind]}b}{value}")
            length -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(rle: list[int], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """What a brush has painted at least half opaque.

    Args:
        rle: bytes as numbers.
        size: (H, W) of the image.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: if it is damaged, or of an image of another size.
    """
    if not isinstance(rle, list):
        raise ValueError("a brush mask is no list of bytes")
    text = "".join(f"{byte:08b}" for byte in bytes(rle))
    place = 0

    def read(bits: int) -> int:
        nonlocal place
        if place + bits > len(text):
            raise ValueError("a brush mask is cut short")
        place += bits
        return int(text[place - bits : place], 2)

    number = read(32)
    if number != 4 * size[0] * size[1]:
        raise ValueError("a brush mask is of an image of another size")
    bits = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(number, np.uint32)
    done = 0
    while done < number:
        repeated = read(1)
        end = done + 1 + read(sizes[read(2)])
        if end > number:
            raise ValueError("a brush mask has too many values")
        values[done:end] = read(bits) if repeated else [read(bits) for _ in range(end - done)]
        done = end
    return values.reshape(*size, 4)[..., 3] > 127
