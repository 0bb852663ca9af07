"""build_insid3 as code written for the released INSID3, or from the wiki's page on it, uses it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

import likewise
from helpers import iou, refusal
from likewise import INSID3Params, Segmenter, build_insid3
from likewise.backbones.spec import IMAGENET_MEAN, IMAGENET_STD
from likewise.errors import InputWarning
from likewise.integrations.insid3_api import INSID3
from likewise.io.masks import read_mask

WIKI = Path(__file__).resolve().parents[3] / "shared" / "seeds" / "001_f5bbc7d92dfa33e1.txt"
SIDE, SHAPE = 128, (96, 128)
LEFT, RIGHT, LOW = (24, 16, 72, 64), (12, 64, 60, 112), (48, 32, 96, 96)


def inside(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def picture(box: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    pixels = np.where(inside(box)[..., None], (220, 60, 30), (20, 50, 200))
    noise = np.random.default_rng(seed).normal(size=pixels.shape) * 8
    return (pixels + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the wiki's snippets name, in the working folder; PNG in JPEG's clothes."""
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    for name, box in (("reference", LEFT), ("ref1", LEFT), ("ref2", LOW), ("ref_full", LEFT)):
        Image.fromarray(picture(box)).save(tmp_path / f"{name}.jpg", "PNG")
    marks = {"reference_mask": LEFT, "mask1": LEFT, "mask2": LOW, "ref_face_mask": LEFT}
    Image.fromarray(~inside(LOW)).save(tmp_path / "rest2.png")
    marks |= {"ref_hair_mask": (24, 16, 48, 64), "ref_hands_mask": (56, 16, 72, 64)}
    for name, box in marks.items():
        Image.fromarray(inside(box)).save(tmp_path / f"{name}.png")
    Image.fromarray(picture(RIGHT, seed=1)).save(tmp_path / "target.jpg", "PNG")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(tiny: Path) -> INSID3:
    return build_insid3(str(tiny), image_size=SIDE, device="cpu")


def plain(model: INSID3, *names: tuple[str, str], target: str = "target.jpg") -> np.ndarray:
    """What method insid3 finds with these references, by our own interface."""
    segmenter = Segmenter(model._encoder, method="insid3", refiner="none").fit(list(names))
    return segmenter.segment(target).mask


ONE, TWO = ("ref1.jpg", "mask1.png"), ("ref2.jpg", "mask2.png")
REST = ("ref2.jpg", "rest2.png")


# --- references: added until they are used ------------------------------------------------------


def test_set_reference_before_segment_adds_a_shot(model: INSID3) -> None:
    model.set_reference(*ONE)
    model.set_reference(*REST)
    model.set_target("target.jpg")
    found = model.segment()
    np.testing.assert_array_equal(found, plain(model, ONE, REST))
    assert not np.array_equal(found, plain(model, ONE))
    for reference in (ONE, ONE, REST):  # two of three vote for the thing
        model.set_reference(*reference)
    most = model.segment()
    np.testing.assert_array_equal(most, plain(model, ONE, ONE, REST))
    assert not np.array_equal(most, plain(model, REST))


def test_the_first_set_reference_after_segment_starts_anew(model: INSID3) -> None:
    model.set_reference(*ONE)
    model.set_target("target.jpg")
    model.segment()
    model.set_reference(*REST)  # nobody set the target anew
    np.testing.assert_array_equal(model.segment(), plain(model, REST))
    model.set_reference(*ONE)
    model.set_reference(*REST)
    np.testing.assert_array_equal(model.segment(), plain(model, ONE, REST))


def test_without_a_new_reference_they_stay(model: INSID3) -> None:
    model.set_reference(*ONE)
    model.set_reference(*REST)
    for target in ("target.jpg", "ref1.jpg", "target.jpg"):
        model.set_target(target)
        np.testing.assert_array_equal(model.segment(), plain(model, ONE, REST, target=target))


def test_set_references_replaces_and_set_reference_adds_to_it(model: INSID3) -> None:
    model.set_reference(*REST)
    model.set_references([ONE])
    model.set_reference(*REST)
    np.testing.assert_array_equal(model.segment("target.jpg"), plain(model, ONE, REST))


def test_match_uses_up_references_too(model: INSID3) -> None:
    model.set_reference(*ONE)
    model.set_target("target.jpg")
    model.match([(30, 30)])
    model.set_reference(*REST)
    np.testing.assert_array_equal(model.segment(), plain(model, REST))


def test_a_reference_or_target_that_fails_leaves_no_older_one_in_its_place(model: INSID3) -> None:
    model.set_reference(*ONE)
    model.segment("target.jpg")
    assert "none.jpg does not exist" in refusal(model.set_reference, "none.jpg", "mask1.png")
    assert "no reference yet" in refusal(model.segment)
    model.set_reference(*ONE)
    assert "none.jpg does not exist" in refusal(model.set_reference, "none.jpg", "mask1.png")
    np.testing.assert_array_equal(model.segment(), plain(model, ONE))  # only that one is left out
    assert "none.jpg does not exist" in refusal(model.set_target, "none.jpg")
    assert "no target yet" in refusal(model.segment)


def test_references_with_and_without_a_mask(model: INSID3) -> None:
    model.set_reference("ref2.jpg")
    assert "has no mask, so it is for match only" in refusal(model.set_reference, *ONE)
    model.set_target("target.jpg")
    model.match([(30, 30)])
    model.set_reference(*ONE)
    np.testing.assert_array_equal(model.segment(), plain(model, ONE))
    model.reset_state()
    assert "no target yet" in refusal(model.segment)
    assert "no reference yet" in refusal(model.segment, "target.jpg")


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "backbone"),
    [
        ({"model_size": "small"}, "vits"),
        ({"model_size": "base"}, "vitb"),
        ({"model_size": "large"}, "vitl"),
        ({"backbone": "vitl"}, "vitl"),
        ({"backbone": "embedded"}, "embedded"),
    ],
)
def test_the_released_names_of_the_backbones(given: dict[str, str], backbone: str) -> None:
    with (
        mock.patch("likewise.integrations.insid3_api.Segmenter") as made,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        build_insid3(
            **given,
            image_size=768,
            svd_components=20,
            tau=0.5,
            merge_threshold=0.3,
            mask_refiner="crf",
            resize_to_orig_size=False,
            device=torch.device("cpu"),  # type: ignore[arg-type]
        )
    assert made.call_args.args == (backbone,)
    assert made.call_args.kwargs == {
        "image_size": 768,
        "svd_components": 20,
        "method": INSID3Params(tau=0.5, alpha=0.3),
        "refiner": "crf",
        "device": "cpu",
    }


def test_no_backbone_is_the_embedded_one_and_said_so() -> None:
    with (
        mock.patch("likewise.integrations.insid3_api.Segmenter") as made,
        pytest.warns(InputWarning, match='the released default is model_size="large"'),
    ):
        build_insid3()
    assert made.call_args.args == ("embedded",)


def test_backbones_that_cannot_be(tiny: Path) -> None:
    assert "give one of them" in refusal(build_insid3, "vitl", model_size="large")
    assert "'huge' is unknown: use one of small, base, large" in refusal(
        build_insid3, model_size="huge"
    )


def test_masks_at_the_size_of_the_input(tiny: Path, model: INSID3) -> None:
    for refiner in ("bilinear", "crf"):
        settings: Any = {"image_size": SIDE, "device": "cpu", "mask_refiner": refiner}
        small = build_insid3(str(tiny), resize_to_orig_size=False, **settings)
        full = build_insid3(str(tiny), **settings)
        for each in (small, full):
            each.set_reference(*ONE)
        found, resized = small.segment("target.jpg"), full.segment("target.jpg")
        assert (found.shape, found.dtype) == ((SIDE, SIDE), bool)
        assert (resized.shape, resized.dtype) == (SHAPE, bool)
        square = torch.from_numpy(np.asarray(found))[None, None].float()
        again = torch.nn.functional.interpolate(square, SHAPE, mode="bilinear")[0, 0] > 0.5
        np.testing.assert_array_equal(resized, again.numpy())


def test_what_code_asks_of_a_module(model: INSID3) -> None:
    assert model.to("cpu").eval() is model
    assert model.image_size == SIDE
    assert model.device == torch.device("cpu")
    assert sum(p.numel() for p in model.parameters()) > 1000
    assert 'build_insid3(device="cuda")' in refusal(model.to, "cuda")


# --- what is accepted ---------------------------------------------------------------------------


def normalised(image: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(image).movedim(-1, 0).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


IMAGES: dict[str, Callable[[str], Any]] = {
    "path": Path,
    "PIL": Image.open,
    "array": lambda name: np.asarray(Image.open(name)),
    "uint8": lambda name: torch.from_numpy(np.array(Image.open(name))).movedim(-1, 0),
    "normalised": lambda name: normalised(np.array(Image.open(name))),
    "batch": lambda name: normalised(np.array(Image.open(name)))[None],
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_in_any_form(model: INSID3, kind: str) -> None:
    model.set_reference(IMAGES[kind]("ref1.jpg"), "mask1.png")
    model.set_target(IMAGES[kind]("target.jpg"))
    np.testing.assert_array_equal(model.segment(), plain(model, ONE))


def test_a_tensor_in_0_to_1_is_not_taken_as_normalised(model: INSID3) -> None:
    tensor = torch.from_numpy(picture(RIGHT, seed=1)).movedim(-1, 0) / 255
    model.set_reference(*ONE)
    with pytest.warns(InputWarning, match=r"lie in 0\.\.1"):
        model.set_target(tensor)
    np.testing.assert_array_equal(model.segment(), plain(model, ONE))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.from_numpy(picture(LEFT)).movedim(-1, 0).float(),  # 0..255
        normalised(picture(LEFT)) * 3,
        normalised(picture(LEFT)).movedim(0, -1),  # channels last
        normalised(picture(LEFT))[None].repeat(2, 1, 1, 1),
        normalised(picture(LEFT)) * float("nan"),
    ],
    ids=["255", "other", "last", "two", "nan"],
)
def test_tensors_that_are_no_image(model: INSID3, tensor: torch.Tensor) -> None:
    assert "tensor" in refusal(model.set_target, tensor)


@pytest.mark.parametrize(
    "kind", ["PIL", "array", "bool", "one", "batch", "double", "labels", "jpeg"]
)
def test_masks_in_any_form(model: INSID3, kind: str) -> None:
    tensor = torch.from_numpy(inside(LEFT))
    labels = np.where(inside(LEFT), 1, 0).astype(np.uint8)
    labels[40:60] *= 2
    Image.fromarray(inside(LEFT).astype(np.uint8) * 255).save("soft.jpg", quality=90)
    forms: dict[str, Any] = {
        "labels": labels,
        "jpeg": "soft.jpg",
        "PIL": Image.open("mask1.png"),
        "array": inside(LEFT),
        "bool": tensor,
        "one": tensor.long(),
        "batch": tensor[None],
        "double": tensor.double(),
    }
    model.set_reference("ref1.jpg", forms[kind])
    np.testing.assert_array_equal(model.segment("target.jpg"), plain(model, ONE))


# --- match --------------------------------------------------------------------------------------


def test_match_of_one_point_and_of_many(model: INSID3) -> None:
    def match(points: Any, *debiased: bool) -> np.ndarray:
        model.set_reference("ref1.jpg")
        model.set_target("target.jpg")
        return model.match(points, *debiased)

    many = match([[30, 40], [64, 72], [5, 5]])
    assert (many.shape, many.dtype) == ((3, 2), np.float32)
    for points in ((30, 40), [[30, 40]], np.array([30, 40]), torch.tensor([[30.0, 40.0]])):
        np.testing.assert_allclose(match(points), many[:1], atol=1e-3)
    np.testing.assert_array_equal(match([(30, 40)], True), match([(30, 40)]))
    original, _ = likewise.match(
        Segmenter(model._encoder), "ref1.jpg", [(30, 40)], "target.jpg", debiased=False
    )
    np.testing.assert_allclose(match([(30, 40)], False), original, atol=1e-3)
    assert np.abs(original - many[0]).max() > 0.01
    model.set_reference("ref1.jpg")
    np.testing.assert_allclose(model.match(src_kps=[(30, 40)], use_debiased=False), original)
    np.testing.assert_allclose(model.match([(30, 40)], debiased=False), original)


def test_x_comes_first(model: INSID3) -> None:
    model.set_reference("ref1.jpg")
    model.set_target("ref1.jpg")
    x, y = model.match((40, 8))[0]  # a point is found in its own picture
    assert abs(x - 40) < 16
    assert abs(y - 8) < 16
    assert "keypoint (40, 100) lies outside its image of 128x96" in refusal(model.match, (40, 100))


# --- what is returned ---------------------------------------------------------------------------


def test_results_are_arrays_that_also_do_what_tensors_do(model: INSID3) -> None:
    model.set_reference(*ONE)
    mask = model.segment("target.jpg")
    points = model.match([(30, 40), (5, 5)])
    truth = torch.from_numpy(inside(RIGHT))
    # as the wiki and likewise use them
    assert (mask.shape, mask.dtype) == (SHAPE, bool)
    assert 0 < mask.mean() < 1
    assert iou(mask, inside(RIGHT)) > 0.6
    assert (mask * 255).astype("uint8").max() == 255
    # as the released code's scripts and its users do
    assert torch.equal(mask.cpu(), torch.from_numpy(np.asarray(mask)))
    np.testing.assert_array_equal(mask.detach().cpu().numpy().astype(bool), mask)
    assert mask.float().unsqueeze(0).shape == (1, *SHAPE)
    assert torch.stack([mask, mask]).sum() == 2 * mask.sum()
    assert torch.logical_and(mask, truth).sum() == (mask & inside(RIGHT)).sum()
    assert torch.equal(truth & mask, mask.cpu() & truth)
    assert points.detach().cpu().tolist() == points.tolist()
    assert torch.norm(torch.zeros(1, 2, 2) - points.unsqueeze(0), dim=-1).shape == (1, 2)
    with pytest.raises(AttributeError):
        mask.no_such_thing  # noqa: B018


# --- the wiki's page ----------------------------------------------------------------------------


def test_a_folder_by_one_reference(model: INSID3, files: Path) -> None:
    """As the wiki's batch annotation, in our words; its own text may be absent."""
    targets = {"a": RIGHT, "b": LOW, "c": LEFT}
    (files / "photos").mkdir()
    for name, box in targets.items():
        Image.fromarray(picture(box, seed=2)).save(files / "photos" / f"{name}.jpg", quality=95)
    model.set_reference("reference.jpg", "reference_mask.png")
    for path in sorted((files / "photos").glob("*.jpg")):
        model.set_target(str(path))
        mask = model.segment()
        Image.fromarray((mask * 255).astype("uint8")).save(f"{path.stem}_mask.png")
    for name, box in targets.items():
        assert iou(read_mask(f"{name}_mask.png"), inside(box)) > 0.6


def test_parts_one_after_the_other(model: INSID3) -> None:
    for part in ("hair", "face", "hands"):
        model.set_reference("ref_full.jpg", f"ref_{part}_mask.png")
        expected = plain(model, ("ref_full.jpg", f"ref_{part}_mask.png"))
        np.testing.assert_array_equal(model.segment("target.jpg"), expected)


def wiki_snippets() -> dict[str, str]:
    """Heading → code of the wiki's page, whose text has lost its indentation, which is put back."""
    if not WIKI.exists():
        pytest.skip(f"the wiki's page is not beside the checkout: {WIKI.name} in shared/seeds")
    text = WIKI.read_text("utf-8")
    snippets = {}
    for heading, end in (
        ("Usage", "Performance"),
        ("Batch Annotation for Datasets", "Part Segmentation Pipeline"),
        ("Part Segmentation Pipeline", "Quality Control"),
        ("Quality Control", "When to Use INSID3 vs SAM"),
    ):
        found = re.search(rf"^{heading}¶\n(.*?)^{end}¶", text, re.DOTALL | re.MULTILINE)
        assert found, heading
        lines, depth, once = [], 0, False
        for line in found[1].splitlines():
            lines.append("    " * depth + line)
            if once:  # the one line of an `if`
                depth, once = depth - 1, False
            if line.endswith(":") and not line.startswith("#"):
                depth, once = depth + 1, line.startswith("if ")
        snippets[heading] = "\n".join(lines)
    return snippets


def test_the_wikis_snippets_run_as_written(tiny: Path, files: Path) -> None:
    snippets = wiki_snippets()
    built: list[dict[str, Any]] = []

    def build(**settings: Any) -> INSID3:
        built.append(settings)
        return build_insid3(str(tiny), image_size=SIDE, device="cpu")

    def save_mask(mask: np.ndarray, name: str) -> None:
        Image.fromarray((mask * 255).astype("uint8")).save(name)

    usage = snippets["Usage"]
    imports = [line for line in usage.splitlines() if "import" in line]
    assert len(imports) == 1  # all that is changed
    names: dict[str, Any] = {"build_insid3": build, "save_mask": save_mask}
    exec(usage.replace(imports[0], ""), names)
    assert built == [{"backbone": "vitl"}]
    model = names["model"]
    np.testing.assert_array_equal(names["mask"], plain(model, ONE, TWO))

    (files / "targets").mkdir()
    for name in ("a", "b"):
        Image.fromarray(picture(RIGHT, seed=3)).save(files / "targets" / f"{name}.jpg")
    exec(snippets["Batch Annotation for Datasets"], names)
    names["annotate_batch"]("reference.jpg", "reference_mask.png", "targets", "masks/of/targets")
    assert built[1:] == [{}]
    assert (files / "masks/of/targets").is_dir()

    exec(snippets["Part Segmentation Pipeline"], names)
    for part in ("hair", "face", "hands"):
        expected = plain(model, ("ref_full.jpg", f"ref_{part}_mask.png"))
        saved = np.asarray(Image.open(f"target_{part}_mask.png")) > 0
        np.testing.assert_array_equal(saved, expected)

    exec(snippets["Quality Control"], names)
    assert names["validate_mask_quality"](names["mask"]) == "ok"
