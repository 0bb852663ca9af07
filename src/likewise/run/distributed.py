"""Segmenting a project's files on many machines, with Ray Data.

The driver owns the database and writes the masks. Workers, one segmenter each, read the targets
from folders that all machines see, and send masks back as they finish. A worker that dies is
replaced, and the next one does its task again; what was stored by then stays.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backbones.encoder import BATCH
from ..errors import LikewiseError
from ..io.prefetch import batched
from ..segmenter import CONSENSUS_BATCH
from .jobs import Job
from .manifest import Manifest
from .outcomes import Outcome
from .runner import Keep, WriteCheck, store
from .worker import Attempts, RayWorker, Recipe

if TYPE_CHECKING:
    from ..segmenter import Segmenter

LOCAL = "local"
"""The address that starts Ray on this machine, for this run."""
THREADS = 4
"""CPU threads of a worker, unless the number of workers is given."""
WAITING = 2**28
"""Bytes of finished masks that wait for the driver at most; then the workers wait."""
TASK, GPU_TASK = 16, 64
"""Images of a task at most: some seconds of work, which a lost worker's successor does again."""


@dataclass(frozen=True)
class Crew:
    """How the machines are divided among workers."""

    workers: int
    threads: int
    """CPU threads of each."""
    gpus: float
    """GPUs of each: 0, 1, or part of one."""


def divide(cpus: Sequence[int], gpus: int, workers: int | None) -> Crew:
    """One worker a GPU; without any, one for every few CPUs of a machine.

    Args:
        cpus: of each machine.
        gpus: of all machines that may be used.
        workers: as many instead.

    Raises:
        LikewiseError: if there is less than a CPU for each.
    """
    if gpus:
        count = workers or gpus
        return Crew(count, max(1, sum(cpus) // count), 1 / -(-count // gpus))
    threads = min(THREADS, max(cpus, default=0))
    if workers is not None:
        # The most that lets every worker find a machine with so many.
        wide = range(1, max(cpus, default=0) + 1)
        threads = max((t for t in wide if sum(c // t for c in cpus) >= workers), default=0)
    if not threads:
        raise LikewiseError(
            f"Ray has {sum(cpus)} CPUs and no GPUs, too few for {workers or 1} workers: give fewer "
            "--ray-workers, or start more machines."
        )
    return Crew(workers or sum(c // threads for c in cpus), threads, 0)


def check_address(address: str) -> None:
    """Whether Ray is installed, and may be where the address says; nothing is contacted.

    Raises:
        LikewiseError: if not.
    """
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise LikewiseError(
            f"Ray Data cannot work through {address}: start likewise on a machine of the cluster, "
            "with --ray auto."
        )
    if address not in (LOCAL, "auto") and not (host and port.isdecimal() and int(port) < 65536):
        raise LikewiseError(
            f"{address!r} is no address of Ray: give local, auto or HOST:PORT as --ray."
        )
    if find_spec("ray") is None:
        raise LikewiseError("--ray needs Ray, which is not installed: pip install 'likewise[ray]'.")


@contextmanager
def on_ray(
    address: str, workers: int | None, options: Mapping[str, Any]
) -> Iterator[Callable[..., Iterator[Outcome]]]:
    """Connect to Ray, or start it here; gives what does as ``segment_files`` there.

    Args:
        address: ``local``, ``auto`` for the cluster that this machine is part of, or ``HOST:PORT``.
        workers: how many; by default as many as ``divide`` says.
        options: of the workers' ``Segmenter``, see ``Recipe``.

    Raises:
        LikewiseError: if Ray is not there, or has too little for so many workers.
    """
    ray = _connect(address)
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus = [int(m.get("CPU", 0)) for m in machines]
        gpus = int(sum(m.get("GPU", 0) for m in machines))
        use_gpus = options.get("device", "auto") not in ("cpu", "mps")
        yield partial(_segment, divide(cpus, gpus if use_gpus else 0, workers), options)
    finally:
        ray.shutdown()


def _connect(address: str) -> Any:
    """The module ``ray``, connected and silent."""
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    check_address(address)
    if address not in (LOCAL, "auto"):
        host, _, port = address.rpartition(":")
        try:  # Ray itself takes minutes to find out
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise LikewiseError(
                f"nothing answers at {address} ({error.strerror or error}): check the address of "
                "Ray's head, or give --ray local."
            ) from error
    # What it reports home, and what it prints beside our own bar.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise LikewiseError(
            f"Ray is not whole here ({error}): pip install 'likewise[ray]'."
        ) from error
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # the others write to its files
            handler.setLevel(logging.CRITICAL + 1)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # results travel as they come, not gathered to 128 MB
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=WAITING
    )
    # Deaths of workers would be told of on stdout, amid our JSON; there is no option for that.
    ray._private.worker._worker_logs_enabled = False
    try:
        with _deaf():
            ray.init(
                address,
                include_dashboard=False if address == LOCAL else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise LikewiseError(
            f"Ray cannot be used at {address} ({reason}): start it with `ray start --head`, run "
            "likewise on a machine of that cluster, or give --ray local."
        ) from error
    return ray


@contextmanager
def _deaf() -> Iterator[None]:
    """Without stderr: Ray's C++ prints there, past Python, that it shall print less."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def task_size(count: int, crew: Crew, batch: int) -> int:
    """Images that a worker is given at once: whole batches, and four tasks a worker or more.

    Args:
        count: images in all.
        crew: that does them.
        batch: images that are segmented together.
    """
    most = (GPU_TASK if crew.gpus else TASK) // batch
    return batch * max(1, min(most, count // (4 * crew.workers * batch)))


def _segment(
    crew: Crew,
    options: Mapping[str, Any],
    segmenter: Segmenter,
    jobs: Sequence[Job],
    manifest: Manifest,
    numbers: Mapping[str, int],
    *,
    run: str,
    overwrite: bool = False,
    consensus: bool,
    limits: Mapping[str, float],
    keep: Keep | None = None,
    may_write: WriteCheck | None = None,
) -> Iterator[Outcome]:
    """As ``segment_files``, in the order in which they are finished."""
    import ray

    batch = CONSENSUS_BATCH if consensus else BATCH if crew.gpus else 1
    dtype = str(segmenter.encoder.dtype).removeprefix("torch.")  # not what auto is elsewhere
    options = {**options, "dtype": dtype}
    recipe = Recipe(options, batch, crew.threads, numbers, consensus, limits, keep)
    attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "references.safetensors"
        segmenter.save(file)
        references = ray.put(file.read_bytes())
    tasks = [pickle.dumps(task) for task in batched(jobs, task_size(len(jobs), crew, batch))]
    dataset = ray.data.from_items([{"jobs": t} for t in tasks], override_num_blocks=len(tasks))
    results = dataset.map_batches(
        RayWorker,  # replaced without end when it dies, and its task done again, by Ray's defaults
        fn_constructor_kwargs={
            "recipe": recipe,
            "references": partial(ray.get, references),
            "begin": lambda target: ray.get(attempts.begin.remote(target)),
        },
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(crew.workers, len(tasks))),
        **({"num_gpus": crew.gpus} if crew.gpus else {"num_cpus": crew.threads}),
    )
    try:
        # Nothing is fetched ahead: what is here is stored before the next is asked for.
        for rows in results.iter_batches(batch_size=None, prefetch_batches=0):
            for row in rows["finished"]:
                found = pickle.loads(row)
                if isinstance(found, LikewiseError):
                    raise found
                for finished in found:
                    yield store(finished, manifest, run, overwrite=overwrite, may_write=may_write)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines or [type(error).__name__])[-1].rstrip(".")
        raise LikewiseError(
            f"Ray stopped ({reason}): likewise must be installed on all machines; its logs say "
            "more, and the next run goes on from here."
        ) from error
