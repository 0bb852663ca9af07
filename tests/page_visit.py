"""A browser on the page of `likewise ui`, and what one does there more than once."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120  # seconds
PALE = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const found = parts(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] > 0.99) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')].filter(e =>
    e.checkVisibility({visibilityProperty: true}) && !e.closest(':disabled, #under, option') &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
  ).map(e => {
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 90)];
  }).filter(([contrast]) => contrast < 4.5);
}"""
"""Text whose contrast with what is behind it is below 4.5 : 1."""


def lacking() -> str | None:
    """Why there is no browser to drive; None if there is one."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return None if shutil.which("chromium") else "there is no chromium"


@contextmanager
def serving(project: Path, port: int = 0) -> Iterator[tuple[str, int]]:
    """`likewise ui` in a process of its own; yields the address that it printed and its id."""
    source = str(Path(__file__).resolve().parents[1] / "src")
    words = [
        "ui",
        str(project),
        "--port",
        str(port),
        "--no-browser",
        "--offline",
        "--device",
        "cpu",
    ]
    with subprocess.Popen(
        [sys.executable, "-c", "from likewise.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    ) as server:
        assert server.stdout is not None
        try:
            found = (re.search(r"http://\S+", line) for line in server.stdout)
            yield next(match[0] for match in found if match), server.pid
        finally:
            server.terminate()
            server.wait(30)


def processor_seconds(process: int) -> float:
    """What a process has used so far: other work on the machine does not count; 0 if unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Visit:
    """A browser on the page, with what one does there more than once."""

    def __init__(self, page: Any, shots: Path | None) -> None:
        self.page, self.shots, self.count = page, shots, 0
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)

    def shot(self, name: str) -> None:
        """Keep a picture of the page."""
        self.count += 1
        if self.shots is not None:
            self.page.wait_for_timeout(250)
            self.page.screenshot(path=self.shots / f"{self.count:02d}_{name}.png")

    def legible(self) -> None:
        """All text can be read, in light and dark."""
        for scheme in ("dark", "light"):
            self.page.emulate_media(color_scheme=scheme)
            assert self.page.evaluate(PALE) == []

    def until(self, expression: str) -> None:
        """Wait till it is true; wait_for_function is barred by the page's own security policy."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never came: {expression}, {self.wrong}"
            time.sleep(0.01)

    def place(self, painter: str, x: float, y: float) -> list[float]:
        """Where on the screen a place of a picture is, given in shares of its sides."""
        found: list[float] = self.page.evaluate(
            """([name, fx, fy]) => {
              const p = likewise[name], box = p.canvas.getBoundingClientRect();
              return [box.left + (p.x + fx * p.picture.width * p.scale) / devicePixelRatio,
                      box.top + (p.y + fy * p.picture.height * p.scale) / devicePixelRatio];
            }""",
            [painter, x, y],
        )
        return found

    def stroke(self, painter: str, places: list[tuple[float, float]]) -> None:
        """One stroke of the mouse through these places."""
        self.page.mouse.move(*self.place(painter, *places[0]))
        self.page.mouse.down()
        for x, y in places[1:]:
            self.page.mouse.move(*self.place(painter, x, y))
        self.page.mouse.up()

    def slide(self, name: str, value: float) -> None:
        """Move a slider and let it go."""
        self.page.locator(f"#{name}").fill(str(value))


def spiral(x: float, y: float, radius: float, turns: int = 5) -> list[tuple[float, float]]:
    """A way that covers a disc."""
    steps = 24 * turns
    return [
        (
            x + radius * k / steps * math.cos(2 * math.pi * k / 24),
            y + radius * k / steps * math.sin(2 * math.pi * k / 24),
        )
        for k in range(steps + 1)
    ]


def click(visit: Visit, painter: str, x: float, y: float, button: str = "left") -> float:
    """One click on a picture; milliseconds until its mask is there."""
    done = f"likewise.{painter}.clicks.length"
    before = visit.page.evaluate(done)
    visit.page.mouse.click(*visit.place(painter, x, y), button=button)
    visit.until(f"{done} === {before + 1} && !likewise.{painter}.busy")
    return float(visit.page.evaluate(f"Math.round(likewise.{painter}.latency)"))


def drag(visit: Visit, painter: str, *places: tuple[float, float], button: str = "left") -> float:
    """A line or a box over a picture; milliseconds until its mask is there."""
    done, mouse = f"likewise.{painter}.clicks.length", visit.page.mouse
    before = visit.page.evaluate(done)
    mouse.move(*visit.place(painter, *places[0]))
    mouse.down(button=button)
    for place in places[1:]:
        mouse.move(*visit.place(painter, *place), steps=8)
    mouse.up(button=button)
    visit.until(f"{done} === {before + 1} && !likewise.{painter}.busy")
    return float(visit.page.evaluate(f"Math.round(likewise.{painter}.latency)"))


def open_card(visit: Visit, name: str) -> None:
    """Make one image large."""
    visit.page.get_by_role("button", name=f"{name},").click()
    visit.until("likewise.look.picture && likewise.viewer.id")
    visit.page.wait_for_timeout(300)


def state_of(name: str, state: str) -> str:
    """An expression that is true once a target is in that state."""
    return (
        "[...likewise.grid.cards.values()].some("
        f"c => c.target.name === {name!r} && c.target.status === {state!r})"
    )
