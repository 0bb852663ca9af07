"""Clips: labels carried along, resume, outputs, the command."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from clips import COUNT, camera, write_folder
from helpers import iou, refusal
from likewise import SegICParams, Segmenter
from likewise.backbones.encoder import Encoder
from likewise.example import FOLDER
from likewise.features.patch_features import PatchFeatures
from likewise.io.images import read_image
from likewise.io.masks import read_label_map, read_mask
from likewise.methods.segic.decoder import Decoder, DecoderShape
from likewise.methods.segic.files import Trained, save_decoder
from likewise.run.manifest import Manifest
from likewise.video.annotation import read_annotations
from likewise.video.frames import open_clip
from likewise.video.label_propagation import carry, neighbourhood
from likewise.video.memory import Known, Memory
from likewise.video.propagate import order, passes, propagate
from likewise.video.run import LOG, ClipRun
from likewise.video.tracker import Params, default_params

pytest.importorskip("av", reason="PyAV is not installed: pip install 'likewise[video]'")

SHARED = Path(__file__).resolve().parents[3] / "shared" / "bench" / "davis_video"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(image_size=112)


# --- passes and memory ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotated", "wanted"),
    [([0], range(9)), ([4], range(9)), ([0, 8], range(9)), ([2, 5, 6], range(12)),
     ([3, 10], range(0, 14, 4)), ([0, 20], range(5, 9))],
)  # fmt: skip
def test_every_frame_is_done_once_from_the_nearest(annotated: list[int], wanted: range) -> None:
    assert sorted(order(annotated, wanted)) == sorted({*annotated, *wanted})
    for run in passes(annotated, wanted):
        nearest = [min(abs(n - a) for a in annotated) for n in run]
        assert nearest == sorted(nearest)


def looks(number: int, angle: float) -> Known:
    F = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
    return Known(number, PatchFeatures(F, F, (1, 1), (8, 8)), torch.ones(1, 1))


def test_memory_is_bounded_and_keeps_what_differs() -> None:
    memory = Memory([looks(0, 0.0)], recent=2, diverse=2)
    for number, angle in enumerate([0.01, 1.0, 0.02, 1.01, 2.0, 0.03, 3.0], 1):
        memory.add(looks(number, angle), sure=number != 7)
    assert memory.numbers() == {"recent": [6, 7], "diverse": [2, 5]}
    again = Memory([looks(0, 0.0)], 2, 2)
    again.restore(memory.numbers(), lambda number: looks(number, 0.0))
    assert again.numbers() == memory.numbers()


def test_labels_are_carried_to_where_things_went() -> None:
    torch.manual_seed(0)
    F = torch.nn.functional.normalize(torch.randn(6, 6, 32), dim=2)
    moved = torch.roll(F, 2, dims=1)
    labels = torch.zeros(1, 6, 6)
    labels[0, 2:4, 0:2] = 1
    known = Known(0, PatchFeatures(*2 * (F.flatten(0, 1),), (6, 6), (60, 60)), labels.flatten(1))
    target = PatchFeatures(*2 * (moved.flatten(0, 1),), (6, 6), (60, 60))
    want = torch.roll(labels[0], 2, dims=1)[:, 2:] > 0.5  # what is left of it came from outside
    for radius, reached in ((2, True), (1, False)):
        window = neighbourhood((6, 6), radius, torch.device("cpu"))
        found = carry(target, [], [known], window, 1, 0.1).reshape(6, 6)[:, 2:] > 0.5
        assert bool((found == want).all()) == reached
    found = carry(target, [known], [], window, 1, 0.1).reshape(6, 6)[:, 2:] > 0.5
    assert (found == want).all()


# --- propagation ----------------------------------------------------------------------------------


def overlaps(found: dict[int, np.ndarray], truth: list[np.ndarray]) -> list[float]:
    return [float((found[k] & m).sum() / (found[k] | m).sum()) for k, m in enumerate(truth)]


def run_clip(clip: object, known: object, segmenter: Segmenter, **how: object) -> dict:
    return {f.number: f.label_map for f in propagate(clip, known, segmenter, **how)}


@pytest.mark.parametrize("method", ["likewise", "insid3", "nearest"])
def test_a_moving_coin_is_followed_by_every_method(scene: Path, method: str) -> None:
    clip = open_clip(scene / "clip.mp4")
    known = read_annotations({0: scene / "m0.png"}, clip.size, len(clip))
    segmenter = Segmenter(image_size=160, method=method)
    found = run_clip(clip, known, segmenter, wanted=range(0, COUNT, 2))
    assert sorted(found) == list(range(0, COUNT, 2))
    truth = camera()[1]
    for number, label_map in found.items():
        union = ((label_map == 1) | truth[number]).sum()
        assert ((label_map == 1) & truth[number]).sum() / union > 0.6, number


@pytest.mark.parametrize(("offset", "area"), [(-9.0, 0.0), (9.0, 1.0)])
def test_finer_scores_of_a_decoder(scene: Path, tmp_path: Path, offset: float, area: float) -> None:
    """segic, with a decoder that always says the same: nothing, or everything, is carried on."""
    encoder = Encoder("embedded", image_size=112)
    decoder = Decoder(DecoderShape(dim=384, hidden=16, layers=1, heads=2))
    decoder.offset.data += offset
    save_decoder(tmp_path / "d.safetensors", decoder, Trained.by(encoder))
    segmenter = Segmenter(encoder, method=SegICParams(tmp_path / "d.safetensors"))
    clip = open_clip(scene / "clip.mp4")
    known = read_annotations({0: scene / "m0.png"}, clip.size, len(clip))
    mostly_own = Params(weight=0.4, diverse=0)
    found = run_clip(clip, known, segmenter, wanted=range(0, 8), params=mostly_own)
    assert [(found[k] == 1).mean() for k in range(1, 8)] == [area] * 7
    assert default_params("segic").diverse == 0  # nothing is learnt anew
    assert default_params("likewise") == Params()


def test_both_directions_meet_in_the_middle(scene: Path, segmenter: Segmenter) -> None:
    clip = open_clip(scene / "clip.mp4")
    masks = {0: scene / "m0.png", COUNT - 1: scene / f"m{COUNT - 1}.png"}
    known = read_annotations(masks, clip.size, len(clip))
    found = run_clip(clip, known, segmenter)
    assert min(overlaps({k: m == 1 for k, m in found.items()}, camera()[1])) > 0.6


def test_objects_compete_and_one_that_leaves_is_gone(tmp_path: Path, segmenter: Segmenter) -> None:
    """Two halves of a picture slide apart: the coin leaves, the ground stays, then it is back."""
    frames, masks = camera(4, 0)
    empty = read_image(FOLDER / "board_1.jpg")[:160, :160]
    clip = open_clip(write_folder(tmp_path / "f", [*frames[:2], empty, empty, *frames[2:]]))
    label_map = masks[0].astype(np.uint8)
    label_map[140:, :60] = 2
    label_map[masks[0]] = 1
    Image.fromarray(label_map).save(tmp_path / "m.png")
    known = read_annotations({0: tmp_path / "m.png"}, clip.size, len(clip))
    found = list(propagate(clip, known, segmenter))
    areas = [int((f.label_map == 1).sum()) for f in found]
    assert [a > 0.5 * areas[0] for a in areas] == [True, True, False, False, True, True]
    assert areas[2] < 0.05 * areas[0]
    assert found[1].confidences[0] > 0.5 > found[2].confidences[0]
    assert iou(found[1].label_map == 2, label_map == 2) > 0.6
    assert all(f.label_map.dtype == np.uint8 for f in found)
    assert not {2, 3} & set(found[-1].remembered["diverse"])  # what was not there is not remembered


def test_without_memory_frames_are_those_of_segment(scene: Path, segmenter: Segmenter) -> None:
    clip = open_clip(scene / "frames")
    known = read_annotations({0: scene / "m0.png"}, clip.size, len(clip))
    found = run_clip(clip, known, segmenter, wanted=range(0, 14, 6), memory=False)
    segmenter.fit((scene / "frames" / "f0.png", scene / "m0.png"))
    for k in (6, 12):
        mask = segmenter.segment(scene / "frames" / f"f{k}.png").mask
        assert ((found[k] == 1) == mask).all()


def test_in_one_call(scene: Path, segmenter: Segmenter) -> None:
    import likewise

    found = list(
        likewise.segment_video(
            scene / "frames", {3: scene / "m0.png"}, segmenter, frames=range(2, 6, 2)
        )
    )
    assert [f.number for f in found] == [3, 4, 2]
    assert all(f.label_map.shape == (160, 160) for f in found)


# --- runs -----------------------------------------------------------------------------------------


def start(scene: Path, out: Path, **how: object) -> tuple[ClipRun, object]:
    clip = open_clip(scene / "clip.mp4")
    known = read_annotations({3: scene / "m0.png"}, clip.size, len(clip))
    run = ClipRun(clip, known, out)
    return run, lambda segmenter, **more: run.segment(segmenter, **(how | more))


def contents(out: Path) -> dict[str, bytes]:
    files = [*(out / "masks").glob("*.png"), out / "video.json", out / LOG]
    return {f.name: f.read_bytes() for f in files if f.exists()}


def test_a_run_that_was_stopped_anywhere_ends_as_one_that_was_not(
    scene: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    params = Params(every=2)  # the memory changes often
    run, segment = start(scene, tmp_path / "whole")
    list(segment(segmenter, params=params))
    run.finish(overlay=False)
    for stop in (1, 9):
        out = tmp_path / f"stopped_{stop}"
        run, segment = start(scene, out)
        for _, done in zip(range(stop), segment(segmenter, params=params), strict=False):
            assert done.mask.is_file()
        with (out / LOG).open("a") as log:
            log.write('{"number": 9, "conf')  # torn by the kill
        run, segment = start(scene, out)
        again = list(segment(segmenter, params=params, resume=True))
        assert [d.skipped for d in again] == [k < stop for k in range(COUNT)]
        run.finish(overlay=False)
        assert contents(out) == contents(tmp_path / "whole")
    other = replace(params, weight=0.3)
    text = refusal(lambda: list(segment(segmenter, params=other, resume=True)))
    assert "were not made with this clip" in text


def test_a_mask_that_is_gone_is_made_again(
    scene: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    run, segment = start(scene, tmp_path / "out")
    list(segment(segmenter))
    before = contents(tmp_path / "out") if run.finish(overlay=False) else {}
    run.mask(8).unlink()
    again = list(segment(segmenter, resume=True))
    assert [d.skipped for d in again].index(False) == run.order.index(8)
    assert contents(tmp_path / "out") == before


def test_a_frame_that_changed_is_segmented_again_with_all_after_it(
    scene: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    shutil.copytree(scene / "frames", tmp_path / "frames")
    clip = open_clip(tmp_path / "frames")
    known = read_annotations({0: scene / "m0.png"}, clip.size, len(clip))
    run = ClipRun(clip, known, tmp_path / "out", range(6))
    list(run.segment(segmenter))
    shutil.copy(tmp_path / "frames" / "f4.png", tmp_path / "frames" / "f3.png")
    again = list(run.segment(segmenter, resume=True))
    assert [o.state for o in again] == ["kept"] * 3 + ["made"] * 3
    list(ClipRun(clip, known, tmp_path / "whole", range(6)).segment(segmenter))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_masks_of_a_newer_likewise_are_refused(scene: Path, tmp_path: Path) -> None:
    masks = tmp_path / "out" / "masks"
    masks.mkdir(parents=True)
    (masks / "manifest.jsonl").write_text('{"mask": "00000.png", "depth": 3}\n')
    assert "another program or version of likewise" in refusal(start, scene, tmp_path / "out")


def command(*words: object) -> list[str]:
    start = "import sys; from likewise.cli import main; sys.argv[0] = 'likewise'; main()"
    return [sys.executable, "-c", start, "video", *map(str, words)]


def test_the_command_survives_kill_9(scene: Path, tmp_path: Path, segmenter: Segmenter) -> None:
    def words(out: str, *more: str) -> list[str]:
        options = ["--mask", scene / "m0.png", "--image-size", 112, "--out", tmp_path / out]
        return command(scene / "clip.mp4", "--reference-frame", 3, *options, *more)

    source = str(Path(__file__).resolve().parents[2] / "src")
    env = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    whole, segment = start(scene, tmp_path / "whole")
    list(segment(segmenter))
    whole.finish(overlay=False)
    log = tmp_path / "killed" / LOG
    process = subprocess.Popen(words("killed"), env=env, stdout=subprocess.DEVNULL)
    while not (log.is_file() and log.read_text().count("\n") > 5):
        assert process.poll() is None, "it was done before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "video.json").exists()
    (tmp_path / "killed" / "masks" / ".likewise-0.part").touch()
    for part in tmp_path.rglob(".likewise-*"):  # a younger one may be that of another run
        os.utime(part, (0, 0))
    done = subprocess.run(
        words("killed", "--resume", "--json"), env=env, check=True, capture_output=True
    )
    report = json.loads(done.stdout)
    assert report["kept"] >= 5
    assert report["written"] + report["kept"] == COUNT
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    film = open_clip(tmp_path / "killed" / "overlay.mp4")
    assert (len(film), film.size, film.rate) == (COUNT, (160, 160), 25.0)
    pixels = next(film.read(range(7, 8))).astype(int)
    mask = read_label_map(tmp_path / "killed" / "masks" / "00007.png") == 1
    red = pixels[..., 0] - pixels[..., 2]
    assert red[mask].mean() > red[~mask].mean() + 50  # the overlay's colour
    with Image.open(tmp_path / "killed" / "strip.jpg") as strip:
        assert strip.width > 4 * 200
    assert not list(tmp_path.rglob(".likewise-*"))


def test_coco_video_json_says_what_the_masks_say(
    scene: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    run, segment = start(scene, tmp_path / "out")
    list(segment(segmenter))
    gone = Image.new("P", (160, 160))
    gone.save(run.mask(5))  # the object is not in this frame
    run.finish(overlay=False)
    coco = json.loads((tmp_path / "out" / "video.json").read_text())
    (video,), (one,) = coco["videos"], coco["annotations"]
    assert (video["length"], video["height"], video["width"]) == (COUNT, 160, 160)
    assert video["file_names"][2] == "clip/00002.jpg"
    assert coco["categories"] == [{"id": 1, "name": "object 1"}]
    assert one["segmentations"][5] is one["bboxes"][5] is one["areas"][5] is None
    for k in (0, 4, 13):
        mask = read_label_map(run.mask(k)) == 1
        assert (read_mask(one["segmentations"][k]) == mask).all()
        rows, columns = np.nonzero(mask)
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
        assert (one["bboxes"][k], one["areas"][k]) == (box, int(mask.sum()))


def test_a_person_s_masks_stay_and_numbers_keep_their_meaning(
    scene: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    frames, out = scene / "frames", tmp_path / "out"
    parts = np.zeros((160, 160), np.uint8)
    parts[np.asarray(Image.open(scene / "m0.png")) > 0] = 1
    parts[140:, :60] = 2
    Image.fromarray(parts).save(tmp_path / "m.png")
    Image.fromarray((3 - parts) * (parts > 0)).save(tmp_path / "swapped.png")

    def run(mask: str, *labels: str, **how: object) -> list:
        clip = open_clip(frames)
        known = read_annotations({0: tmp_path / mask}, clip.size, len(clip), labels)
        made = ClipRun(clip, known, out, range(3))
        done = list(made.segment(segmenter, **how))
        made.finish(overlay=False)
        return done

    def values() -> np.ndarray:
        return np.asarray(Image.open(out / "masks" / "f0.png"))

    run("m.png", "coin", "corner")
    manifest = Manifest(out / "masks")
    assert manifest.numbers == {"coin": 1, "corner": 2}
    assert manifest.image_of(out / "masks" / "f2.png") == frames / "f2.png"
    assert (values() == parts).all()
    text = refusal(run, "swapped.png", "corner", "coin", resume=True)
    assert "were not made with this clip, these annotations" in text
    run("swapped.png", "corner", "coin")  # the same objects, named in another order
    assert (values() == parts).all()

    theirs = np.zeros((160, 160), np.uint8)
    theirs[:40, :40] = 1
    Image.fromarray(theirs).save(out / "masks" / "f1.png")
    done = run("m.png", "coin", "corner")
    assert [d.by_hand for d in done] == [False, True, False]
    assert done[1].area == 1600 / 160**2
    assert (np.asarray(Image.open(out / "masks" / "f1.png")) == theirs).all()
    objects = json.loads((out / "video.json").read_text())["annotations"]
    assert [one["areas"][1] for one in objects] == [1600, None]
    Image.fromarray(theirs * 9).save(out / "masks" / "f1.png")
    assert "f1.png holds the value 9, which labels.json" in refusal(run, "m.png", "coin", "corner")
    run("m.png", "coin", "corner", overwrite=True)
    assert not (np.asarray(Image.open(out / "masks" / "f1.png")) == 9).any()

    export = ["export", out / "masks", "--images", frames, "--out", tmp_path / "coco"]
    words = [*command()[:-1], *map(str, export), "--format", "coco"]
    source = str(Path(__file__).resolve().parents[2] / "src")
    subprocess.run(words, env=os.environ | {"PYTHONPATH": source}, check=True)
    (coco,) = (json.loads(p.read_text()) for p in (tmp_path / "coco").rglob("*.json"))
    assert {c["name"] for c in coco["categories"]} == {"coin", "corner"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_only_a_full_disk_is_called_full(
    scene: Path, tmp_path: Path, segmenter: Segmenter, number: int
) -> None:
    run, segment = start(scene, tmp_path / "out")
    list(segment(segmenter))
    with mock.patch("likewise.video.outputs.whole_file", side_effect=OSError(number, "no")):
        for write in (lambda: run.finish(overlay=False), lambda: run.finish()):
            assert ("is full" in refusal(write)) == (number == errno.ENOSPC)


def test_memory_helps_on_a_real_sequence(segmenter: Segmenter) -> None:
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared is absent: no DAVIS sequence")
    name = "480p/car-roundabout"
    clip = open_clip(SHARED / "JPEGImages" / name)
    truth = {k: SHARED / "Annotations" / name / f"{clip.name(k)}.png" for k in range(31)}
    known = read_annotations({0: truth[0]}, clip.size, len(clip))
    insid3 = Segmenter(segmenter.encoder, method="insid3")
    scores = []
    for memory in (False, True):
        found = run_clip(clip, known, insid3, wanted=range(0, 31, 3), memory=memory)
        masks = {k: (f == 1, read_mask(truth[k])) for k, f in found.items() if k}
        scores.append(np.mean([(a & b).sum() / (a | b).sum() for a, b in masks.values()]))
    assert scores[1] > scores[0]
