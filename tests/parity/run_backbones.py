"""Compare likewise's features with a folder of golden ones: python run_backbones.py DIR.

DIR holds `<prefix>_<layout>.pth|.safetensors` (weights), `<prefix>_HxW.npz` (`image` (1,3,H,W),
already normalised, `features` (1,D,h,w) of the last block and, optionally, `layerK_normed` of the
0-based block K, all after the final norm) and config.json (`kw`, or `kw_<end of prefix>`, with
`num_heads`). Every file is checked against every image of its prefix, and so is the same model
saved again as a Hugging Face folder. Exit status: 0 all equal, 1 something differs, 2 no DIR.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from report import report, verdict
from safetensors.torch import save_file

from likewise.backbones.files import read_tensors
from likewise.backbones.layouts import canonical_state, detect_layout
from likewise.backbones.loading import Backbone, load_backbone, patch_tokens
from likewise.errors import BackboneError

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """One comparison; `difference` is max |ours - golden|, or inf where it could not be made."""

    weights: str
    case: str
    key: str
    difference: float
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.difference <= TOLERANCE


def heads_of(config: dict[str, dict[str, int]], prefix: str) -> int | None:
    """num_heads of a prefix: from `kw_<last word of prefix>` where there is one, else from `kw`."""
    own = config.get(f"kw_{prefix.rsplit('_', 1)[-1]}", config.get("kw", {}))
    return own.get("num_heads")


def save_as_folder(source: Path, backbone: Backbone, folder: Path) -> None:
    """Write the model as a Hugging Face folder, with the tensor names of transformers 5."""
    folder.mkdir()
    config = {"model_type": "dinov3_vit" if backbone.spec.family == "dinov3" else "dinov2"}
    config |= {"num_attention_heads": backbone.spec.heads}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = read_tensors(source)
    state = canonical_state(tensors, detect_layout(tensors), backbone.block)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")


def compare(source: Path, name: str, cases: list[Path], heads: int | None) -> list[Row]:
    """One row for each golden array of each case, for one weights file or folder."""
    rows: list[Row] = []
    for path in cases:
        with np.load(path) as case:
            image = torch.from_numpy(case["image"])
            for key in [k for k in case.files if k == "features" or k.endswith("_normed")]:
                layer = re.fullmatch(r"layer(\d+)_normed", key)
                block = int(layer.group(1)) + 1 if layer else None
                try:
                    backbone = load_backbone(source, block=block, num_heads=heads)
                    ours = patch_tokens(backbone, image).permute(0, 3, 1, 2).numpy()
                except BackboneError as error:
                    rows.append(Row(name, path.stem, key, float("inf"), str(error)))
                    continue
                same = ours.shape == case[key].shape
                gap = float(np.abs(ours - case[key]).max()) if same else float("inf")
                rows.append(Row(name, path.stem, key, gap))
    return rows


def run(folder: str | Path) -> list[Row]:
    """Every comparison that `folder` allows, and one row per prefix for equal identities."""
    folder = Path(folder)
    folder = folder / "backbones" if (folder / "backbones").is_dir() else folder
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text()) if config_file.is_file() else {}
    files = sorted(p for p in folder.iterdir() if p.suffix in {".pth", ".safetensors"})
    rows: list[Row] = []
    for prefix in dict.fromkeys(p.stem.rsplit("_", 1)[0] for p in files):
        heads = heads_of(config, prefix)
        pattern = re.compile(re.escape(prefix) + r"_\d+x\d+")
        cases = sorted(p for p in folder.glob("*.npz") if pattern.fullmatch(p.stem))
        identities: set[str] = set()
        first: tuple[Path, Backbone] | None = None
        for path in (p for p in files if p.stem.rsplit("_", 1)[0] == prefix):
            rows += compare(path, path.name, cases, heads)
            try:
                backbone = load_backbone(path, num_heads=heads)
            except BackboneError as error:
                rows.append(Row(path.name, "-", "load", float("inf"), str(error)))
                continue
            identities.add(backbone.identity)
            first = first or (path, backbone)
        if first is None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            saved = Path(scratch) / "folder"
            save_as_folder(*first, saved)
            rows += compare(saved, f"{prefix} (Hugging Face folder)", cases, heads)
            identities.add(load_backbone(saved, num_heads=heads).identity)
        rows.append(Row(prefix, "all layouts", "identity", 0.0 if len(identities) == 1 else 1.0))
    return rows


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python run_backbones.py DIR (a folder of golden backbones)", file=sys.stderr)
        return 2
    rows = run(arguments[0])
    if not any(row.key != "identity" for row in rows):
        print(f"no case found in {arguments[0]}", file=sys.stderr)
        return 1
    table = [("weights", "case", "output", "max |diff|", "tolerance", "verdict")]
    for row in rows:
        limits = (f"{row.difference:.2e}", f"{TOLERANCE:.0e}")
        table.append((row.weights, row.case, row.key, *limits, verdict(row.ok, row.note)))
    return report(table, sum(not row.ok for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
