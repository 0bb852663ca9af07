"""Many clients at once: what `likewise serve` answers, how fast, and what it keeps of memory.

    python benchmarks/load.py [--clients 32] [--requests 500] [--queue 32] [--image-size 112]

Starts a server with the embedded backbone on a free port; every client sends one bundled picture
after the other, as fast as it is answered, on a new connection each. Prints JSON: counts by status,
seconds of those that were answered with a mask, and the server's memory before and after (Linux).
Exit status 1 if something other than a mask or "the queue is full" came back.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speed import MASK, REFERENCE

COMMAND = [sys.executable, "-c", "from likewise.cli import main; main()", "serve", "--port", "0"]
TARGET = REFERENCE.with_name("board_1.jpg")


def post(port: int, route: str, fields: list[tuple[str, str | Path]]) -> tuple[int, bytes, float]:
    """Status, body and seconds."""
    mark, body = uuid.uuid4().hex, b""
    for name, value in fields:
        file = '; filename="x"' if isinstance(value, Path) else ""
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += (value.read_bytes() if isinstance(value, Path) else value.encode()) + b"\r\n"
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", route, body + f"--{mark}--\r\n".encode(), kind)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content, time.perf_counter() - start


def resident(pid: int) -> float:
    """MB."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return round(int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) / 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=112)
    args = parser.parse_args()
    words = ["--queue", str(args.queue), "--image-size", str(args.image_size)]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().split(":")[2].split()[0])
            sent = post(port, "/v1/references", [("images", REFERENCE), ("masks", MASK)])
            fields = [("reference", json.loads(sent[1])["id"]), ("image", TARGET)]
            _, first, _ = post(port, "/v1/segment", fields)
            before, start = resident(server.pid), time.perf_counter()
            with ThreadPoolExecutor(args.clients) as pool:
                ask = lambda _: post(port, "/v1/segment", fields)  # noqa: E731
                answers = list(pool.map(ask, range(args.requests)))
            wall, after = time.perf_counter() - start, resident(server.pid)
        finally:
            server.terminate()
    seconds = sorted(s for status, _, s in answers if status == 200)
    counts = Counter(status for status, _, _ in answers)
    report = {
        "image_size": args.image_size,
        "clients": args.clients,
        "queue": args.queue,
        "answers": dict(sorted(counts.items())),
        "same_mask": all(body == first for status, body, _ in answers if status == 200),
        "masks_per_second": round(len(seconds) / wall, 1),
        "seconds": {
            "p50": round(statistics.median(seconds), 3),
            "p95": round(seconds[int(0.95 * (len(seconds) - 1))], 3),
            "max": round(seconds[-1], 3),
        },
        "server_mb": {"before": before, "after": after},
        "server_exit": server.returncode,
    }
    print(json.dumps(report, indent=2))
    sys.exit(not report["same_mask"] or not set(counts) <= {200, 429} or server.returncode != 0)


if __name__ == "__main__":
    main()
