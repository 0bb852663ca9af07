"""`likewise match`, `likewise eval` and `likewise benchmark`."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from bad_input_rows.rows import row
from scenes import TINY, Booby, cut, match

# --- one good example, to be spoilt ---------------------------------------------------------------


def evaluate(*more: str, **changes: Any) -> list[str]:
    """As `segment`, for a list of one episode in which fields can be replaced or (None) missed."""
    entry = {"set": "s", "cls": "c", "value": 255, "ref": "reference.png", "ref_mask": "mask.png"}
    entry |= {"tgt": "a.jpg", "tgt_mask": "mask.png"} | changes
    Path("e.json").write_text(json.dumps([{k: v for k, v in entry.items() if v is not None}]))
    return ["eval", "--episodes", "e.json", *TINY, "--method", "insid3", *more]


def report(name: str, **changes: Any) -> str:
    """A report of one episode, as `likewise eval` writes it."""
    entry = {"set": "s", "cls": "c", "refs": [], "tgt": "a.jpg", "absent": False, "mask": None}
    entry |= {"intersection": 1, "union": 2, "boundary_intersection": 1, "boundary_union": 2}
    episode = entry | {"iou": 50.0, "id": "0"} | changes
    Path(name).write_text(json.dumps({"settings": {"method": "insid3"}, "episodes": [episode]}))
    return name


def benchmark(name: str = "permis", *more: str) -> list[str]:
    """As `segment`, for two videos of the benchmark PerMIS (or another replica) in data/."""
    from replicas import REPLICAS

    if name in REPLICAS and not Path("data").exists():
        REPLICAS[name](Path("data"))
    words = ["--data-root", "data", "--out", "results", *TINY, "--method", "insid3"]
    return ["benchmark", name, *words, *more]


def part(name: str, *numbers: int, run: str = "1") -> str:
    """A report of `likewise benchmark` with some of three episodes."""
    same = {"benchmark": "permis", "run": run, "numbers": [0, 1, 2], "shards": ["0/2"]}
    records = [{"at": n, "set": "all", "unit": str(n)} for n in numbers]
    Path(name).write_text(
        json.dumps({**same, "machines": [{}], "seconds": 1.0, "records": records})
    )
    return name


# --- match ----------------------------------------------------------------------------------------


@row("--point of no numbers", 2, r"--point takes X,Y, such as --point 120,85 \(.*'left'\)")
def point_of_no_numbers(_: Path) -> list[str]:
    return match(point="left,top")


@row("--point of one number", 2, r".*one \(x, y\) pair for each point")
def point_of_one_number(_: Path) -> list[str]:
    return match(point="20")


@row("one --point of two with one number", 2, r".*one \(x, y\) pair for each point")
def points_of_unequal_length(_: Path) -> list[str]:
    return match(more=["--point", "20"])


@row("--point outside the image", 2, r"keypoint \(49, 10\) lies outside its image of 48x40 pixels")
def keypoint_outside(_: Path) -> list[str]:
    return match(point="49,10")


@row("match with a missing target", 2, r"nowhere\.jpg does not exist: check its spelling")
def match_missing_target(_: Path) -> list[str]:
    return match("a.jpg", "nowhere.jpg", more=["--out", "out"])


@row("match with --out below a file", 2, r".*mask\.png.x cannot be written")
def match_output_below_a_file(_: Path) -> list[str]:
    return match(more=["--out", str(Path("mask.png/x"))])


@row(
    "match of two targets of one name",
    2,
    r"a\.jpg and a\.bmp would both be written to out.a_ma",
)
def match_two_targets_of_one_name(_: Path) -> list[str]:
    Image.open("a.jpg").save("a.bmp")
    return match("a.jpg", "a.bmp", more=["--out", "out"])


@row(
    "match picture over another target", 2, r".*would overwrite .*a_match\.jpg: give another --out"
)
def match_over_a_target(_: Path) -> list[str]:
    shutil.copy("b.jpg", "a_match.jpg")
    return match("a.jpg", "a_match.jpg", more=["--out", "."])


# --- eval -----------------------------------------------------------------------------------------


@row(
    "missing list of episodes", 2, r"nowhere\.json cannot be read as JSON episodes \(.*No such file"
)
def missing_episodes(_: Path) -> list[str]:
    return evaluate("--episodes", "nowhere.json")


@row("list of episodes that is no JSON", 2, r"a\.jpg cannot be read as JSON episodes \(")
def episodes_no_json(_: Path) -> list[str]:
    return evaluate("--episodes", "a.jpg")


@row("episode without a target", 2, r"e\.json is no list of episodes \(missing 'tgt'\): each needs")
def episode_without_target(_: Path) -> list[str]:
    return evaluate(tgt=None)


@row("episode without its target's mask", 2, r"e\.json is no list .*\(missing 'tgt_mask'\)")
def episode_without_target_mask(_: Path) -> list[str]:
    return evaluate(tgt_mask=None)


@row("empty list of episodes", 2, r"e\.json holds no episode: there is nothing to measure")
def no_episodes(_: Path) -> list[str]:
    words = evaluate()
    Path("e.json").write_text("[]")
    return words


@row(
    "missing image of an episode",
    2,
    r"episode 0 of s needs nowhere\.jpg, which does not exist: check the list of episodes and",
)
def missing_image_of_an_episode(_: Path) -> list[str]:
    return evaluate(tgt="nowhere.jpg")


@row("wrong --root", 2, r"episode 0 of s needs tiny.reference\.png, which does not exist")
def wrong_root(_: Path) -> list[str]:
    return evaluate("--root", "tiny")


@row(
    "mask of an episode without its value",
    2,
    r"episode 0 of s: mask\.png does not hold the value 9",
)
def episode_without_its_value(_: Path) -> list[str]:
    return evaluate(value=9)


@row("eval with --shots 0", 2, r"--shots 0 leaves nothing to measure: give at least 1\.")
def no_shots(_: Path) -> list[str]:
    return evaluate("--shots", "0")


@row("eval with --limit 0", 2, r"--limit 0 leaves nothing to measure: give at least 1\.")
def limit_of_nothing(_: Path) -> list[str]:
    return evaluate("--limit", "0")


@row("eval without any full shots", 2, r"no episode is left to measure: of 1 none has 3 references")
def too_few_references(_: Path) -> list[str]:
    return evaluate("--shots", "3", "--only-full-shots")


@row("eval excluding an unknown set", 2, r"--exclude t: the episodes are of s\.")
def exclude_of_unknown(_: Path) -> list[str]:
    return evaluate("--exclude", "t")


@row("eval with an unknown method", 2, r"method 'insid4' is unknown; use one of likewise, insid3")
def unknown_method(_: Path) -> list[str]:
    return evaluate("--method", "insid4")


@row("eval with an unknown refiner", 2, r"refiner 'sharp' is unknown; use one of none, guided, crf")
def eval_unknown_refiner(_: Path) -> list[str]:
    return evaluate("--refine", "sharp")


@row("eval with an unknown setting", 2, r"method insid3 has no setting beta; it has tau, alpha\.")
def unknown_setting(_: Path) -> list[str]:
    return evaluate("--set", "beta=1")


@row("eval with an option as a setting", 2, r"method insid3 has no setting backbone; it has tau")
def option_as_setting(_: Path) -> list[str]:
    return evaluate("--set", "backbone=1")


@row("eval with a setting that is no number", 2, r"--set tau=high is no name=value: give a number")
def setting_no_number(_: Path) -> list[str]:
    return evaluate("--set", "tau=high")


@row("eval with a setting out of range", 2, r"tau 3 is no cosine similarity; use a number from -1")
def setting_out_of_range(_: Path) -> list[str]:
    return evaluate("--set", "tau=3")


@row("report over the list of episodes", 2, r".*would overwrite e\.json: give another --out")
def report_over_the_episodes(_: Path) -> list[str]:
    return evaluate("--out", "e.json")


@row("predicted masks over an image", 2, r".*would overwrite m.00000_s\.png: give another --masks")
def masks_over_an_image(_: Path) -> list[str]:
    Path("m").mkdir()
    shutil.copy("reference.png", "m/00000_s.png")
    return evaluate("--masks", "m", ref="m/00000_s.png")


@row("predicted masks below a file", 2, r"the folder mask\.png.m cannot be .*give another --masks")
def masks_below_a_file(_: Path) -> list[str]:
    return evaluate("--masks", str(Path("mask.png/m")))


@row(
    "comparing with a missing report", 2, r"nowhere\.json cannot be read as a JSON report \(.*No su"
)
def missing_report(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), "nowhere.json"]


@row(
    "comparing with no report", 2, r"e\.json is no report of `likewise eval`: write one with --out"
)
def no_report(_: Path) -> list[str]:
    evaluate()
    return ["eval-compare", report("a.json"), "e.json"]


@row(
    "comparing reports of other episodes",
    2,
    r"a\.json and b\.json are not of the same episodes and references: 1 are only in the first, 1",
)
def other_episodes(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), report("b.json", tgt="b.jpg")]


@row("comparing what is absent", 2, r"a\.json and b\.json hold no episode to compare mIoU on\.")
def nothing_to_compare(_: Path) -> list[str]:
    return ["eval-compare", report("a.json", absent=True), report("b.json", absent=True)]


@row(
    "grid without masks", 2, r"a\.json has no masks to draw: run `likewise eval` again with --masks"
)
def grid_without_masks(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), report("b.json", iou=60.0), "--out", "grid.png"]


@row("grid in an unknown format", 2, r"grid\.xyz has no known suffix: name it with one of \.png")
def grid_in_an_unknown_format(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), report("b.json"), "--out", "grid.xyz"]


# --- benchmark ------------------------------------------------------------------------------------


@row(
    "unknown benchmark", 2, r"benchmark 'imagenet' is unknown; use all, list, merge or one of coco"
)
def unknown_benchmark(_: Path) -> list[str]:
    return benchmark("imagenet")


@row(
    "benchmark that is not there",
    2,
    r"data/COCO2014/val2014 does not exist: COCO-20i is at https://\S+; docs/benchmarks\.md shows",
    when=os.sep == "/",
)
def benchmark_not_there(_: Path) -> list[str]:
    return ["benchmark", "coco20i", "--data-root", "data", "--out", "results"]


@row("no benchmark at all", 2, r"tiny holds none of the benchmarks: `likewise benchmark list` says")
def no_benchmark(_: Path) -> list[str]:
    return ["benchmark", "all", "--data-root", "tiny", "--out", "results"]


@row(
    "benchmark with --quick and --episodes", 2, r"--quick is --episodes 200: give one of the two\."
)
def benchmark_quick_twice(_: Path) -> list[str]:
    return benchmark("permis", "--quick", "--episodes", "3")


@row("benchmark with --shots 0", 2, r"--shots 0 leaves nothing to find by: give at least 1\.")
def benchmark_without_shots(_: Path) -> list[str]:
    return benchmark("permis", "--shots", "0")


@row(
    "benchmark with too few images",
    2,
    r"SUIM: class FV has 3 images, but a target and 5 references need 6: give a smaller --shots",
)
def benchmark_with_too_few(_: Path) -> list[str]:
    return benchmark("suim", "--shots", "5")


@row("several shots of a video", 2, r"PerMIS has one reference a video: leave out --shots\.")
def shots_of_a_video(_: Path) -> list[str]:
    return benchmark("permis", "--shots", "2")


@row("benchmark with --episodes 0", 2, r"--episodes 0 leaves nothing to measure: give at least 1\.")
def benchmark_of_nothing(_: Path) -> list[str]:
    return benchmark("permis", "--episodes", "0")


@row(
    "shard that is none", 2, r"--shard 2/2 is no part of the work: give i/n with i from 0 to n - 1"
)
def no_shard(_: Path) -> list[str]:
    return benchmark("permis", "--shard", "2/2")


@row(
    "more shards than work", 2, r"--shard 1/2 has nothing to do: there are 1 blocks of 32 episodes"
)
def empty_shard(_: Path) -> list[str]:
    return benchmark("permis", "--shard", "1/2")


@row(
    "unknown ablation",
    2,
    r"ablation 'colour' is unknown; use one of debias, rank, tau, alpha, foris",
)
def unknown_ablation(_: Path) -> list[str]:
    return benchmark("permis", "--ablation", "colour")


@row("ablation of one shard", 2, r"--ablation cannot be sharded: run its variants one by one\.")
def sharded_ablation(_: Path) -> list[str]:
    return benchmark("permis", "--ablation", "debias", "--shard", "0/2")


@row("missing manifest", 2, r"nowhere\.json cannot be read as a JSON manifest \(.*No such file")
def missing_manifest(_: Path) -> list[str]:
    return benchmark("permis", "--manifest", "nowhere.json")


@row(
    "manifest that is none",
    2,
    r"m\.json is no manifest of a benchmark: `likewise benchmark` writes",
)
def no_manifest(_: Path) -> list[str]:
    Path("m.json").write_text('{"episodes": []}')
    return benchmark("permis", "--manifest", "m.json")


@row("manifest with a broken episode", 2, r"m\.json is no manifest of a benchmark")
def broken_manifest(_: Path) -> list[str]:
    content: dict[str, Any] = {"benchmark": "permis", "protocol": {"shots": 1}, "sources": {}}
    Path("m.json").write_text(json.dumps({**content, "entries": [{"set": "all", "refs": []}]}))
    return benchmark("permis", "--manifest", "m.json")


@row("manifest of another benchmark", 2, r"m\.json is a manifest of suim, not of permis\.")
def manifest_of_another(_: Path) -> list[str]:
    content = {"benchmark": "suim", "protocol": {"shots": 1}, "sources": {}, "entries": []}
    Path("m.json").write_text(json.dumps(content))
    return benchmark("permis", "--manifest", "m.json")


@row(
    "one manifest for all benchmarks", 2, r"--manifest is of one benchmark: name it instead of all"
)
def manifest_for_all(_: Path) -> list[str]:
    return ["benchmark", "all", "--data-root", "data", "--manifest", "m.json"]


@row(
    "benchmark with a missing image",
    2,
    r"data.PerMIRS.4.2\.jpg does not exist, but the manifest of permis asks for it: complete the",
)
def benchmark_with_a_missing_image(_: Path) -> list[str]:
    words = benchmark()
    Path("data/PerMIRS/4/2.jpg").unlink()
    return words


@row(
    "pickled list that runs a program",
    2,
    r"data.LVIS.lvis_val\.pkl is not read: .*can run any program",
)
def list_that_runs_a_program(_: Path) -> list[str]:
    words = benchmark("lvis92i")
    Path("data/LVIS/lvis_val.pkl").write_bytes(pickle.dumps({1: Booby()}))
    return words


@row(
    "half of a pickled list",
    2,
    r"data.LVIS.lvis_val\.pkl is not read: it is damaged or no plain list",
)
def half_a_list(_: Path) -> list[str]:
    words = benchmark("lvis92i")
    cut("data/LVIS/lvis_val.pkl")
    return words


@row("half of an array of masks", 2, r"data.PerMIRS.17.masks\.npz\.npy is not read: it is damaged")
def half_an_array(_: Path) -> list[str]:
    words = benchmark()
    cut("data/PerMIRS/17/masks.npz.npy")
    return words


@row("benchmark into a file", 2, r"the folder mask\.png.permis cannot be written to \(")
def benchmark_into_a_file(_: Path) -> list[str]:
    return [*benchmark(), "--out", "mask.png"]


@row("merging nothing", 2, r"merge needs reports: give report-i-of-n\.json of every shard\.")
def merging_nothing(_: Path) -> list[str]:
    return ["benchmark", "merge"]


@row("merging what is no report", 2, r"tiny.config\.json is no report of `likewise benchmark`")
def merging_no_report(_: Path) -> list[str]:
    return ["benchmark", "merge", "tiny/config.json"]


@row(
    "merging different runs", 2, r"b\.json is of another run than a\.json: merge shards of the same"
)
def merging_different_runs(_: Path) -> list[str]:
    return ["benchmark", "merge", part("a.json", 0), part("b.json", 1, 2, run="2")]


@row(
    "merging too few shards",
    2,
    r"of the run's 3 episodes the reports lack 2 and hold 1 twice: give",
)
def merging_too_few(_: Path) -> list[str]:
    return ["benchmark", "merge", part("a.json", 0), part("b.json", 0)]


@row(
    "report for a benchmark that is run",
    2,
    r"a\.json: reports are for `likewise benchmark merge`\.",
)
def report_for_a_run(_: Path) -> list[str]:
    return ["benchmark", "permis", "a.json"]
