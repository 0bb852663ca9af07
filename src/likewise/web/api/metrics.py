"""What Prometheus asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..model_thread import ModelThread

if TYPE_CHECKING:
    from .store import Store

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = ("GET", "POST", "DELETE")


class Metrics:
    """Requests by route and status, the queue, and the seconds that images took."""

    def __init__(self, thread: ModelThread, store: Store) -> None:
        registry = self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "likewise_requests", "Requests answered.", labels, registry=registry
        )
        text = "Seconds from decoding an image to its answer."
        self.seconds = Histogram(
            "likewise_segment_seconds", text, buckets=SECONDS, registry=registry
        )
        waiting = Gauge("likewise_queue_length", "Requests that wait.", registry=registry)
        waiting.set_function(lambda: thread.waiting)
        sets = Gauge("likewise_reference_sets", "Sets of references kept.", registry=registry)
        sets.set_function(lambda: len(store))

    def text(self) -> bytes:
        """Prometheus's text format 0.0.4."""
        return generate_latest(self.registry)


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
                self.metrics.requests.labels(method, route, message["status"]).inc()
            await send(message)

        await self.app(scope, receive, counted)
