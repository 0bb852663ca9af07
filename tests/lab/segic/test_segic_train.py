"""Training SegIC's decoder: what learns, what it is asked, and that going on is exact."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import refusal
from likewise import Reference, SegICParams, Segmenter
from likewise.errors import LikewiseError
from likewise.lab.segic.data.pairs import Mixture, TrainingPair
from likewise.lab.segic.data.sources import KINDS, open_data
from likewise.lab.segic.training.batches import batches, order
from likewise.lab.segic.training.config import Config, Validation, read_config, shape_of
from likewise.lab.segic.training.dry_run import dry_run_report
from likewise.lab.segic.training.history import HistoryRow
from likewise.lab.segic.training.processes import Processes
from likewise.lab.segic.training.samples import SamplePool, Samples, encode_pairs
from likewise.lab.segic.training.step import Mixed, ask, covered
from likewise.lab.segic.training.train import Trainer, chances, open_encoder, train
from likewise.methods.segic import entity
from likewise.methods.segic.decoder import DecoderShape
from likewise.methods.segic.files import Trained, load_decoder, save_decoder
from likewise.methods.segic.text import text_features
from likewise.project.settings import check_kinds
from likewise.reference import encode_references

pytest.importorskip("matplotlib", reason="training draws its curve: pip install 'likewise[train]'")

EXAMPLE = Path(__file__).parents[3] / "src" / "likewise" / "example"
BENCH = Path(__file__).parents[4] / "shared" / "bench" / "episodes_dev.json"
SIZE = 64
ALONE = Processes()
TOML = """
out = "run"
steps = 8
batch = 4
pairs = 8
points = 200
warmup = 0
lr = 0.001
minutes = 1000
[decoder]
hidden = 16
layers = 2
[backbone]
name = "tiny"
image_size = 64
[[data]]
kind = "folder"
images = "images"
masks = "masks"
entities = "values"
[validation]
pairs = 2
every = 4
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def here(tmp_path: Path, tiny: Path) -> Path:
    """A folder with data of real pictures, the backbone ``tiny`` and ``config.toml``."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name, ending in (("coin", ".png"), ("board", ".jpg")):
        image = Image.open(EXAMPLE / f"{name}_reference{ending}").convert("RGB")
        marked = np.asarray(Image.open(EXAMPLE / f"{name}_reference_mask.png").convert("L")) > 127
        labels = marked.astype(np.uint8)
        corner = np.zeros_like(marked)
        corner[: len(marked) // 4, : marked.shape[1] // 4] = True
        labels[corner & ~marked] = 2
        image.resize((120, 96)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(labels).resize((120, 96), 0).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "tiny").symlink_to(tiny)
    return written(tmp_path).file.parent


def written(folder: Path, text: str = TOML) -> Config:
    (folder / "config.toml").write_text(text)
    return read_config(folder / "config.toml")


def nothing(_: object) -> None: ...


def trained(
    config: Config, advance: Callable[[HistoryRow], None] = nothing
) -> list[tuple[float, ...]]:
    """Train in this process: step, loss, rate and mIoU of every step."""
    encoder = open_encoder(config, ALONE)
    draw = open_data(config, SIZE).pair
    train(config, encoder, draw, ALONE, advance, nothing)
    return curve(config)


def curve(config: Config) -> list[tuple[float, ...]]:
    with (config.path(config.out) / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [tuple(float(r[k] or -1) for k in ("step", "loss", "lr", "miou")) for r in rows]


def weights(config: Config, name: str = "decoder.safetensors") -> dict[str, torch.Tensor]:
    return load_decoder(config.path(config.out) / name)[0].state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def trainer_of(here: Path, **changes: object) -> tuple[Trainer, Mixture]:
    config = replace(read_config(here / "config.toml"), **changes)
    return Trainer(config, open_encoder(config, ALONE), ALONE), open_data(config, SIZE)


def samples_of(trainer: Trainer, mixture: Mixture, count: int = 4) -> Samples:
    return encode_pairs(trainer.encoder, [mixture.pair(0, n) for n in range(count)])


def none(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.bool)


# What learns


def test_only_the_decoder_learns(here: Path) -> None:
    trainer, mixture = trainer_of(here, negatives=1.0, reversion=0.0, weight_decay=0.0)
    before = {k: v.clone() for k, v in trainer.state.decoder.state_dict().items()}
    frozen = {k: v.clone() for k, v in trainer.encoder.backbone.model.state_dict().items()}
    samples = samples_of(trainer, mixture)
    samples.tasks[:2] = 0  # both tasks, so that both of their embeddings have something to say
    samples.patches[:, 2] = ~samples.patches[:, 0]
    trainer.step(samples)
    after = trainer.state.decoder.state_dict()
    same = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert same == []
    model = trainer.encoder.backbone.model
    assert equal(frozen, model.state_dict())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_the_loss_falls_and_the_file_can_be_used(here: Path) -> None:
    config = written(here, TOML.replace("steps = 8", "steps = 60").replace("0.001", "0.003"))
    rows = trained(replace(config, reversion=0.0, negatives=0.0))
    losses = [row[1] for row in rows]
    assert len(rows) == 60
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:10])  # of a backbone that knows nothing
    assert [row[0] for row in rows if row[3] >= 0] == list(range(4, 61, 4))
    highest = max(row[3] for row in rows)
    is_last = rows[-1][3] == highest
    assert equal(weights(config), weights(config, "best.safetensors")) == is_last
    assert rows[47][2] == pytest.approx(0.003)
    assert rows[48][2] == pytest.approx(0.0003)
    out = config.path("run")
    assert Image.open(out / "curve.png").size[0] > 300
    mask = EXAMPLE / "coin_reference_mask.png"
    segmenter = Segmenter(
        str(here / "tiny"),
        image_size=SIZE,
        method=SegICParams(str(out / "decoder.safetensors")),
    )
    segmenter.fit((EXAMPLE / "coin_reference.png", mask))
    assert segmenter.segment(EXAMPLE / "coin_1.png").scores.shape == (SIZE // 4,) * 2


def test_it_can_begin_with_another_decoder(here: Path) -> None:
    first, _ = trainer_of(here, seed=5)
    file = here / "other.safetensors"
    save_decoder(file, first.state.decoder, Trained.by(first.encoder))
    second, _ = trainer_of(here, start="other.safetensors")
    third, _ = trainer_of(here)
    known = first.state.decoder.state_dict()
    assert equal(known, second.state.decoder.state_dict())
    assert equal(known, second.best.state_dict())
    assert not equal(known, third.state.decoder.state_dict())
    larger = {"hidden": 32, "layers": 2, "heads": 2}
    assert "of another shape" in refusal(
        trainer_of, here, start="other.safetensors", decoder=larger
    )


def test_the_average_follows_the_weights(here: Path) -> None:
    trainer, mixture = trainer_of(here, ema=0.15)
    samples = samples_of(trainer, mixture)
    seen = []
    for _ in range(4):
        trainer.step(samples)
        seen.append(trainer.state.decoder.offset.item())
        trainer.state.rows.append(HistoryRow(len(seen), 0.0, 0.0, None, 0.0))
    expected = seen[0]  # its memory grows: 2/11 is more than 0.15, 0.1 of step 0 is never used
    for value in seen[1:]:
        expected = 0.15 * expected + 0.85 * value
    assert trainer.best.offset.item() == pytest.approx(expected, rel=1e-4)
    last, _ = trainer_of(here, ema=0.0)
    last.step(samples)
    assert equal(last.best.state_dict(), last.state.decoder.state_dict())


# What is asked


def test_training_asks_what_inference_asks(here: Path, tmp_path: Path) -> None:
    trainer, mixture = trainer_of(here)
    pair = replace(mixture.pair(0, 3), task="semantic", negatives=np.zeros((0, SIZE, SIZE), bool))
    samples = encode_pairs(trainer.encoder, [pair])
    task = ask(trainer.mixed, samples, trainer.encoder.basis, none(1), none(1))
    logits = trainer.mixed(task.features, task.instructions)[-1]
    path = tmp_path / "decoder.safetensors"
    save_decoder(path, trainer.state.decoder, Trained.by(trainer.encoder))
    segmenter = Segmenter(trainer.encoder, method=SegICParams(str(path)))
    segmenter.fit([(pair.reference, pair.reference_mask)])
    assert np.allclose(
        segmenter.segment(pair.target).scores, logits[0].sigmoid().detach(), atol=1e-5
    )
    assert np.array_equal(task.truth[0], pair.target_mask)


def test_negatives_reach_the_decoder(here: Path) -> None:
    trainer, mixture = trainer_of(here)
    samples = samples_of(trainer, mixture)
    assert samples.patches[:, 2].any(dim=1).any(), "the data has no negative"
    row = int(samples.patches[:, 2].any(dim=1).nonzero()[0, 0])
    basis = trainer.encoder.basis
    plain = ask(trainer.mixed, samples, basis, none(4), none(4))
    told = ask(trainer.mixed, samples, basis, ~none(4), none(4))
    assert plain.instructions.positive.all()
    signs = told.instructions.positive[row][told.instructions.present[row]]
    assert signs.tolist()[:2] == [True, False]
    assert torch.equal(plain.truth, told.truth)
    a, b = (trainer.mixed(t.features, t.instructions)[-1][row] for t in (plain, told))
    assert not torch.allclose(a, b)


def test_context_reversion_swaps_and_takes_the_prediction(here: Path) -> None:
    trainer, mixture = trainer_of(here)
    samples = samples_of(trainer, mixture)
    basis, turned = trainer.encoder.basis, torch.tensor([True, True, False, False])
    with torch.no_grad():  # a decoder that finds all, and one that finds nothing
        trainer.state.decoder.offset.fill_(100.0)
    samples.patches[1, 1] = False  # the target shows nothing: it cannot be turned
    plain = ask(trainer.mixed, samples, basis, none(4), none(4))
    all_ = ask(trainer.mixed, samples, basis, none(4), turned)
    pixels = samples.pixels()
    assert torch.equal(all_.truth[0], pixels[0, 0])
    assert torch.equal(all_.truth[1:], pixels[1:, 1])
    assert all_.valid[0].all()
    assert torch.equal(all_.features[1:], plain.features[1:])
    assert not torch.equal(all_.features[0], plain.features[0])
    everything = torch.nn.functional.normalize(samples.features[0, 1].float(), dim=1).mean(dim=0)
    assert torch.allclose(all_.instructions.visual[0, 0], everything, atol=1e-5)
    with torch.no_grad():
        trainer.state.decoder.offset.fill_(-100.0)
    known = ask(trainer.mixed, samples, basis, none(4), turned)  # falls back on the true mask
    own = torch.nn.functional.normalize(samples.features[0, 1].float(), dim=1)
    own = own[samples.patches[0, 1]].mean(dim=0)
    assert torch.allclose(known.instructions.visual[0, 0], own, atol=1e-5)
    assert not torch.allclose(own, everything, atol=1e-3)


def test_patches_are_covered_by_more_than_half() -> None:
    logits = torch.full((1, 8, 8), -1.0)
    logits[0, :4, :3] = 1
    logits[0, 4:, 4:6] = 1
    assert covered(logits, (2, 2)).tolist() == [[True, False, False, False]]


def test_each_strategy_has_its_share(here: Path) -> None:
    config = replace(read_config(here / "config.toml"), batch=4000, negatives=0.5, reversion=0.2)
    told, turned = chances(config, 3)
    assert told.float().mean() == pytest.approx(0.5, abs=0.05)
    assert turned.float().mean() == pytest.approx(0.2, abs=0.05)
    told, turned = chances(replace(config, negatives=0.0, reversion=0.0), 3)
    assert not told.any()
    assert not turned.any()


# Which pairs


def test_the_order_is_one_permutation_after_another(here: Path) -> None:
    config = replace(read_config(here / "config.toml"), pairs=6, batch=4)
    numbers = [n for step in range(6) for n in order(config, step)]
    epochs = [numbers[k : k + 6] for k in range(0, 24, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    large = replace(config, batch=15)
    assert [n for step in range(2) for n in order(large, step)][:24] == numbers
    assert order(replace(config, pairs=0), 2) == [8, 9, 10, 11]


def test_a_pool_holds_what_is_drawn(here: Path) -> None:
    config = replace(read_config(here / "config.toml"), pairs=70, data_seed=5)
    encoder, draw = open_encoder(config, ALONE), open_data(config, SIZE).pair
    pool = SamplePool(encoder, draw, 5, 70)
    assert list(pool.fill()) == [32, 32, 6]
    kept = pool.batch([66, 3])
    fresh = encode_pairs(encoder, [draw(5, 66), draw(5, 3)])
    assert torch.equal(kept.features, fresh.features)
    assert np.array_equal(kept.pixels()[0, 1], draw(5, 66).target_mask)
    assert kept.names() == [draw(5, 66).category, draw(5, 3).category]
    files = sorted(pool.folder.iterdir())
    files[0].unlink()  # as after a kill
    before = files[1].stat().st_mtime_ns
    again = SamplePool(encoder, draw, 5, 70)
    assert again.folder == pool.folder
    assert sum(again.fill()) == 70
    assert files[1].stat().st_mtime_ns == before
    assert torch.equal(again.batch([3]).features, fresh.features[1:])
    assert SamplePool(encoder, draw, 6, 70).folder != pool.folder


def test_new_pairs_leave_nothing_on_disk(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    trained(written(here, TOML.replace("pairs = 8", "pairs = 0").replace("steps = 8", "steps = 2")))
    kept = {path.parent.name for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert kept <= {"bases"}


@pytest.mark.parametrize("workers", [0, 2])
def test_new_pairs_are_the_same_in_workers(here: Path, workers: int) -> None:
    config = replace(read_config(here / "config.toml"), pairs=0, steps=3, workers=workers)
    encoder, draw = open_encoder(config, ALONE), open_data(config, SIZE).pair
    found = list(batches(config, draw, encoder, 1, slice(0, 2)))
    assert len(found) == 2
    expected = encode_pairs(encoder, [draw(0, 8), draw(0, 9)])
    assert torch.equal(found[1].features, expected.features)


def broken(_: int, number: int) -> TrainingPair:
    raise LikewiseError(f"picture {number} is gone.")


def test_an_error_of_a_worker_stays_one_sentence(here: Path) -> None:
    config = replace(read_config(here / "config.toml"), pairs=0, workers=1)
    encoder = open_encoder(config, ALONE)
    assert refusal(list, batches(config, broken, encoder, 0, slice(0, 4))) == "picture 0 is gone."


# Going on


def test_after_an_interruption_it_goes_on_exactly(here: Path) -> None:
    config = read_config(here / "config.toml")
    whole = trained(replace(config, out="whole"))

    def interrupt(row: HistoryRow) -> None:
        if row.step == 3:
            signal.raise_signal(signal.SIGINT)

    assert trained(config, interrupt) == whole[:4]
    said: list[str] = []
    encoder, draw = open_encoder(config, ALONE), open_data(config, SIZE).pair
    found = train(config, encoder, draw, ALONE, nothing, said.append)
    assert said == [f"going on after step 4 of 8 in {config.path('run')}"]
    assert not found["stopped"]
    assert curve(config) == whole
    assert equal(weights(config), weights(replace(config, out="whole")))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_after_a_kill_it_goes_on_exactly(here: Path) -> None:
    config = written(here, TOML.replace("steps = 8", "steps = 50").replace("1000", "0.004"))
    whole = trained(replace(config, out="whole", minutes=1000))
    with started(here, [sys.executable, "-m", "likewise"]) as process:
        assert process.stderr is not None
        for _ in process.stderr:  # a line for each step
            if (here / "run" / "checkpoint.pt").exists():
                break
        process.kill()
    assert process.returncode == -signal.SIGKILL
    then = curve(config)
    assert 0 < len(then) < 50
    assert then == whole[: len(then)]
    assert trained(replace(config, minutes=1000)) == whole
    assert equal(weights(config), weights(replace(config, out="whole")))


def started(here: Path, words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*words, "segic", "train", "config.toml"],
        cwd=here,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_learn_what_one_does(here: Path) -> None:
    config = read_config(here / "config.toml")
    alone = trained(replace(config, out="whole"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with started(here, [*torchrun, "--nproc_per_node", "2", "-m", "likewise"]) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert np.allclose(curve(config), alone, rtol=1e-4)
    ours, theirs = weights(config), weights(replace(config, out="whole"))
    assert all(torch.allclose(ours[k], theirs[k], atol=1e-4) for k in ours)


def test_a_folder_of_another_training_is_refused(here: Path) -> None:
    config = replace(read_config(here / "config.toml"), steps=1)
    trained(config)
    text = refusal(trained, replace(config, lr=0.5))
    assert "another config (lr was 0.001, is 0.5)" in text
    trained(replace(config, minutes=3.0, validation=Validation()))
    checkpoint = config.path("run") / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:2000])
    assert "cannot be read as a checkpoint" in refusal(trained, config)


def test_a_loss_that_is_no_number_ends_it(here: Path) -> None:
    config = replace(read_config(here / "config.toml"), weight_decay=1e38)
    assert "is no number any more: give a smaller lr" in refusal(trained, config)


# The rest


def test_a_dry_run_keeps_only_a_picture(here: Path) -> None:
    config = read_config(here / "config.toml")
    encoder, draw = open_encoder(config, ALONE), open_data(config, SIZE).pair
    config.path("run").mkdir()
    found = dry_run_report(config, encoder, draw, ALONE)
    assert [p.name for p in config.path("run").iterdir()] == ["pairs.jpg"]
    assert found["parameters"]["trained"] == sum(
        p.numel() for p in Trainer(config, encoder, ALONE).state.decoder.parameters()
    )
    assert found["hours"] > 0
    assert 0 <= found["miou"] <= 100


@pytest.mark.skipif(not BENCH.is_file(), reason="needs ../shared/bench beside the checkout")
def test_validation_on_episodes(here: Path) -> None:
    config = written(here, TOML.replace("steps = 8", "steps = 2"))
    held = Validation(episodes=str(BENCH), sets=("ph2_skin",), limit=2, every=2)
    rows = trained(replace(config, validation=held))
    assert 0 <= rows[-1][3] <= 100
    held = replace(held, sets=("ph3",))
    assert "has no set 'ph3'; use some of" in refusal(trained, replace(config, validation=held))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("steps = 8", "stops = 8", "config.toml: stops is unknown; use out, data"),
        ("steps = 8", "steps = 0", "config.toml: steps is 0: give at least 1."),
        ("lr = 0.001", "lr = nan", "lr is nan: give at least 0 and at most 1."),
        ("steps = 8", 'steps = "8"', 'steps is "8", which is no whole number.'),
        ("steps = 8", "steps = ", "config.toml is no TOML"),
        ("steps = 8", 'precision = "double"', "precision 'double' is unknown; use auto, float32"),
        ('out = "run"', "", 'names no folder for the decoder: write out = "folder".'),
        ("hidden = 16", "hidden = 17", "[decoder] a decoder cannot be 17 wide"),
        ("hidden = 16", "hide = 16", "[decoder] hide is unknown; use hidden"),
        ("hidden = 16", 'instructions = ["voice"]', "[decoder] instruction 'voice' is unknown"),
        ('name = "tiny"', "nome = 3", "[backbone] nome is unknown; use name, image_size"),
        ("[[data]]", "[data]", "config.toml: data is {"),
        ("every = 4", 'sets = ["a"]', "[validation] sets are of no list: give episodes, too."),
        (
            'kind = "folder"',
            'kind = "movies"',
            "[[data]] 1: kind 'movies' is unknown; use one of stamps",
        ),
        ('kind = "folder"', "", "[[data]] 1: kind '' is unknown; use one of stamps, folder"),
        ('images = "images"', 'ending = ".png"', "[[data]] 1: kind folder needs images: add it."),
        ('masks = "masks"', 'masks = "nowhere"', "[[data]] 1: "),
        ('entities = "values"', "mask = 1", "[[data]] 1: mask is unknown; use images, masks"),
        ('entities = "values"', 'ignored = ["a"]', "ignored holds what is no whole number"),
        (
            'entities = "values"',
            "augmentation = {scales = [2, 1]}",
            "augmentation scales is [2, 1]: give two numbers above 0, the smaller one first.",
        ),
        ('entities = "values"', "augmentation = {flop = 1}", "augmentation flop is unknown; use s"),
    ],
)
def test_a_wrong_config_is_explained(here: Path, old: str, new: str, says: str) -> None:
    def start() -> None:
        open_data(written(here, TOML.replace(old, new)), SIZE)

    assert says in refusal(start)


def test_the_docs_show_the_defaults(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "segic.md").read_text(encoding="utf-8")
    settings, data = (part.split("```")[0] for part in text.split("```toml")[1:3])
    config = written(tmp_path, settings + data)
    shown = replace(config, pairs=0, data=(), decoder={}, validation=Validation())
    assert shown == Config(config.file, "run", ())
    assert shape_of(config, 48) == DecoderShape(48)
    assert replace(config.validation, episodes="") == Validation()
    assert [table["kind"] for table in config.data] == list(KINDS)
    for table in config.data:
        own = {key: value for key, value in table.items() if key != "kind"}
        check_kinds(config.file, "", own, KINDS[table["kind"]][1])


def make_text_encoder(folder: Path) -> None:
    """A CLIP text encoder that knows nothing but letters."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    letters = "abcdefghijklmnopqrstuvwxyz."
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 12}
    small |= {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16}
    shape = transformers.CLIPTextConfig(pad_token_id=0, **small, **ends)
    transformers.CLIPTextModelWithProjection(shape).save_pretrained(folder)
    transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt")
    ).save_pretrained(folder)


def test_text_can_be_the_meta_instruction(here: Path) -> None:
    make_text_encoder(here / "clip")
    trainer, mixture = trainer_of(here, text=str(here / "clip"), batch=2)
    samples = samples_of(trainer, mixture, 2)
    samples.tasks[:] = 0
    samples.categories[0, :4] = torch.tensor(list(b"coin"))
    task = ask(trainer.mixed, samples, trainer.encoder.basis, none(2), none(2), str(here / "clip"))
    assert task.instructions.meta.shape == (2, 12)
    assert not torch.equal(*task.instructions.meta)
    expected = text_features(str(here / "clip"), [f"a photo of a {samples.names()[0]}."])[0]
    assert torch.allclose(task.instructions.meta[0], expected)
    assert 0 < trainer.step(samples) < 20


def test_mixed_precision_answers_in_float32(here: Path) -> None:
    trainer, mixture = trainer_of(here)
    samples = samples_of(trainer, mixture)
    task = ask(trainer.mixed, samples, trainer.encoder.basis, none(4), none(4))
    half = Mixed(trainer.state.decoder, torch.bfloat16)
    exact = trainer.mixed(task.features, task.instructions)[-1]
    rough = half(task.features, task.instructions)[-1]
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert torch.allclose(exact, rough, atol=0.1)


def test_entities_are_the_shots(here: Path) -> None:
    """The entity that training makes of a pair is the one that inference makes of its reference."""
    trainer, mixture = trainer_of(here)
    pair = mixture.pair(0, 0)
    samples = encode_pairs(trainer.encoder, [pair])
    reference = Reference(pair.reference, pair.reference_mask)
    (shot,) = encode_references(trainer.encoder, [reference]).shots
    assert torch.equal(entity(shot).mask, samples.patches[0, 0])
