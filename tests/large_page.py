"""A large picture on the page, looked at and corrected in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from page_visit import Visit, open_card, serving

SIZE = (1300, 2000)
"""(H, W): more than the page shows at once."""
CANVAS = 16_000_000
"""Pixels of a canvas that all browsers can make."""


TILE = 224


def spots(size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 red discs of 112 pixels on green, and their (H, W) bool mask."""
    noise = np.random.default_rng(0).integers(0, 12, (*size, 3), dtype=np.uint8)
    pixels = np.full((*size, 3), (40, 90, 40), np.uint8) + noise
    y, x = np.indices(size)
    inside = (y % 360 - 180) ** 2 + (x % 360 - 180) ** 2 < 56**2
    pixels[inside] = (200, 60, 50)
    return pixels, inside


def make_project(folder: Path, backbone: Path) -> None:
    """A project with an example, and one large picture that is read in tiles."""
    from likewise.project.settings import ProjectReference, ProjectSettings
    from likewise.project.settings_file import replace_settings

    (folder / "targets").mkdir(parents=True)
    Image.fromarray(spots()[0]).save(folder / "targets" / "large.png")
    pixels, mask = spots((720, 720))
    Image.fromarray(pixels).save(folder / "example.png")
    Image.fromarray(mask).save(folder / "mask.png")
    settings = ProjectSettings(
        ("targets",),
        (ProjectReference("example.png", "mask.png"),),
        backbone=str(backbone),
        image_size=TILE,
        tile=TILE,
    )
    replace_settings(folder, settings)


def correct_a_part(project: Path, shots: Path | None = None) -> None:
    """Zoom, pan, slide, correct what is in sight with the brush, and save it."""
    from playwright.sync_api import sync_playwright

    with serving(project) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        visit = Visit(page, shots)
        page.goto(address)
        visit.until("window.likewise && likewise.grid.cards.size")
        visit.until("[...likewise.grid.cards.values()].every(c => c.layers)")
        open_card(visit, "large.png")
        visit.until("likewise.look.picture.width === 2000")
        assert "read in tiles" in page.locator("#badge").text_content()
        visit.shot("whole")
        look_closer(visit)
        # What is in sight is corrected, at full size; nothing beside it changes.
        before = np.asarray(Image.open(project / "masks" / "large.png"))
        page.locator("#look").focus()
        page.keyboard.press("c")
        visit.until("likewise.viewer.editing && likewise.look.labels")
        rect = page.evaluate("likewise.viewer.rect")
        assert "at full size" in page.locator("#partsays").text_content()
        assert page.evaluate("likewise.look.picture.width") == rect["width"] < 1000
        page.keyboard.press("b")
        visit.stroke("look", [(0.4, 0.4), (0.6, 0.6)])
        visit.shot("painted")
        page.keyboard.press("Escape")  # it is kept, and taken up again at its place
        visit.until("!likewise.viewer.editing && likewise.look.picture.tiles")
        page.keyboard.press("c")
        visit.until("likewise.viewer.editing && likewise.viewer.changed")
        assert page.evaluate("likewise.viewer.rect") == rect
        painted = np.array(page.evaluate("Array.from(likewise.look.labels)"), np.uint8)
        page.keyboard.press("Enter")
        visit.until("!likewise.viewer.editing && likewise.viewer.card.target.source === 'person'")
        visit.until("likewise.viewer.seen && likewise.look.picture.width === 2000")
        assert page.evaluate("likewise.look.scale / likewise.look.whole") > 2  # as near as before
        sight = page.evaluate("likewise.look.sight()")
        assert sight["x"] < rect["x"] + rect["width"] / 2 < sight["x"] + sight["width"]
        visit.shot("saved")
        now = np.asarray(Image.open(project / "masks" / "large.png")).copy()
        there = (
            slice(rect["y"], rect["y"] + rect["height"]),
            slice(rect["x"], rect["x"] + rect["width"]),
        )
        assert (now[there] != before[there]).any()
        np.testing.assert_array_equal(
            now[there] > 0, painted.reshape(rect["height"], rect["width"]) > 0
        )
        now[there] = before[there]
        np.testing.assert_array_equal(now, before)
        sizes = "[...document.querySelectorAll('canvas')].map(c => c.width * c.height)"
        assert max(page.evaluate(sizes)) < CANVAS
        page.set_viewport_size({"width": 390, "height": 844})
        visit.shot("phone")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.wrong == []
        browser.close()


def look_closer(visit: Visit) -> None:
    """Zoom with the wheel, move with the mouse: tiles and mask of what is in sight come."""
    page = visit.page
    page.mouse.move(*visit.place("look", 0.55, 0.54))
    for _ in range(4):
        page.mouse.wheel(0, -250)
    visit.until("likewise.viewer.seen && likewise.look.picture.tiles.size")
    visit.until("[...likewise.look.picture.tiles.values()].every(t => t.complete)")
    first = page.evaluate("likewise.look.sight()")
    assert first["width"] < 1000
    visit.shot("zoomed")
    mouse = page.mouse
    mouse.down(button="middle")
    mouse.move(*visit.place("look", 0.57, 0.54), steps=4)
    mouse.up(button="middle")
    visit.until("likewise.viewer.seen.rect.x < " + str(first["x"]))
    page.keyboard.press("Shift+Digit3")
    visit.until("likewise.look.over")
    visit.shot("heat")
    over = page.evaluate("likewise.look.over")
    sight = page.evaluate("likewise.look.sight()")
    assert over["x"] <= sight["x"]
    assert over["x"] + over["width"] >= sight["x"] + sight["width"]
    page.keyboard.press("Shift+Digit1")
