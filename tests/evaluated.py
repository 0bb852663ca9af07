"""What the files about `likewise eval` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenes import Ran, run

OPTIONS = ["--backbone", "tiny", "--size", "64", "--method", "insid3"]


def write_episodes() -> None:
    with Image.open("mask.png") as image:
        marked = np.asarray(image)
    for shift, name in enumerate("abc", start=1):
        Image.fromarray(np.roll(marked, 12 * shift, axis=1) // 255 * 3).save(f"{name}_mask.png")
    Image.fromarray(marked // 255 * 3).save("r_mask.png")
    first = {"value": 3, "ref": "reference.png", "ref_mask": "r_mask.png"}
    entries = [
        {"set": "x", "cls": "c", **first, "tgt": "a.jpg", "tgt_mask": "a_mask.png", "id": 7},
        {"set": "y", "cls": "c", **first, "tgt": "b.jpg", "tgt_mask": "b_mask.png"},
        {"set": "x", "cls": "d", **first, "tgt": "reference.png", "tgt_mask": "r_mask.png"},
        {"set": "x", "cls": "c", **first, "tgt": "c.jpg", "tgt_mask": "c_mask.png"},
        {"set": "y", "cls": "c", **first, "tgt": "c.jpg", "absent": True},
    ]
    entries[3] |= {"ref": "b.jpg", "ref_mask": "b_mask.png"}
    Path("e.json").write_text(json.dumps(entries))


def evaluate(*more: str) -> list[str]:
    return ["eval", "--episodes", "e.json", *OPTIONS, *more]


def done(ran: Ran) -> str:
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def report_of(*more: str) -> dict[str, Any]:
    return json.loads(done(run(evaluate("--json", *more))))
