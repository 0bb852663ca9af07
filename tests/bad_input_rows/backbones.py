"""Backbones: names, files, downloads."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from bad_input_rows.rows import row
from scenes import Booby, cut, segment

# --- one good example, to be spoilt ---------------------------------------------------------------


def edit_config(**changes: Any) -> None:
    file = Path("tiny/config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def cache_weights(repo: str) -> Path:
    """Where the Hugging Face cache of the sandbox looks for the weights of a repository."""
    folder = Path(".hf/hub") / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return folder / "snapshots" / ("0" * 40) / "model.safetensors"


# --- things that go wrong while it runs -----------------------------------------------------------


@contextmanager
def offline_by_variable() -> Iterator[None]:
    from huggingface_hub import constants

    with mock.patch.object(constants, "HF_HUB_OFFLINE", True):
        yield


# --- backbones ------------------------------------------------------------------------------------


@row("misspelt backbone", 2, r"'vitl-16' is not a backbone likewise knows: did you mean vitl, ")
def misspelt_backbone(_: Path) -> list[str]:
    return segment(more=["--backbone", "vitl-16"])


@row(
    "backbone name like no other",
    2,
    r"'xyzzy' is not a .*: known are dinov3-vits16, .*, embedded-vits14;",
)
def unknown_backbone(_: Path) -> list[str]:
    return segment(more=["--backbone", "xyzzy"])


@row(
    "unknown hub name, no network",
    2,
    r"org/none/config\.json could not be downloaded \(.*\): .*--backbone embedded",
)
def hub_out_of_reach(_: Path) -> list[str]:
    return segment(more=["--backbone", "org/none"])


@row(
    "unknown hub name, HF_HUB_OFFLINE",
    2,
    r"org/none/config\.json is not in the cache and downloading is switched off: .*embedded",
    fault=offline_by_variable,
)
def hub_switched_off(_: Path) -> list[str]:
    return segment(more=["--backbone", "org/none"])


@row(
    "--offline, backbone not downloaded",
    2,
    r"timm/vit_small_patch16_dinov3\S+ is not in the cache and downloading is switched off: .*embe",
)
def offline_without_cache(_: Path) -> list[str]:
    return segment(more=["--backbone", "vits", "--offline"])


@row("missing checkpoint", 2, r"nowhere\.pth does not exist: give the path of a weights file")
def missing_checkpoint(_: Path) -> list[str]:
    return segment(more=["--backbone", "nowhere.pth"])


@row("checkpoint of another kind", 2, r"notes\.txt is no weights file: give a \.safetensors, \.pth")
def checkpoint_of_another_kind(_: Path) -> list[str]:
    Path("notes.txt").write_text("a list of things to do")
    return segment(more=["--backbone", "notes.txt"])


@row(
    "safetensors cut short",
    2,
    r"tiny.model\.safetensors is not a complete safetensors file \(.*\):",
)
def safetensors_cut_short(_: Path) -> list[str]:
    cut("tiny/model.safetensors")
    return segment()


@row("garbage .pth", 2, r"garbage\.pth cannot be read as plain tensors \(.*\): it is damaged, or")
def garbage_checkpoint(_: Path) -> list[str]:
    Path("garbage.pth").write_bytes(b"garbage" * 100)
    return segment(more=["--backbone", "garbage.pth"])


@row("zero-byte .safetensors", 2, r"tiny.model\.safetensors is empty: copy or download it again")
def zero_byte_safetensors(_: Path) -> list[str]:
    Path("tiny/model.safetensors").write_bytes(b"")
    return segment()


@row("zero-byte .pth", 2, r"none\.pth is empty: copy or download it again")
def zero_byte_pickle(_: Path) -> list[str]:
    Path("none.pth").write_bytes(b"")
    return segment(more=["--backbone", "none.pth"])


def _resnet() -> dict[str, Any]:
    import torch

    return {"conv1.weight": torch.ones(8, 3, 7, 7), "layer1.0.conv1.weight": torch.ones(8, 8, 3, 3)}


@row(
    "ResNet .safetensors",
    2,
    r"resnet\.safetensors is not a DINOv3 or DINOv2 ViT, nor a SAM 2: .* conv1\.weight",
)
def resnet_safetensors(_: Path) -> list[str]:
    from safetensors.torch import save_file

    save_file(_resnet(), "resnet.safetensors")
    return segment(more=["--backbone", "resnet.safetensors"])


@row(
    "ResNet .pth", 2, r"resnet\.pth is not a DINOv3 or DINOv2 ViT, nor a SAM 2: .* conv1\.weight, "
)
def resnet_pickle(_: Path) -> list[str]:
    import torch

    torch.save(_resnet(), "resnet.pth")
    return segment(more=["--backbone", "resnet.pth"])


@row("checkpoint that lacks a tensor", 2, r"tiny.model\.safetensors lacks the tensor .*: it is inc")
def incomplete_checkpoint(_: Path) -> list[str]:
    from safetensors.torch import load_file, save_file

    state = load_file("tiny/model.safetensors")
    del state[next(k for k in state if "down_proj.weight" in k)]
    save_file(state, "tiny/model.safetensors")
    return segment()


def _never_executed(load: Callable[[], object]) -> Callable[[], None]:
    def check() -> None:
        assert not Path("EXECUTED").exists()
        load()  # and the trap does work
        assert Path("EXECUTED").exists()

    return check


def _load_booby_zip() -> None:
    import torch

    torch.load("booby.pth", weights_only=False)


@row(
    ".pth whose loading runs code",
    2,
    r"booby\.pth cannot be read as plain tensors .*Python objects, which likewise never executes",
    then=_never_executed(_load_booby_zip),
)
def booby_trap(_: Path) -> list[str]:
    import torch

    torch.save({"cls_token": Booby()}, "booby.pth")
    return segment(more=["--backbone", "booby.pth"])


@row(
    "plain pickle whose loading runs code",
    2,
    r"booby\.pt cannot be read as plain tensors .*Python objects, which likewise never executes",
    then=_never_executed(lambda: pickle.loads(Path("booby.pt").read_bytes())),
)
def booby_trap_in_a_plain_pickle(_: Path) -> list[str]:
    Path("booby.pt").write_bytes(pickle.dumps({"cls_token": Booby()}))
    return segment(more=["--backbone", "booby.pt"])


@row(
    "a whole pickled model", 2, r"model\.pth cannot be read as plain tensors .*save its state dict"
)
def pickled_module(_: Path) -> list[str]:
    import torch

    torch.save(torch.nn.Linear(2, 2), "model.pth")
    return segment(more=["--backbone", "model.pth"])


@row("folder without config.json", 2, r"weights has no config\.json: give a Hugging Face folder")
def folder_without_config(_: Path) -> list[str]:
    Path("weights").mkdir()
    return segment(more=["--backbone", "weights"])


@row("folder without weights", 2, r"tiny has no weights: none of model\.safetensors, ")
def folder_without_weights(_: Path) -> list[str]:
    Path("tiny/model.safetensors").unlink()
    return segment()


@row("folder of another model", 2, r"tiny is a 'bert' model, not one of dinov3_vit, dinov2")
def folder_of_another_model(_: Path) -> list[str]:
    edit_config(model_type="bert")
    return segment()


@row("config.json that is no JSON", 2, r"tiny.config\.json is not readable JSON: download it again")
def config_cut_short(_: Path) -> list[str]:
    cut("tiny/config.json")
    return segment()


@row(
    "config.json with null for a number",
    2,
    r"the config\.json of tiny.* has layer_norm_eps None, which is no number",
)
def config_with_null(_: Path) -> list[str]:
    edit_config(layer_norm_eps=None)
    return segment()


@row(
    "missing shard",
    2,
    r"tiny.two\.safetensors is missing, which model\.safetensors\.index\.json li",
)
def missing_shard(_: Path) -> list[str]:
    Path("tiny/model.safetensors").rename("tiny/one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    Path("tiny/model.safetensors.index.json").write_text(json.dumps(index))
    return segment()


@row(
    "downloaded backbone cut short", 2, r"\S+model\.safetensors is not a complete safetensors file"
)
def cached_weights_cut_short(_: Path) -> list[str]:
    from likewise.backbones.registry import get_spec

    weights = cache_weights(get_spec("vits").repo)
    shutil.copy("tiny/model.safetensors", weights)
    cut(str(weights))
    return segment(more=["--backbone", "vits"])


@row(
    "downloaded backbone is another",
    2,
    r"\S+model\.safetensors does not hold dinov3-vits16 but another model, of width 48 and 2 bl",
)
def cached_weights_of_another(_: Path) -> list[str]:
    from likewise.backbones.registry import get_spec

    shutil.copy("tiny/model.safetensors", cache_weights(get_spec("vits").repo))
    return segment(more=["--backbone", "vits"])


@row(
    "`backbones info` of an unknown",
    2,
    r"'vitx' is not a backbone likewise knows: did you mean vit",
)
def info_of_unknown(_: Path) -> list[str]:
    return ["backbones", "info", "vitx"]


@row(
    "`backbones verify`, not downloaded", 2, r"dinov3-vits16 is not on this machine yet, .*download"
)
def verify_what_is_not_here(_: Path) -> list[str]:
    return ["backbones", "verify", "vits"]


@row(
    "`backbones download`, no network", 2, r"timm/\S+ could not be downloaded \(.*\): .*hf download"
)
def download_without_network(_: Path) -> list[str]:
    return ["backbones", "download", "vits"]


@row(
    "`backbones verify`, installed without weights",
    2,
    r"likewise was installed without embedded/\S+: install it again",
    fault=lambda: mock.patch(
        "likewise.backbones.download.packaged_file", return_value=Path("none")
    ),
)
def verify_without_the_embedded_file(_: Path) -> list[str]:
    return ["backbones", "verify", "embedded"]


# --- verify ---------------------------------------------------------------------------------------


@row("`verify` of an unknown", 2, r"'vitx' is not a backbone likewise knows: did you mean vit")
def prove_unknown(_: Path) -> list[str]:
    return ["verify", "vitx"]


@row("`verify`, no network", 2, r"timm/\S+ could not be downloaded \(.*\): .*hf download")
def prove_without_network(_: Path) -> list[str]:
    return ["verify", "vits"]


@row(
    "`verify --file` that is not there", 2, r"weights\.pth does not exist: give the path of a weig"
)
def prove_no_file(_: Path) -> list[str]:
    return ["verify", "vits", "--file", "weights.pth"]


@row("`verify` of joined backbones", 2, r"vits\+vitb joins backbones: verify them one by one\.")
def prove_joined(_: Path) -> list[str]:
    return ["verify", "vits+vitb"]


@row("`verify --report` of another kind", 2, r"proof\.txt ends neither in \.md nor in \.json: name")
def prove_into_text(_: Path) -> list[str]:
    return ["verify", "vits", "--report", "proof.txt"]
