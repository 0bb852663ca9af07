"""Projects on Ray: what a worker does, without Ray; then a small cluster, and a worker killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps

import likewise
from helpers import refusal
from likewise import Reference, Segmenter
from likewise.errors import LikewiseError
from likewise.project.database import DATABASE
from likewise.project.project import Project
from likewise.run.distributed import Crew, divide, on_ray, task_size
from likewise.run.jobs import Job, plan
from likewise.run.manifest import Manifest
from likewise.run.outcomes import Finished, Outcome
from likewise.run.runner import segment_files, store
from likewise.run.worker import TRIES, Attempts, RayWorker, Recipe
from likewise.segmenter import CONSENSUS_BATCH
from scenes import run, sandbox

EXAMPLE = Path(likewise.__file__).parent / "example"
THINGS = {"coin": ".png", "board": ".jpg"}
NUMBERS = {"coin": 1, "board": 2}
OPTIONS = {"backbone": "embedded", "image_size": 112, "device": "cpu"}


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[list[Path]]:
    """The working folder, with references and `in`: 24 pictures made of the bundled example."""
    with sandbox(tmp_path):
        Path("in").mkdir()
        for name, suffix in THINGS.items():
            for file in (f"{name}_reference{suffix}", f"{name}_reference_mask.png"):
                Path(file).write_bytes((EXAMPLE / file).read_bytes())
            for number in (1, 2):
                with Image.open(EXAMPLE / f"{name}_{number}{suffix}") as image:
                    image = image.convert("RGB")
                    image.thumbnail((240, 240))
                w, h = image.size
                for k, cut in enumerate(((0, 0, w, h), (0, 0, w * 3 // 4, h), (0, h // 4, w, h))):
                    part = image.crop(cut)
                    part.save(f"in/{name}_{number}_{k}.png")
                    ImageOps.mirror(part).save(f"in/{name}_{number}_{k}_mirrored.png")
        yield sorted(Path("in").iterdir())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    references = [
        Reference(EXAMPLE / f"{n}_reference{s}", EXAMPLE / f"{n}_reference_mask.png", label=n)
        for n, s in THINGS.items()
    ]
    with sandbox(tmp_path_factory.mktemp("fitted")):  # no basis that another version kept
        return Segmenter(**OPTIONS).fit(references)


@pytest.fixture(scope="module")
def references(fitted: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], bytes]:
    """Gives the content of their file."""
    file = tmp_path_factory.mktemp("references") / "r.safetensors"
    fitted.save(file)
    return file.read_bytes


def send(worker: RayWorker, jobs: list[Job]) -> list[Any]:
    """What a worker sends back for one task, batch by batch."""
    sent = list(worker({"jobs": [pickle.dumps(jobs)]}))
    assert all(len(batch["finished"]) == 1 for batch in sent)
    return [pickle.loads(batch["finished"][0]) for batch in sent]


def without_time(outcomes: list[Outcome]) -> list[Outcome]:
    return [replace(outcome, seconds=0.0) for outcome in outcomes]


# --- without Ray --------------------------------------------------------------------------------


@pytest.mark.parametrize("consensus", [False, True])
def test_a_worker_does_what_a_local_run_does(
    pictures: list[Path], fitted: Segmenter, references: Callable[[], bytes], consensus: bool
) -> None:
    pictures[3].write_bytes(b"no picture")
    folders = [Manifest(Path(name)) for name in ("here", "there")]
    here, there = (plan(pictures, manifest) for manifest in folders)
    numbers = folders[0].allot(list(THINGS)[::-1], label_maps=True)
    how: dict[str, Any] = {"consensus": consensus, "limits": {"min_area_ratio": 0.2}}
    expected = list(segment_files(fitted, here, folders[0], numbers, run="a", **how))
    batch = CONSENSUS_BATCH if consensus else 1
    worker = RayWorker(Recipe(OPTIONS, batch, 1, numbers, **how), references, Attempts().begin)
    sent = send(worker, there)
    assert [len(part) for part in sent] == ([16, 8] if consensus else [1] * 24)
    assert not list(Path("there").iterdir())  # the driver writes
    folders[1].allot(list(numbers), label_maps=True)
    outcomes = [store(finished, folders[1], "a") for part in sent for finished in part]
    moved = [o if o.mask is None else replace(o, mask=Path("there", o.mask.name)) for o in expected]
    assert without_time(outcomes) == without_time(moved)
    assert [o.target for o in outcomes if o.error] == [pictures[3]]
    assert {c.label for o in outcomes for c in o.classes if c.area > 0} == set(THINGS)
    assert any(c.reasons for o in outcomes for c in o.classes)
    for file in Path("here").iterdir():
        assert Path("there", file.name).read_bytes() == file.read_bytes()


def test_a_picture_that_kills_workers_is_given_up(
    pictures: list[Path], references: Callable[[], bytes]
) -> None:
    jobs = plan(pictures[:3], Manifest(Path("out")))
    attempts = Attempts()
    for _ in range(TRIES):
        attempts.begin(pictures[1])
    worker = RayWorker(Recipe(OPTIONS, 1, 1, NUMBERS), references, attempts.begin)
    (first,), (second,), (third,) = send(worker, jobs)
    assert (first.outcome.error, third.outcome.error) == (None, None)
    assert second == Finished(jobs[1], Outcome(pictures[1], error=second.outcome.error))
    assert second.outcome.error.startswith(f"{pictures[1]} was given up after 4 workers died at it")


def test_workers_that_cannot_work_say_why(
    pictures: list[Path], references: Callable[[], bytes]
) -> None:
    jobs = plan(pictures[:2], Manifest(Path("out")))
    good, nowhere = Recipe(OPTIONS, 1, 1, NUMBERS), Path("nowhere").absolute()
    for bad, words in (
        ({"version": "0.0.0"}, "not 0.0.0 as here: install the same on all machines."),
        ({"home": nowhere}, f"does not see the folder {nowhere}: all machines of the cluster"),
        ({"options": {**OPTIONS, "image_size": 128}}, "was made at 112 px, not at 128 px"),
    ):
        worker = RayWorker(replace(good, **bad), references, Attempts().begin)
        first, second = send(worker, jobs)
        assert isinstance(first, LikewiseError)
        assert words in str(first) == str(second)
    away = [replace(job, target=Path("away") / job.target.name) for job in jobs]
    (error, _) = send(RayWorker(good, references, Attempts().begin), away)
    assert "does not see the folder away: all machines of the cluster" in str(error)


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "crew"),
    [
        ([2], 0, None, Crew(1, 2, 0)),
        ([2], 0, 2, Crew(2, 1, 0)),
        ([16, 9, 0], 0, None, Crew(6, 4, 0)),
        ([16, 8], 0, 4, Crew(4, 5, 0)),  # 3 and 1; of 6 only 3 would fit
        ([16, 16], 4, None, Crew(4, 8, 1)),
        ([16, 16], 4, 2, Crew(2, 16, 1)),
        ([16], 2, 4, Crew(4, 4, 1 / 2)),
        ([4], 2, 5, Crew(5, 1, 1 / 3)),
    ],
)
def test_dividing_machines(cpus: list[int], gpus: int, workers: int | None, crew: Crew) -> None:
    assert divide(cpus, gpus, workers) == crew


def test_too_few_machines() -> None:
    assert "has 2 CPUs and no GPUs, too few for 3 workers" in refusal(divide, [1, 1], 0, 3)
    assert "has 0 CPUs and no GPUs, too few for 1 workers" in refusal(divide, [], 0, None)


def test_tasks_are_whole_batches() -> None:
    two, four = Crew(2, 1, 0), Crew(4, 8, 1)
    assert [task_size(n, two, 1) for n in (1, 70, 10**6)] == [1, 8, 16]
    assert [task_size(n, two, CONSENSUS_BATCH) for n in (1, 70, 10**6)] == [16] * 3
    assert [task_size(n, four, 8) for n in (1, 300, 10**6)] == [8, 16, 64]
    assert task_size(10**6, four, CONSENSUS_BATCH) == 64


# --- on a cluster -------------------------------------------------------------------------------


@pytest.fixture
def cluster(pictures: list[Path]) -> Iterator[str]:
    """The address of a Ray of two CPUs on this machine."""
    why = "Ray is not installed: pip install 'likewise[ray]'"
    pytest.importorskip("ray.data", reason=why)
    from ray.cluster_utils import Cluster

    source = str(Path(likewise.__file__).parents[1])
    os.environ["PYTHONPATH"] = source  # for workers; `sandbox` puts it back
    head = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield head.address
    head.shutdown()


def workers() -> list[Any]:
    """The processes below this one that segment."""
    import psutil

    found = psutil.Process().children(recursive=True)
    return [p for p in found if " ".join(p.cmdline()).startswith("ray::MapWorker")]


def rows(project: str) -> list[Any]:
    with sqlite3.connect(Path(project, DATABASE)) as database:
        images = "SELECT path, bytes, changed, hash, state, error, run, confidence, area, doubt, "
        images += "reasons FROM images ORDER BY rowid"
        classes = "SELECT * FROM classes ORDER BY path, label"
        return [database.execute(query).fetchall() for query in (images, classes)]


def test_a_worker_is_killed_and_nothing_is_lost(pictures: list[Path], cluster: str) -> None:
    """One bad file too: masks and rows in the end are those of a local run."""
    pictures[3].write_bytes(b"no picture")
    examples = [f"{name}_reference{suffix}" for name, suffix in THINGS.items()]
    masks = [f"{name}_reference_mask.png" for name in THINGS]
    words = [w for e, m, n in zip(examples, masks, THINGS, strict=True)
             for w in ("-r", e, "-m", m, "--label", n)]  # fmt: skip
    for project in ("calm", "wild"):
        made = run(["init", project, *words, "-t", "in", "--image-size", "140"])
        assert (made.code, made.err) == (0, "")
    assert torch.get_num_threads() == 1  # as every worker has
    calm = run(["annotate", "calm", "--device", "cpu"])
    assert calm.out == "23 of 24 images annotated in calm, 1 failed\n"

    code = "from likewise.cli import main; main()"
    wild = ["annotate", "wild", "--device", "cpu", "--ray", cluster, "--ray-workers", "2"]
    arguments = [sys.executable, "-c", code, *wild, "--json-lines"]
    with (
        Path("err").open("w+") as err,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=err, text=True) as process,
    ):
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        victims = workers()
        victims[0].send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    targets = [json.loads(line)["target"] for line in lines]  # nothing of Ray's among them
    assert len(victims) == 2
    assert sorted(targets) == [str(path) for path in pictures]
    assert (process.returncode, Path("err").read_text()) == (1, calm.err)
    assert rows("wild") == rows("calm")
    assert {label for _, label, _, area, _ in rows("wild")[1] if area > 0} == set(THINGS)
    for file in Path("calm/masks").iterdir():
        assert Path("wild/masks", file.name).read_bytes() == file.read_bytes()
    assert len(list(Path("wild/masks").iterdir())) == 24  # 23 masks and labels.json
    assert run(wild).out == "0 of 24 images annotated in wild, 24 kept\n"


def test_what_gets_lost_is_told_of(pictures: list[Path], fitted: Segmenter) -> None:
    run(["init", "work", "-r", "coin_reference.png", "-m", "coin_reference_mask.png", "-t", "in"])
    project = Project(Path("work"))
    jobs = project.jobs()[:3]
    project.begin("run", "embedded", jobs)
    outcomes = [Outcome(job.target, error="it is dark.") for job in jobs[1:]]
    recorded = project.annotate(fitted, jobs, "run", segment=lambda *_, **__: iter(outcomes))
    assert [next(recorded), next(recorded)] == outcomes
    assert "1 pictures came back without a result" in refusal(next, recorded)
    assert [row.state for row in project.rows()] == ["pending", "failed", "failed"]


def test_nothing_answers() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'likewise[ray]'")
    text = refusal(on_ray("127.0.0.1:9", None, {}).__enter__)
    assert text.startswith("nothing answers at 127.0.0.1:9 (")
