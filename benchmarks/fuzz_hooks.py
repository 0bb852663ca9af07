"""Hooks for schemathesis: good pictures and ids for half of the forms it sends to `likewise serve`.

Random bytes are no images and random ids no references, so that all would end in the same refusals:
here half of the forms get good ones, and only the rest stays random. CONTRIBUTING.md has the two
commands: without hooks, and with them, but then without the check that forms meant to be wrong are
refused. In both one check is left out, which wants every string of bytes to be taken for an image.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import schemathesis

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from client import Client  # noqa: E402

EXAMPLE = ROOT / "src" / "likewise" / "example"
PICTURE, MASK = EXAMPLE / "coin_reference.png", EXAMPLE / "coin_reference_mask.png"
rng = random.Random(0)


def known(url: str) -> str:
    """Id of references that are on the server (now)."""
    sent = Client(url).post("/v1/references", [("images", PICTURE), ("masks", MASK)])
    return json.loads(sent)["id"]


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Half of the forms with what the route needs."""
    if not isinstance(body, dict) or rng.random() < 0.5:
        return body
    picture, mask = PICTURE.read_bytes(), MASK.read_bytes()
    points = [[rng.uniform(-5, 75), rng.uniform(-5, 75)] for _ in range(2)]  # most are inside
    good: dict[str, dict[str, Any]] = {
        "/v1/references": {"images": [picture], "masks": [mask]},
        "/v1/segment": {"reference": known(context.operation.base_url), "image": picture},
        "/v1/match": {"reference": picture, "image": picture, "points": json.dumps(points)},
    }
    clicks = [[rng.uniform(0, 62), rng.uniform(0, 62), rng.choice([0, 1])] for _ in points]
    good["/v1/prompt"] = {
        "image": picture,
        rng.choice(["mask", "label"]): rng.choice([mask, "coin"]),
        "points": json.dumps(clicks),
        "box": "[2, 2, 60, 60]",
    }
    rest = {name: body[name] for name in ("threshold", "debiased", "scribbles") if name in body}
    if isinstance(body.get("labels"), list):
        rest["labels"] = body["labels"][:1]
    return good.get(context.operation.path, {}) | rest
