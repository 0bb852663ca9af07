"""`likewise benchmark` on tiny replicas of every download, through the real loaders and metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import refusal
from likewise.io.images import read_image
from likewise.lab.evaluation import benchmark as blocks
from likewise.lab.evaluation.benchmark import Shard, choose_numbers
from likewise.lab.evaluation.benchmark_report import bars
from likewise.lab.evaluation.benchmark_run import ABLATIONS, Options
from likewise.lab.evaluation.datasets import BENCHMARKS, get_benchmark, make_manifest
from likewise.lab.evaluation.datasets.pickles import read_object_array, read_pickle
from likewise.lab.evaluation.figures import figures
from likewise.lab.evaluation.manifest import as_trial, load_manifest, save_manifest
from likewise.lab.evaluation.metrics import Counts, bootstrap_interval, set_miou
from likewise.lab.evaluation.papers import published
from likewise.lab.evaluation.tasks import BenchmarkTask
from likewise.methods import make_params
from likewise.reference import Reference
from likewise.segmenter import Segmenter
from replicas import REPLICAS, SIZE, coco_instances, drawn, dump, mask, picture, save
from scenes import Booby, Ran, run, sandbox


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder, with the backbone tiny/."""
    (tmp_path / "tiny").symlink_to(tiny)
    with sandbox(tmp_path):
        yield tmp_path


def words(name: str, *more: str) -> list[str]:
    options = ["--backbone", "tiny", "--size", "64", "--method", "insid3"]
    return ["benchmark", name, *options, *more]


def done(ran: Ran) -> str:
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def report_of(name: str, *more: str) -> dict[str, Any]:
    return json.loads(done(run(words(name, "--json", *more))))


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    left_out = ("seconds", "images_per_second", "shards", "machines")
    return {k: v for k, v in report.items() if k not in left_out}


# --- every benchmark ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_replica_goes_through_loader_sampler_metric_and_report(name: str, folder: Path) -> None:
    REPLICAS[name](folder / "data")
    text = done(run(words(name, "--episodes", "5")))
    out = folder / "benchmark" / name
    report = json.loads((out / "report.json").read_text())
    manifest = load_manifest(out / "manifest-1-shot.json", name)
    assert report["manifest"] == manifest.digest
    assert report["episodes"] == len(report["records"]) == min(5, len(manifest.entries))
    short = len(manifest.entries) > 5
    assert ("NOT THE PROTOCOL: 5 of" in text) == short
    assert report["headline"] in report["mean"]
    for values in (report["mean"], *report["sets"].values()):
        assert all(0 <= v <= 100 for v in values.values())
    for low, high in report["interval"].values():
        assert 0 <= low <= high <= 100
    assert report["seconds"] > 0
    assert report["machines"][0]["device"] == "cpu"
    assert (out / "report.md").read_text() in text
    for paper in published(name, 1):
        assert f"{paper.value:.2f}" in text
        assert paper.source in text
    assert read_image(out / "report.png").shape[2] == 3
    for source, digest in manifest.sources.items():
        assert (folder / "data" / source).is_file()
        assert len(digest) == 64


def test_every_fold_and_class_of_the_protocols_is_asked(tmp_path: Path) -> None:
    asked = {}
    for name in ("coco20i", "isaid5i", "paco-part", "lvis92i", "pascal-part"):
        manifest = drawn(name, tmp_path)
        asked[name] = {}
        for entry in manifest.entries:
            asked[name].setdefault(entry["set"], []).append(entry["cls"])
    assert {k: len(v) for k, v in asked["coco20i"].items()} == dict.fromkeys(
        ("fold0", "fold1", "fold2", "fold3"), 15
    )
    assert all(int(c) % 4 == 2 for c in asked["coco20i"]["fold2"])
    assert set(asked["isaid5i"]["fold0"]) == {"1", "2"}
    assert set(asked["isaid5i"]["fold2"]) == {"11"}
    assert len(asked["lvis92i"]) == 10
    assert asked["lvis92i"]["fold3"] == ["5"] * 3  # the fourth that has more than one image
    # The training list is in reverse order, and class 4 has too few images.
    assert set(asked["paco-part"]["fold0"]) == {"7", "3"}
    assert set(asked["paco-part"]["fold3"]) == {"0"}
    # Each image of each part counts, also of parts that are not asked for: 4 + 4 + 1.
    assert asked["pascal-part"]["animals"] == ["animals thing+head", "animals thing+tail"] * 4 + [
        "animals thing+head"
    ]


# --- figures against an independent count ---------------------------------------------------------


def truth_of(marked: dict[str, Any], root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, mask and counted pixels, read by Pillow and pycocotools."""
    from pycocotools import mask as coco

    image = np.asarray(Image.open(root / marked["image"]).convert("RGB"))
    counted = np.ones(image.shape[:2], bool)
    if isinstance(marked["mask"], dict):
        there = coco.decode({**marked["mask"], "counts": marked["mask"]["counts"].encode()}) > 0
    else:
        values = np.asarray(Image.open(root / marked["mask"]).convert("L")).astype(int)
        there = values >= 128 if "least" in marked else values == marked["value"]
        counted = values != marked.get("void", -1)
    left, top, right, bottom = marked.get("box", (0, 0, image.shape[1], image.shape[0]))
    return tuple(a[top:bottom, left:right] for a in (image, there, counted))


@pytest.mark.parametrize("name", ["isic", "isaid5i", "coco20i", "paco-part", "permis"])
def test_figures_are_those_of_a_confusion_matrix(name: str, folder: Path) -> None:
    REPLICAS[name](folder / "data")
    report = report_of(name, "--episodes", "8")
    entries = load_manifest(folder / f"benchmark/{name}/manifest-1-shot.json", name).entries
    segmenter = Segmenter("tiny", image_size=64, method="insid3", refiner="none")
    sums: dict[str, dict[str, np.ndarray]] = {}
    for number in report["numbers"]:
        entry = entries[number]
        reference, marked, _ = truth_of(entry["refs"][0], folder / "data")
        target, there, counted = truth_of(entry["tgt"], folder / "data")
        found = segmenter.fit((reference, marked)).segment(target).mask
        total = sums.setdefault(entry["set"], {}).setdefault(entry["cls"], np.zeros((2, 2)))
        for row, column in zip(there[counted], found[counted], strict=True):
            total[int(row), int(column)] += 1
    ious = {
        fold: [100 * m[1, 1] / max(m[1, 1] + m[0, 1] + m[1, 0], 1) for m in classes.values()]
        for fold, classes in sums.items()
    }
    assert {k: v["mIoU"] for k, v in report["sets"].items()} == pytest.approx(
        {fold: np.mean(values) for fold, values in ious.items()}
    )
    assert report["mean"]["mIoU"] == pytest.approx(np.mean([np.mean(v) for v in ious.values()]))
    assert sum(sum(v) for v in ious.values()) > 0


def test_the_figure_at_input_size(folder: Path) -> None:
    """The patch mask upsampled once, against the truth resized to it by nearest neighbour."""
    REPLICAS["isic"](folder / "data")
    report = report_of("isic", "--episodes", "4")
    entries = load_manifest(folder / "benchmark/isic/manifest-1-shot.json", "isic").entries
    segmenter = Segmenter("tiny", image_size=64, method="insid3", refiner="none")
    for record in report["records"]:
        entry = entries[record["at"]]
        reference, marked, _ = truth_of(entry["refs"][0], folder / "data")
        target, there, _ = truth_of(entry["tgt"], folder / "data")
        scores = torch.from_numpy(segmenter.fit((reference, marked)).segment(target).scores)
        up = torch.nn.functional.interpolate(scores[None, None], size=(64, 64), mode="bilinear")
        small = there[np.arange(64) * 40 // 64][:, np.arange(64) * 48 // 64]
        found = up[0, 0].numpy() > 0.5
        assert record["input"] == [int((found & small).sum()), int((found | small).sum())]


def test_figures_are_those_of_likewise_eval() -> None:
    rng = np.random.default_rng(3)
    counts, records = [], []
    for at in range(60):
        fold, cls, union = f"fold{at % 3}", f"c{at % 7}", int(rng.integers(1, 90))
        pair = [int(rng.integers(0, union + 1)), union]
        counts.append(Counts(fold, cls, *pair))
        same = {"own": pair, "input": pair, "edge": pair}
        records.append({"at": at, "set": fold, "unit": str(at), "cls": cls, **same})
    found = figures(list(reversed(records)))
    assert {k: v["mIoU"] for k, v in found["sets"].items()} == pytest.approx(set_miou(counts))
    assert found["interval"]["mIoU"] == pytest.approx(bootstrap_interval(counts))


def test_miou_against_torchmetrics() -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    from torchmetrics.classification import BinaryJaccardIndex

    rng, records, metrics = np.random.default_rng(0), [], {}
    for at in range(30):
        found, there = rng.random((2, 9, 11)) > rng.random()
        own = [int((found & there).sum()), int((found | there).sum())]
        same = {"own": own, "input": own, "edge": own}
        cls = f"c{at % 4}"
        records.append({"at": at, "set": "s", "unit": str(at), "cls": cls, **same})
        metric = metrics.setdefault(cls, BinaryJaccardIndex())
        metric.update(torch.from_numpy(found).int(), torch.from_numpy(there).int())
    expected = 100 * np.mean([float(m.compute()) for m in metrics.values()])
    assert figures(records)["mean"]["mIoU"] == pytest.approx(expected, abs=1e-4)


def test_semantic_figures_are_those_of_one_confusion_matrix(folder: Path) -> None:
    """Several classes compete for every pixel that is not void."""
    REPLICAS["ade20k"](folder / "data")
    report = report_of("ade20k")
    path = folder / "benchmark/ade20k/manifest-1-shot.json"
    manifest = load_manifest(path, "ade20k")
    assert manifest.protocol["classes left out"] == ["77"]
    matrix = np.zeros((3, 3))  # truth, found: class 3, class 150, neither
    for entry in manifest.entries:
        labels = ["class 3", "class 150"]
        assert list(entry["tgt"]) == labels
        references = [truth_of(manifest.references[k][0], folder / "data") for k in labels]
        segmenter = Segmenter("tiny", image_size=64, method="insid3", refiner="none").fit(
            [Reference(r[0], r[1], label=k) for k, r in zip(labels, references, strict=True)]
        )
        truths = [truth_of(entry["tgt"][k], folder / "data") for k in labels]
        target, _, counted = truths[0]
        up = torch.stack(
            [torch.from_numpy(c.scores) for c in segmenter.segment(target).classes.values()]
        )[None]
        for size in ((64, 64), (40, 48)):
            up = torch.nn.functional.interpolate(up, size=size, mode="bilinear")
        found = np.where(up[0].amax(0) > 0, up[0].argmax(0), 2)
        there = np.where(truths[0][1], 0, np.where(truths[1][1], 1, 2))
        np.add.at(matrix, (there[counted], found[counted]), 1)
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    ious = 100 * matrix.diagonal() / (both - matrix.diagonal())
    assert report["mean"]["mIoU"] == pytest.approx(ious[:2].mean())
    assert matrix[2].sum() > 0


def test_references_and_targets_that_are_foreground_everywhere(folder: Path) -> None:
    """Some parts fill the box of their object; an empty target is nothing to find."""
    REPLICAS["chest"](folder / "data")
    masks = sorted((folder / "data/LungSegmentation/masks").iterdir())
    save(masks[0], np.full(SIZE, 255, np.uint8))
    save(masks[1], np.full(SIZE, 255, np.uint8))
    report = report_of("chest", "--episodes", "20")
    entries = load_manifest(folder / "benchmark/chest/manifest-1-shot.json", "chest").entries
    full = {f"LungSegmentation/masks/{p.name}" for p in masks[:2]}
    asked = [entries[n] for n in report["numbers"]]
    assert any(e["refs"][0]["mask"] in full for e in asked)
    for record, entry in zip(report["records"], asked, strict=True):
        if entry["tgt"]["mask"] in full:
            assert record["own"][1] == SIZE[0] * SIZE[1]
    save(masks[2], np.zeros(SIZE, np.uint8))
    ran = run(words("chest", "--episodes", "20", "--out", "again"))
    assert ran.code == 2
    assert "marks nothing of what it is a reference for: check the download." in ran.err


# --- the same twice, in parts, and after a crash --------------------------------------------------


def test_the_same_manifest_twice_and_two_shards_give_one_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    REPLICAS["suim"](folder / "data")
    first = report_of("suim")
    again = ["--manifest", "benchmark/suim/manifest-1-shot.json"]
    assert timeless(report_of("suim", *again, "--out", "again")) == timeless(first)
    for part in ("0/2", "1/2"):
        done(run(words("suim", *again, "--out", f"part{part[0]}", "--shard", part)))
    files = [f"part{k}/suim/report-{k}-of-2.json" for k in (1, 0)]
    assert not Path("part0/suim/report.json").exists()
    assert "ONE SHARD: 12 of 21 episodes" in done(
        run(words("suim", *again, "--out", "part0", "--shard", "0/2"))
    )
    merged = json.loads(done(run(["benchmark", "merge", *files, "--out", "whole", "--json"])))
    assert timeless(merged) == timeless(first)
    assert merged["shards"] == ["1/2", "0/2"]
    assert len(merged["machines"]) == 2
    assert Path("whole/report.md").exists()
    assert merged["seconds"] == sum(json.loads(Path(f).read_text())["seconds"] for f in files)


def test_after_a_crash_only_what_is_missing_is_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 8)
    REPLICAS["suim"](folder / "data")
    really, ran = BenchmarkTask.run, []

    def failing(self: BenchmarkTask, numbers: list[int]) -> Any:
        if len(ran) == 2:
            raise RuntimeError("the power is gone")
        ran.append(list(numbers))
        return really(self, numbers)

    with mock.patch.object(BenchmarkTask, "run", failing):
        assert run(words("suim")).code != 0
    assert not Path("benchmark/suim/report.json").exists()
    with mock.patch.object(
        BenchmarkTask, "run", lambda s, n: (ran.append(list(n)), really(s, n))[1]
    ):
        resumed = report_of("suim")
    assert sorted(n for block in ran for n in block) == list(range(21))
    assert timeless(resumed) == timeless(report_of("suim", "--out", "fresh"))


def test_another_run_does_not_use_its_blocks(folder: Path) -> None:
    REPLICAS["permis"](folder / "data")
    done(run(words("permis")))
    ran = run(words("permis", "--set", "alpha=0.1"))
    assert ran.code == 2
    assert "holds a run with other settings, episodes or code: give another --out" in ran.err


def test_an_ablation_compares_on_the_same_episodes(folder: Path) -> None:
    REPLICAS["permis"](folder / "data")
    text = done(run(words("permis", "--ablation", "debias")))
    found = json.loads(Path("benchmark/permis/ablation-debias.json").read_text())
    assert found.keys() == {"on", "off"}
    assert found["off"]["settings"]["rank"] == 0 < found["on"]["settings"]["rank"]
    assert f"| off    | {found['off']['mean']['mIoU at input size']:.2f}" in text
    manifests = list(Path("benchmark/permis").glob("manifest*"))
    assert len(manifests) == 1


def test_ablations_are_options_and_settings_that_exist() -> None:
    for variants in ABLATIONS.values():
        for change in variants.values():
            assert change.keys() <= {*Options.__dataclass_fields__}
            make_params(change.get("method", "insid3"), change.get("set", {}))
    assert len({json.dumps(c, sort_keys=True) for c in ABLATIONS["foris"].values()}) == 4


def test_the_page_shows_every_benchmark_and_ablation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text("utf-8")
    for b in BENCHMARKS.values():
        assert f"`{b.name}`" in page
        assert f"{b.folder}/" in page
        assert b.headline in ("J&F", "mIoU", "mIoU at input size", "PCK@0.10 per image")
    for name in ABLATIONS:
        assert f"`{name}`" in page


def test_all_runs_what_is_there_and_says_what_is_not(folder: Path) -> None:
    for name in ("permis", "spair"):
        REPLICAS[name](folder / "data")
    ran = run(words("all"))
    assert ran.code == 0
    assert "# PerMIS" in ran.out
    assert "# SPair-71k" in ran.out
    assert "not there: COCO-20i, get it at https://" in ran.err
    assert "PerMIS" not in ran.err
    Path("data/PerMIRS/4/1.jpg").unlink()
    ran = run(words("all", "--out", "again"))
    assert ran.code == 1
    assert "likewise: PerMIS: data/PerMIRS/4/1.jpg does not exist" in ran.err.replace("\\", "/")
    assert "# SPair-71k" in ran.out
    listed = json.loads(done(run(["benchmark", "list", "--data-root", "data", "--json"])))
    assert {row["name"] for row in listed if row["here"] == "yes"} == {"permis", "spair"}
    assert len(listed) == len(BENCHMARKS) == 17


def test_numbers_are_spread_over_the_list() -> None:
    assert choose_numbers(10, None) == list(range(10))
    assert choose_numbers(1000, 4) == [0, 250, 500, 750]
    assert Shard.parse("3/4") == Shard(3, 4)
    for bad in ("4/4", "x", "1/0", "-1/2", "1"):
        assert "--shard" in refusal(Shard.parse, bad)


# --- manifests and lists --------------------------------------------------------------------------


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    for name in ("paco-part", "isaid5i", "davis2017"):
        manifest = drawn(name, tmp_path)
        save_manifest(tmp_path / "m.json", manifest)
        again = load_manifest(tmp_path / "m.json", name)
        assert again.digest == manifest.digest
        if get_benchmark(name).task == "masks":
            trials = [as_trial(e, 0, tmp_path) for e in again.entries]
            assert trials == [as_trial(e, 0, tmp_path) for e in manifest.entries]
    assert "is a manifest of davis2017, not of suim" in refusal(
        load_manifest, tmp_path / "m.json", "suim"
    )


def test_a_changed_list_is_noticed(folder: Path) -> None:
    REPLICAS["isaid5i"](folder / "data")
    done(run(words("isaid5i", "--episodes", "2")))
    with (folder / "data/iSAID/splits/val/fold0.txt").open("a") as file:
        file.write("P0000_0_256_0_256__01\n")
    ran = run(words("isaid5i", "--episodes", "2"))
    assert "is not the file that the manifest was made from" in ran.err


def test_pickles_run_nothing(folder: Path) -> None:
    dump(Path("list.pkl"), {1: ["a"], "x": np.arange(3), "n": np.int64(4)})
    found = read_pickle(Path("list.pkl"))
    assert found[1] == ["a"]
    assert found["n"] == 4
    assert found["x"].tolist() == [0, 1, 2]
    dump(Path("trap.pkl"), {"x": Booby()})
    assert "posix.mkdir" in refusal(read_pickle, Path("trap.pkl"))
    np.save("trap.npy", np.array([Booby()], dtype=object), allow_pickle=True)
    assert "can run any program" in refusal(read_object_array, Path("trap.npy"))
    assert not Path("EXECUTED").exists()
    np.save("plain.npy", np.arange(6.0).reshape(2, 3))
    assert read_object_array(Path("plain.npy")).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_coco_from_its_official_annotations(folder: Path) -> None:
    coco_instances(folder / "data")
    report = report_of("coco20i", "--episodes", "8")
    assert report["protocol"]["published lists"] is False
    entries = load_manifest(folder / "benchmark/coco20i/manifest-1-shot.json", "coco20i").entries
    assert {e["cls"] for e in entries if e["set"] == "fold1"} == {"thing 12", "thing 16"}
    _, there, _ = truth_of(entries[0]["tgt"], folder / "data")
    assert there[:5, :6].all()
    assert 30 + 18 * 20 >= there.sum() > 18 * 20


def test_davis_objects_and_frames(tmp_path: Path) -> None:
    single, several = drawn("davis2016", tmp_path), drawn("davis2017", tmp_path)
    assert [e["unit"] for e in single.entries] == ["bear"] * 3 + ["dogs"] * 3
    frames = [Path(next(iter(e["tgt"].values()))["image"]).stem for e in several.entries]
    assert frames == ["00001", "00002", "00003"] * 2  # neither the first nor the last
    assert list(several.entries[4]["tgt"]) == ["dogs 1", "dogs 2"]
    assert list(single.entries[4]["tgt"]) == ["dogs"]
    reference = several.references["dogs 2"][0]
    assert (reference["value"], Path(reference["image"]).stem) == (2, "00000")
    # The 2016 download lists its frames instead of its videos.
    for year in ("2016", "2017"):
        (tmp_path / f"DAVIS/ImageSets/{year}/val.txt").unlink()
    lines = "/JPEGImages/480p/dogs/00000.jpg /Annotations/480p/dogs/00000.png\n" * 2
    (tmp_path / "DAVIS/ImageSets/480p").mkdir()
    (tmp_path / "DAVIS/ImageSets/480p/val.txt").write_text(lines)
    other = make_manifest(get_benchmark("davis2016"), tmp_path, 1)
    assert {e["unit"] for e in other.entries} == {"dogs"}


def test_bars_show_the_comparable_figures(folder: Path) -> None:
    save(folder / "x.png", mask((1, 1, 9, 9)))
    report = {"headline": "J&F", "interval": {"J&F": [40.0, 60.0]}, "mean": {"J&F": 50.0}}
    report |= {"title": "DAVIS-2017", "settings": {"method": "insid3"}, "numbers": [0]}
    report |= {"total": 1, "episodes": 1, "papers": [vars(p) for p in published("davis2017", 1)]}
    drawn_bars = bars(report)
    assert drawn_bars.shape[0] == 26 * (len(report["papers"]) + 3)
    ours = (drawn_bars[26 + 8 + 2] == (255, 64, 32)).all(axis=1).sum()
    assert abs(int(ours) - 250) <= 2  # 50 points of 500 pixels
    assert math.isclose(published("coco20i", 1)[0].value, 57.6)
    assert published("coco20i", 5) == []
    assert picture((0, 0, 3, 3)).dtype == np.uint8
