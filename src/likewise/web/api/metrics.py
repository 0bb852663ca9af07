"""What Prometheus asks for, as its text format."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = ("GET", "POST", "DELETE")


class Metrics:
    """Requests by route and status, and the seconds that images took."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """An image was segmented; called by the worker's thread alone."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum += seconds

    @property
    def mean_seconds(self) -> float:
        """Of an image so far; 1 before the first."""
        return self._sum / sum(self._counts) if any(self._counts) else 1.0

    def text(self, gauges: Mapping[str, tuple[str, int]]) -> str:
        """Prometheus's text format 0.0.4.

        Args:
            gauges: name → its help and value now.
        """
        name = "likewise_requests_total"
        lines = _head(name, "counter", "Requests answered.")
        lines += [
            f'{name}{{method="{method}",route="{route}",status="{status}"}} {count}'
            for (method, route, status), count in sorted(self.requests.items())
        ]
        for name, (meaning, value) in gauges.items():
            lines += [*_head(name, "gauge", meaning), f"{name} {value}"]
        name = "likewise_segment_seconds"
        lines += _head(name, "histogram", "Seconds from decoding an image to its answer.")
        counts = list(accumulate(self._counts))
        for bound, count in zip((*SECONDS, "+Inf"), counts, strict=True):
            lines.append(f'{name}_bucket{{le="{bound}"}} {count}')
        lines += [f"{name}_sum {self._sum:.6f}", f"{name}_count {counts[-1]}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


class CountRequests:
    """ASGI: counts every answer; routes by their pattern, so that there are only a few."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in METHODS else "other"
                self.metrics.requests[method, route, message["status"]] += 1
            await send(message)

        await self.app(scope, receive, counted)
