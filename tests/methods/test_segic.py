"""SegIC's instructions, decoder, loss and files on hand-made tensors; the method on real images."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from helpers import refusal
from likewise import Reference, SegICParams, Segmenter, tune
from likewise.backbones.encoder import Encoder
from likewise.example import FOLDER as EXAMPLE
from likewise.features.density import PatchPool, discriminant
from likewise.lab.segic.training.losses import at_points, dice_loss, mask_loss, sample_points
from likewise.methods import make_params
from likewise.methods.segic.decoder import Decoder, DecoderShape
from likewise.methods.segic.files import Trained, load_decoder, save_decoder
from likewise.methods.segic.instructions import (
    Entity,
    Instructions,
    fit_densities,
    grid_points,
    instruct,
    log_odds,
    pool,
    positional_encoding,
    propagate,
    top_points,
)
from likewise.project.score_maps import ScoreMaps

SMALL = DecoderShape(dim=16, hidden=16, layers=2, heads=2)


def rows(count: int, dim: int = 16, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def some_entity(seed: int, *, positive: bool = True, count: int = 12) -> Entity:
    features = rows(count, seed=seed)
    mask = torch.zeros(count, dtype=torch.bool)
    mask[: 3 + seed % 3] = True
    return Entity(features, rows(count, seed=seed + 100), mask, positive)


def asked(targets: int = 2, entities: int = 2) -> tuple[torch.Tensor, Instructions]:
    """Features of targets on a 3×4 grid and their instructions, the last entity negative."""
    features = torch.stack([rows(12, seed=70 + n) for n in range(targets)])
    known = [
        [some_entity(10 * n + e, positive=e == 0 or e < entities - 1) for e in range(entities)]
        for n in range(targets)
    ]
    meta = torch.arange(targets) % 2
    return features, instruct(features, (3, 4), known, meta, points=1)


# --- instructions -------------------------------------------------------------------------------


def test_propagated_map_is_equation_2() -> None:
    target, reference = rows(5), rows(7, seed=1)
    y = torch.tensor([1, 0, 1, 1, 0, 0, 0.0])
    C = target @ reference.T
    expected = C @ (y / y.sum())
    torch.testing.assert_close(propagate(target, reference, y > 0), expected)


def test_visual_token_is_equation_3() -> None:
    features = torch.tensor([[1.0, 0], [0, 1], [3, 5]])
    mask = torch.tensor([True, False, True])
    assert pool(features, mask).tolist() == [2, 2.5]


@pytest.mark.usefixtures("float32_products")
def test_log_odds_are_those_of_likewise() -> None:
    """Densities and discriminant of one plain reference, with a negative one beside it."""
    target, entities = rows(6), [some_entity(1), some_entity(2, positive=False)]
    wanted, other = entities
    concept = wanted.debiased[wanted.mask]
    rest = torch.cat([other.debiased[other.mask], wanted.debiased[~wanted.mask]])

    def density(patches: torch.Tensor) -> torch.Tensor:
        kernel = ((target @ patches.T - 1) / 0.02).exp().sum(dim=1)
        return kernel.log() - math.log(len(patches)) / 2

    sure = log_odds(target, fit_densities(entities)) * 10 - (density(concept) - density(rest))
    known = torch.cat([concept, rest])
    pooled = PatchPool(known, torch.ones(len(known)), (len(concept), len(rest)))
    w = discriminant(pooled, torch.tensor([True, False]), torch.tensor([False, True]), 0.2)
    torch.testing.assert_close(sure, 5 * (target @ w[:-1] + w[-1]), atol=1e-3, rtol=1e-3)


def test_log_odds_are_0_without_negative_patches() -> None:
    whole = replace(some_entity(1), mask=torch.ones(12, dtype=torch.bool))
    assert not log_odds(rows(5), fit_densities([whole])).any()
    assert log_odds(rows(5), fit_densities([whole, some_entity(2, positive=False)])).any()


def test_top_points_are_centres_of_the_best_patches() -> None:
    a = torch.tensor([0, 0, 5.0, 0, 0, 0, 0, 9])
    points = top_points(a, (2, 4), 2)
    assert points.tolist() == [[3.5 / 4, 1.5 / 2], [2.5 / 4, 0.5 / 2]]
    assert top_points(a[:2], (1, 2), 4).shape == (4, 2)


def test_positional_encoding() -> None:
    code = positional_encoding(torch.tensor([[0.25, 0.75]]), 8)[0]
    waves = [math.pi, 64 * math.pi]
    expected = [
        *(math.sin(w * 0.25) for w in waves),
        *(math.cos(w * 0.25) for w in waves),
        *(math.sin(w * 0.75) for w in waves),
        *(math.cos(w * 0.75) for w in waves),
    ]
    torch.testing.assert_close(code, torch.tensor(expected), atol=1e-5, rtol=0)


def test_positions_of_patches_are_row_major() -> None:
    points = grid_points((2, 3), torch.device("cpu"))
    assert points[1].tolist() == [0.5, 0.25]
    torch.testing.assert_close(points[3], torch.tensor([1 / 6, 0.75]))


def test_instructions_are_padded_to_the_most_entities() -> None:
    targets = torch.stack([rows(12), rows(12, seed=5)])
    known = [[some_entity(1)], [some_entity(2), some_entity(3, positive=False)]]
    c = instruct(targets, (3, 4), known, torch.tensor([0, 1]), points=2)
    assert c.maps.shape == (2, 2, 3, 4)
    assert c.log_odds.shape == (2, 3, 4)
    assert c.points.shape == (2, 2, 2, 2)
    assert c.visual.shape == (2, 2, 16)
    assert c.present.tolist() == [[True, False], [True, True]]
    assert c.positive.tolist() == [[True, True], [True, False]]


# --- decoder ------------------------------------------------------------------------------------


def test_five_million_parameters_at_vit_b() -> None:
    count = sum(p.numel() for p in Decoder(DecoderShape(dim=768)).parameters())
    assert 4.9e6 < count < 5.2e6


def test_masks_at_stride_4_after_every_layer() -> None:
    features, c = asked()
    logits = Decoder(SMALL)(features, c)
    assert [o.shape for o in logits] == [(2, 12, 16)] * 2


def test_padding_says_nothing() -> None:
    decoder = Decoder(SMALL).eval()
    targets = rows(12)[None]
    alone = instruct(targets, (3, 4), [[some_entity(1)]], torch.tensor([0]))
    both = torch.cat([targets, targets])
    more = [[some_entity(1)], [some_entity(2), some_entity(3), some_entity(4)]]
    beside = instruct(both, (3, 4), more, torch.tensor([0, 0]))
    with torch.no_grad():
        one, two = decoder(targets, alone)[-1][0], decoder(both, beside)[-1]
    torch.testing.assert_close(one, two[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(one, two[1], atol=1e-3)


@pytest.mark.parametrize("left_out", ["geometric", "visual", "meta", "evidence"])
def test_instructions_can_be_left_out(left_out: str) -> None:
    """What is left out changes nothing; with all of them, it does."""
    features, c = asked()
    changed = {
        "geometric": replace(c, points=1 - c.points, maps=-c.maps),
        "visual": replace(c, visual=-c.visual),
        "meta": replace(c, meta=1 - c.meta),
        "evidence": replace(c, log_odds=-c.log_odds),
    }[left_out]
    kept = tuple(i for i in DecoderShape(1).instructions if i != left_out)
    without, full = Decoder(replace(SMALL, instructions=kept)).eval(), Decoder(SMALL).eval()
    with torch.no_grad():
        assert torch.equal(without(features, c)[-1], without(features, changed)[-1])
        assert not torch.equal(full(features, c)[-1], full(features, changed)[-1])


def test_every_parameter_learns() -> None:
    decoder = Decoder(SMALL)
    features, c = asked()
    sum(o.square().mean() for o in decoder(features, c)).backward()
    assert not [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"instructions": ("geometry",)}, "'geometry' is unknown"),
        ({"hidden": 20}, "20 wide"),
        ({"heads": 3}, "3 heads"),
        ({"layers": 0}, "at least 1 layer"),
    ],
)
def test_impossible_shapes(wrong: dict, text: str) -> None:
    assert text in refusal(DecoderShape, **{"dim": 16, "hidden": 16, **wrong})


# --- loss ---------------------------------------------------------------------------------------


def test_dice_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0]])  # p = ½
    truth = torch.tensor([[1.0, 1, 0, 0]])
    assert dice_loss(logits, truth, torch.ones(1, 4)).item() == pytest.approx(1 - 3 / 5)
    # Without the last two: 1 - (2 · 1 + 1) / (1 + 2 + 1).
    half = torch.tensor([[1.0, 1, 0, 0]])
    assert dice_loss(logits, truth, half).item() == pytest.approx(1 - 3 / 4)


def test_values_at_points() -> None:
    values = torch.arange(6.0).reshape(1, 2, 3)
    points = torch.tensor([[[1 / 6, 0.25], [0.5, 0.5], [5 / 6, 0.75]]])  # centre, between, centre
    torch.testing.assert_close(at_points(values, points), torch.tensor([[0.0, 2.5, 5.0]]))


def test_points_are_where_the_mask_is_unsure() -> None:
    logits = torch.full((1, 8, 8), 9.0)
    logits[:, :, 3:5] = 0.0  # a quarter of the image
    points = sample_points(logits, 400, torch.Generator().manual_seed(0))
    assert points.shape == (1, 400, 2)
    unsure = (at_points(logits, points).abs() < 4.5).float().mean()
    assert unsure > 0.7
    again = sample_points(logits, 400, torch.Generator().manual_seed(0))
    assert torch.equal(points, again)


def test_loss_by_hand() -> None:
    """Logits 0 everywhere: cross-entropy ln 2; dice of p = ½ against all ones."""
    logits, ones = torch.zeros(2, 4, 4), torch.ones(2, 8, 8)
    loss = mask_loss(logits, ones, ones, torch.Generator().manual_seed(0), points=64)
    expected = 5 * math.log(2) + 5 * (1 - (64 + 1) / (32 + 64 + 1))
    assert loss.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_perfect_mask_costs_nothing(value: float) -> None:
    masks, ones = torch.full((1, 8, 8), value), torch.ones(1, 8, 8)
    loss = mask_loss((masks - 0.5) * 60, masks, ones, torch.Generator().manual_seed(0), 500)
    assert loss.item() == pytest.approx(0, abs=1e-4)


def test_what_is_not_valid_costs_nothing() -> None:
    logits = torch.full((1, 8, 8), -9.0)
    masks, valid = torch.ones(1, 8, 8), torch.zeros(1, 8, 8)
    loss = mask_loss(logits, masks, valid, torch.Generator().manual_seed(0), points=50)
    assert loss.item() == 0
    assert mask_loss(logits, masks, masks, torch.Generator().manual_seed(0), 50).item() > 40


# --- files --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder("embedded", image_size=112)


@pytest.fixture
def file(encoder: Encoder, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "decoder.safetensors"
    save_decoder(
        path, Decoder(DecoderShape(dim=384, hidden=32, layers=2, heads=4)), Trained.by(encoder)
    )
    return path


def test_a_file_keeps_the_decoder(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    decoder = Decoder(SMALL)
    save_decoder(path, decoder, Trained.by(encoder))
    back, trained = load_decoder(path)
    assert back.shape == SMALL
    assert trained == Trained.by(encoder)
    old, new = decoder.state_dict(), back.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert not any(p.requires_grad for p in back.parameters())
    features, c = asked()
    with torch.no_grad():
        torch.testing.assert_close(decoder.eval()(features, c)[-1], back(features, c)[-1])


def test_files_that_are_no_decoder(encoder: Encoder, file: Path, tmp_path: Path) -> None:
    assert "cannot be read" in refusal(load_decoder, tmp_path / "none.safetensors")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(file.read_bytes()[:-100])
    assert "no whole decoder" in refusal(load_decoder, torn)
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors")
    assert "no whole decoder" in refusal(load_decoder, text)


def test_a_decoder_of_another_backbone(file: Path, tiny: Path) -> None:
    text = refusal(Segmenter, tiny, method=SegICParams(file))
    assert "was trained on block" in text
    text = refusal(Segmenter, image_size=112, svd_components=5, method=SegICParams(file))
    assert "at rank" in text


# --- the method ---------------------------------------------------------------------------------

COIN = (EXAMPLE / "coin_reference.png", EXAMPLE / "coin_reference_mask.png")


def test_masks_come_from_the_fine_scores(encoder: Encoder, file: Path) -> None:
    segmenter = Segmenter(encoder, method=SegICParams(file), keep_tree=True).fit(COIN)
    result = segmenter.segment(EXAMPLE / "coin_1.png")
    assert result.scores.shape == (28, 28)  # 7 patches a side, 4 scores a patch
    assert ((result.scores > 0) & (result.scores < 1)).all()
    assert 0 < result.area < 1
    found = result.scores[result.scores > 0.5]
    assert result.confidence == pytest.approx(found.mean(), abs=1e-4)
    layers = ScoreMaps.of(result, encoder.input_size)
    assert layers.scores.shape == (1, 7, 7)
    np.testing.assert_allclose(layers.scores[0, 0, 0], result.scores[:4, :4].mean(), rtol=1e-4)


def test_threshold_task_and_references_count(encoder: Encoder, file: Path) -> None:
    def scores(references: object, **settings: float) -> np.ndarray:
        segmenter = Segmenter(encoder, method=SegICParams(file, **settings))
        return segmenter.fit(references).segment(EXAMPLE / "coin_1.png").scores

    plain = scores(COIN)
    logits = np.log(plain / (1 - plain))
    np.testing.assert_allclose(
        scores(COIN, threshold=1.5), 1 / (1 + np.exp(1.5 - logits)), atol=1e-5
    )
    negative = Reference(EXAMPLE / "board_1.jpg", None, negative=True)
    board = (EXAMPLE / "board_reference.jpg", EXAMPLE / "board_reference_mask.png")
    for other in (  # the task, a second reference and a negative one are heard
        scores(COIN, task=1),
        scores([COIN, board]),
        scores([Reference(*COIN), negative]),
    ):
        assert np.abs(other - plain).max() > 1e-4


def test_text_is_an_instruction(encoder: Encoder, tmp_path: Path) -> None:
    """With a text encoder the label is heard; a tiny one with random weights does."""
    clip = make_tiny_clip(tmp_path / "clip")
    decoder = Decoder(DecoderShape(dim=384, hidden=32, layers=1, heads=4, text=12))
    path = tmp_path / "d.safetensors"
    save_decoder(path, decoder, Trained.by(encoder, str(clip)))
    found = []
    for label in ("coin", "cat"):
        segmenter = Segmenter(encoder, method=SegICParams(path))
        segmenter.fit(Reference(*COIN, label=label))
        found.append(segmenter.segment(EXAMPLE / "coin_1.png").scores)
    assert np.abs(found[0] - found[1]).max() > 1e-5


def make_tiny_clip(folder: Path) -> Path:
    """A CLIP text encoder that knows six words."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<start>", "<end>", "a", "photo", "of", "coin", "cat", "."]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, "<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>"
    ).save_pretrained(folder)
    config = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        projection_dim=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    transformers.CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_tuning_keeps_the_block_of_the_decoder(encoder: Encoder, file: Path) -> None:
    segmenter = Segmenter(encoder, method=SegICParams(file))
    text = refusal(tune, segmenter, COIN, blocks=[3], sizes=[])
    assert "try no other blocks" in text
    tuning = tune(segmenter, COIN, sizes=[64])
    assert tuning.tests == 5  # the picture and its views
    assert {t.name for t in tuning.tried} == {"image_size"}
    assert tuning.flags[:6] == ["--method", "segic", "--block", "10", "--decoder", str(file)]


def test_settings_that_cannot_be() -> None:
    assert "needs a decoder" in refusal(Segmenter, image_size=112, method="segic")
    refused = refusal(make_params, "likewise", {"decoder": "x"})
    assert "has no setting decoder" in refused
    assert refused.endswith("presence; decoder is a setting of segic.")
