"""How long 100 million images take on spot machines, and what faults cost: a simulation.

    python benchmarks/cluster.py [--workers 2000] [--shards 64] [--lost-per-hour 0.05] [--json]

Nothing is measured here: a discrete-event simulation of this plan, with the rates that are given.
The images are cut into shards, each a project with a manifest of its own, and every shard has a
driver, which hands out tasks of --task images and writes the masks that come back. Workers are spot
machines of one core. The task of one that is lost is done again as a whole by the next that is
free, --timeout seconds later. Another machine comes in its place, and has to start, import and read
the references first. Some images end every process that reads them: one that ended as many as
`run/worker.py` allows is reported as failed and left out.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
from collections import Counter, deque
from dataclasses import dataclass

TRIES = 4
"""Processes that an image may end, as in ``run/worker.py``."""


@dataclass(frozen=True)
class Outcome:
    """What one simulation counted."""

    hours: float
    """From the first machine asked for to the last mask written."""
    core_hours: float
    """Paid: of all workers, from their start."""
    working: float
    """Share of them in which images were segmented that were not done before or again."""
    lost: int
    """Machines."""
    ended: int
    """Processes that an image ended."""
    failed: int
    """Images left out."""
    driver: float
    """Share of the time in which a driver writes."""


def simulate(args: argparse.Namespace) -> Outcome:
    """One run; the seed decides it."""
    rng = random.Random(args.seed)
    number = itertools.count()
    events: list[tuple[float, int, str, int, int]] = []  # time, order, kind, worker, task
    # 1. Tasks, of shards in turn; images that end processes are in some of them.
    total = -(-args.images // args.task)
    waiting = deque(range(total))
    bad = Counter(rng.randrange(total) for _ in range(round(args.images * args.bad_share)))
    size = {total - 1: args.images - args.task * (total - 1)}
    tries: Counter[int] = Counter()
    writing = [0.0] * args.shards
    ends = args.lost_per_hour / 3600
    # 2. Machines: when each was paid from, and when it will be lost.
    began: dict[int, float] = {}
    until: dict[int, float] = {}
    idle: deque[int] = deque()
    paid = useful = last = 0.0
    lost = ended = failed = 0

    def plan(time: float, kind: str, worker: int, task: int) -> None:
        heapq.heappush(events, (time, next(number), kind, worker, task))

    def begin(now: float, worker: int) -> None:
        """Give a worker its next task, and plan how that ends."""
        if not waiting:
            idle.append(worker)
            return
        task = waiting.popleft()
        done = now + size.get(task, args.task) / args.rate * 3600
        if until[worker] < done:
            plan(until[worker], "lost", worker, task)
        elif bad[task]:  # somewhere in the middle, as it may be
            plan(now + rng.random() * (done - now), "ended", worker, task)
        else:
            plan(done, "done", worker, task)

    workers = itertools.count()
    for _ in range(args.workers):
        plan(rng.expovariate(1 / args.supply), "machine", next(workers), -1)
    while events:
        now, _, kind, worker, task = heapq.heappop(events)
        if kind == "machine":
            began[worker] = now
            until[worker] = now + (rng.expovariate(ends) if ends else math.inf)
            plan(now + args.start, "ready", worker, -1)
        elif kind == "ready":
            if until[worker] < now:  # lost before it did anything
                paid += until[worker] - began.pop(worker)
                lost += 1
                plan(now + rng.expovariate(1 / args.supply), "machine", next(workers), -1)
            else:
                begin(now, worker)
        elif kind == "done":
            count = size.get(task, args.task)
            useful += count / args.rate * 3600
            shard = task % args.shards
            # The driver writes one mask after the other.
            writing[shard] = max(writing[shard], now) + count * args.write
            last = max(last, writing[shard])
            begin(now, worker)
        elif kind == "again":
            waiting.appendleft(task)
            if idle:
                begin(now, idle.popleft())
        elif kind == "lost":
            lost += 1
            paid += now - began.pop(worker)
            plan(now + args.timeout, "again", -1, task)
            plan(now + rng.expovariate(1 / args.supply), "machine", next(workers), -1)
        else:  # an image ended the process: the machine stays and starts another
            ended += 1
            tries[task] += 1
            if tries[task] == TRIES:
                bad[task] -= 1
                tries[task] = 0
                failed += 1
            plan(now + args.timeout, "again", -1, task)
            plan(now + args.restart, "ready", worker, -1)
    # 3. Workers are paid until they have nothing to do; machines that wait cost as well.
    paid += sum(max(last, first) - first for first in began.values())
    return Outcome(
        hours=last / 3600,
        core_hours=paid / 3600,
        working=useful / paid,
        lost=lost,
        ended=ended,
        failed=failed,
        driver=args.write * args.images / args.shards / last,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000_000)
    parser.add_argument("--workers", type=int, default=2000, help="of one core each")
    parser.add_argument("--rate", type=float, default=2800, help="images an hour of a worker")
    parser.add_argument("--task", type=int, default=128, help="images a worker is given at once")
    parser.add_argument("--shards", type=int, default=64, help="folders, each with its driver")
    parser.add_argument("--write", type=float, default=0.016, help="seconds a driver takes a mask")
    parser.add_argument("--lost-per-hour", type=float, nargs="+", default=[0, 0.05, 0.2, 1.0])
    parser.add_argument("--supply", type=float, default=180, help="seconds until a machine comes")
    parser.add_argument("--start", type=float, default=90, help="seconds until it works")
    parser.add_argument("--restart", type=float, default=10, help="seconds of a new process")
    parser.add_argument("--timeout", type=float, default=60, help="seconds until a loss is found")
    parser.add_argument("--bad-share", type=float, default=1e-6, help="images that end processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = {}
    for rate in args.lost_per_hour:
        found[rate] = vars(simulate(argparse.Namespace(**vars(args) | {"lost_per_hour": rate})))
    if args.json:
        print(json.dumps({"settings": vars(args), "by_lost_per_hour": found}, indent=2))
        return
    print(f"{'lost an hour':>14}" + "".join(f"{name:>12}" for name in next(iter(found.values()))))
    for rate, values in found.items():
        print(f"{rate:>14}" + "".join(f"{value:>12.4g}" for value in values.values()))


if __name__ == "__main__":
    main()
