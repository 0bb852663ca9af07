"""The page in a real browser, from a clean start to a dataset, as a person would use it.

``python tests/page_drive.py FOLDER`` prints what was measured and writes a screenshot of each step
to the folder; test_page_browser.py runs the same steps in pytest.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from page_visit import (
    PATIENCE,
    Visit,
    click,
    drag,
    open_card,
    processor_seconds,
    serving,
    spiral,
    state_of,
)

READY = "[...likewise.grid.cards.values()].every(c => c.target.state === 'done' && c.layers)"
LATENCY = """() => {
  const {grid, state} = likewise, times = [];
  const cards = [...grid.cards.values()].filter(card => card.visible && card.layers);
  for (let k = 0; k < 40; k++) {
    state.sliders = {...state.sliders, threshold: (k % 9) - 4, granularity: k % 2 ? 0.1 : 0};
    for (const card of cards) {
      const start = performance.now();
      grid.draw(card);
      card.canvas.getContext('2d').getImageData(0, 0, 1, 1);  // nothing is left to be drawn
      times.push(performance.now() - start);
    }
  }
  times.sort((a, b) => a - b);
  return [times[times.length >> 1], times[Math.floor(times.length * 0.95)], cards.length];
}"""
SHOWN = """async ([threshold, granularity, height, width]) => {
  const {shown} = await import('/layers.js'), sliders = {threshold, granularity};
  return [...likewise.grid.cards.values()].filter(card => card.layers).map(card =>
    [card.target.name, Array.from(shown(card.layers, sliders, height, width))]);
}"""


NAMELESS = """() => [...document.querySelectorAll('button, input, select, canvas, dialog')]
  .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length) && !e.closest('.card'))
  .map(e => e.outerHTML)"""


def drive(
    project: Path, shots: Path | None = None, image_size: int | None = None
) -> dict[str, Any]:
    """Load the example, paint, wait, slide, judge, correct, promote, export; check each step.

    Args:
        project: folder that is not there yet.
        shots: where screenshots go.
        image_size: smaller than the backbone's own, to be quicker.

    Returns:
        What was measured.
    """
    from playwright.sync_api import sync_playwright

    from likewise.project.settings import ProjectSettings
    from likewise.project.settings_file import replace_settings

    figures: dict[str, Any] = {}
    if image_size is not None:
        replace_settings(project, ProjectSettings((), (), image_size=image_size))
    with serving(project) as (address, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        visit = Visit(page, shots)
        page.goto(address)
        visit.until("window.likewise && likewise.state.project")
        assert "token" not in page.url
        assert page.evaluate(NAMELESS) == []
        visit.shot("empty")
        page.locator("#example").click()
        visit.until("likewise.grid.cards.size === 4 && likewise.painter.tree")
        page.get_by_label("Reference coin_reference.png").click()
        visit.until("likewise.painter.tree && likewise.painter.picture.width === 70")
        paint(visit)
        visit.until("document.getElementById('work').textContent === ''")
        page.wait_for_timeout(6000 if shots else 0)  # a person needs as long, and the server works
        start, used = time.monotonic(), processor_seconds(server)
        page.locator("#save").click()
        visit.until("[...likewise.grid.cards.values()].some(c => c.target.state === 'done')")
        figures["seconds to the first result"] = time.monotonic() - start
        figures["… of processor time"] = processor_seconds(server) - used
        visit.until(READY)
        figures["seconds to all four"] = time.monotonic() - start
        visit.until("document.getElementById('work').textContent === ''")
        visit.shot("results")
        board(visit)
        modes(visit)
        figures |= sliders(visit, project)
        figures |= judging(visit, project)
        figures |= exporting(visit, project)
        mistakes(visit)
        page.set_viewport_size({"width": 390, "height": 844})
        visit.shot("phone")
        page.locator(".card").first.click()
        visit.until("likewise.look.picture")
        visit.shot("phone_viewer")
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="dark")
        visit.shot("dark")
        assert visit.wrong == []
        browser.close()
    return figures


def drive_clicks(
    project: Path, shots: Path | None = None, image_size: int | None = None
) -> dict[str, Any]:
    """One click on the example, find it everywhere, two corrective clicks, accept, learn."""
    from playwright.sync_api import sync_playwright

    from likewise.project.settings import ProjectSettings
    from likewise.project.settings_file import replace_settings

    figures: dict[str, Any] = {}
    if image_size is not None:
        replace_settings(project, ProjectSettings((), (), image_size=image_size))
    with serving(project) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        visit = Visit(page, shots)
        page.goto(address)
        visit.until("window.likewise && likewise.state.project")
        page.locator("#example").click()
        visit.until("likewise.grid.cards.size === 4 && likewise.painter.tree")
        page.get_by_label("Reference coin_reference.png").click()
        visit.until("likewise.painter.tree && likewise.painter.picture.width === 70")
        figures |= lines_and_boxes(visit)
        figures["ms of the first click on the example"] = click(visit, "painter", 0.5, 0.5)
        share = "likewise.painter.labels.reduce((n, k) => n + (k === 1), 0) / (70 * 73)"
        figures["share of the example that one click marks"] = page.evaluate(share)
        visit.shot("one_click")
        for x, y, button in ((0.3, 0.45, "left"), (0.65, 0.7, "left"), (0.05, 0.05, "right")):
            click(visit, "painter", x, y, button)
        figures["… and that four do"] = page.evaluate(share)
        visit.shot("four_clicks")
        page.keyboard.press("Enter")
        visit.until(READY)
        visit.until("document.getElementById('work').textContent === ''")
        visit.shot("found")
        open_card(visit, "coin_1.png")
        before = (project / "masks" / "coin_1.png").read_bytes()
        page.wait_for_timeout(1500)  # a person looks at it, and the server gets ready
        page.mouse.move(*visit.place("look", 0.3, 0.3))
        visit.shot("hover")
        figures["ms of corrective clicks"] = [
            click(visit, "look", 0.17, 0.34),
            click(visit, "look", 0.3, 0.08, "right"),
            *(click(visit, "look", 0.1 + 0.09 * k, 0.54, "right") for k in range(6)),
        ]
        visit.shot("clicked")
        corrected = "likewise.look.labels.reduce((n, k) => n + (k > 0), 0)"
        for _ in range(6):
            page.keyboard.press("z")
        assert page.evaluate("likewise.look.clicks.length") == 2
        two = page.evaluate(corrected)
        page.keyboard.press("Shift+Z")
        page.keyboard.press("z")
        assert page.evaluate(corrected) == two
        shown = page.evaluate("Array.from(likewise.look.labels)")
        visit.shot("undone")
        page.keyboard.press("a")
        visit.until(state_of("coin_1.png", "accepted"))
        visit.until("likewise.viewer.id !== likewise.grid.order[0] || !likewise.viewer.editing")
        visit.shot("next")
        from PIL import Image

        assert (project / "masks" / "coin_1.png").read_bytes() != before
        written = np.asarray(Image.open(project / "masks" / "coin_1.png"))
        assert written.size != len(shown) or (written.ravel() == np.array(shown)).all()
        page.keyboard.press("Escape")
        page.locator("#learn").check()
        again = "document.getElementById('again').textContent"
        if image_size is None:  # else they are done again before the page has asked
            visit.until(f"{again}.endsWith(' left that would change')")
            visit.shot("learning")
        visit.until("likewise.state.pictures.some(p => p.learnt)")
        visit.until(f"document.getElementById('work').textContent === '' && {again} === ''")
        visit.shot("learnt")
        side_by_side(visit)
        page.set_viewport_size({"width": 390, "height": 844})
        page.locator("#tabs [data-tab=images]").click()
        visit.shot("phone_images")
        page.locator("#tabs [data-tab=example]").click()
        visit.shot("phone_example")
        page.locator("#tabs [data-tab=images]").click()
        page.locator(".card").last.click()
        visit.until("likewise.look.picture && !likewise.viewer.editing")
        visit.shot("phone_viewer")
        page.locator("#sided").click()
        visit.until("likewise.beside.labels")
        visit.shot("phone_beside")
        page.locator("#sided").click()
        page.locator("#correct").click()
        visit.until("likewise.viewer.editing && likewise.look.labels")
        visit.shot("phone_correcting")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.wrong == []
        browser.close()
    return figures


def lines_and_boxes(visit: Visit) -> dict[str, Any]:
    """A box, and lines of both kinds, which are taken back."""
    page, figures = visit.page, dict[str, Any]()
    share = "likewise.painter.labels.reduce((n, k) => n + (k === 1), 0) / (70 * 73)"
    page.keyboard.press("m")
    figures["ms of a box"] = drag(visit, "painter", (0.14, 0.12), (0.86, 0.88))
    figures["share of the example that a box marks"] = page.evaluate(share)
    visit.shot("box")
    page.keyboard.press("z")
    page.keyboard.press("+")
    coin, around = ((0.3, 0.35), (0.6, 0.4), (0.65, 0.7)), ((0.03, 0.5), (0.06, 0.06), (0.9, 0.05))
    figures["ms of a line"] = drag(visit, "painter", *coin)
    figures["ms of a line of what it is not"] = drag(visit, "painter", *around, button="right")
    figures["share of the example that two lines mark"] = page.evaluate(share)
    visit.shot("lines")
    # With Space held the picture moves, and nothing is drawn.
    page.locator("#paint").focus()
    page.keyboard.down("Space")
    x = page.evaluate("likewise.painter.x")
    page.mouse.move(*visit.place("painter", 0.5, 0.5))
    page.mouse.down()
    page.mouse.move(*visit.place("painter", 0.7, 0.5))
    page.mouse.up()
    page.keyboard.up("Space")
    assert page.evaluate("likewise.painter.x") > x
    assert page.evaluate("likewise.painter.clicks.length") == 2
    page.keyboard.press("0")
    for _ in range(2):
        page.keyboard.press("z")
    visit.until(f"!likewise.painter.busy && {share} === 0")
    return figures


def side_by_side(visit: Visit) -> None:
    """The example beside an image; panes that are made wider, and stay so."""
    page = visit.page
    open_card(visit, "coin_2.png")
    page.keyboard.press("s")
    visit.until("likewise.beside.labels && likewise.beside.canvas.getBoundingClientRect().width")
    page.mouse.move(*visit.place("beside", 0.5, 0.5))
    page.mouse.wheel(0, -300)
    visit.until("likewise.beside.zoomed")
    zoomed = page.evaluate("likewise.beside.scale / likewise.beside.whole")
    bar = page.locator("#viewsplit").bounding_box()
    page.mouse.move(bar["x"] + 3, bar["y"] + 50)
    page.mouse.down()
    page.mouse.move(bar["x"] - 150, bar["y"] + 50)
    page.mouse.up()
    assert page.locator("#viewsplit").bounding_box()["x"] < bar["x"] - 100
    visit.shot("beside")
    page.keyboard.press("ArrowRight")
    visit.until("likewise.viewer.card.target.name !== 'coin_2.png' && likewise.look.picture")
    now = page.evaluate("likewise.beside.scale / likewise.beside.whole")
    assert abs(now / zoomed - 1) < 0.01
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    page.locator("#split").focus()
    before = page.locator("#left").bounding_box()["width"]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    wider = page.locator("#left").bounding_box()["width"]
    assert wider > before + 60
    page.reload()
    visit.until("window.likewise && likewise.grid.cards.size === 4 && likewise.painter.picture")
    assert page.locator("#left").bounding_box()["width"] == wider
    visit.shot("wider")
    page.locator("#split").dblclick()


def paint(visit: Visit) -> None:
    """Rename a class; paint the coin; undo and redo; click a region."""
    page = visit.page
    page.once("dialog", lambda dialog: dialog.accept("chess board"))
    page.locator("#classes").get_by_text("board").dblclick()
    visit.until("likewise.state.classes[1].label === 'chess board'")
    page.get_by_role("radio", name="coin").first.click()
    page.keyboard.press("b")
    page.locator("#tools .size").fill("60")
    visit.stroke("painter", spiral(0.5, 0.5, 0.27))
    share = "likewise.painter.labels.reduce((n, k) => n + (k === 1), 0) / (70 * 73)"
    painted = page.evaluate(share)
    assert 0.25 < painted < 0.7
    visit.shot("painted")
    page.keyboard.press("Control+z")
    assert page.evaluate(share) == 0
    page.keyboard.press("Control+y")
    assert page.evaluate(share) == painted
    page.get_by_label("Click a region").click()
    page.mouse.click(*visit.place("painter", 0.04, 0.04))
    region = page.evaluate(share)
    assert region > painted
    page.keyboard.press("Control+z")
    page.locator("#tools [data-tool=polygon]").click()
    for x, y in ((0.02, 0.02), (0.12, 0.02), (0.02, 0.12)):
        page.mouse.click(*visit.place("painter", x, y))
    visit.shot("polygon")
    page.keyboard.press("Enter")
    assert painted < page.evaluate(share) < painted + 0.02
    page.keyboard.press("Control+z")
    page.keyboard.press("b")


def board(visit: Visit) -> None:
    """Mark the board in the other picture with a polygon, as a second class."""
    page = visit.page
    page.get_by_label("Reference board_reference.jpg").click()
    visit.until("likewise.painter.picture.width === 640")
    page.get_by_role("radio", name="board").first.click()
    page.keyboard.press("p")
    for x, y in ((0.34, 0.1), (0.87, 0.075), (0.86, 0.64), (0.345, 0.6)):
        page.mouse.click(*visit.place("painter", x, y))
    page.keyboard.press("Enter")
    visit.shot("second_class")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    visit.until("[...likewise.grid.cards.values()].every(c => c.layers && c.layers.C === 2)")
    visit.until("document.getElementById('work').textContent === ''")
    visit.page.set_viewport_size({"width": 1180, "height": 560})
    visit.shot("two_classes")
    visit.page.set_viewport_size({"width": 1280, "height": 800})


def modes(visit: Visit) -> None:
    """Look at heat, also of one class, and outlines."""
    for key, name in (("2", "outline"), ("3", "heat"), ("4", "original"), ("1", "overlay")):
        visit.page.keyboard.press(f"Shift+Digit{key}")
        assert visit.page.evaluate("likewise.state.mode") == name
        visit.shot(name)
        assert visit.page.locator("#legend").is_visible() == (name == "heat")
        if name == "heat":
            visit.page.locator("#heatof").select_option(label="chess board")
            visit.shot("heat_of_one_class")
            visit.page.locator("#heatof").select_option(label="all classes")
            visit.page.locator("#heatof").evaluate("(e) => e.blur()")


def sliders(visit: Visit, project: Path) -> dict[str, Any]:
    """What the browser draws is what Python draws; how fast; and that it is kept."""
    from likewise.project.score_maps import Sliders, read_score_maps
    from likewise.project.settings import read_settings

    page, differ = visit.page, 0
    for threshold, granularity in ((0.0, 0.0), (2.5, 0.0), (-3.1, 0.08), (1.0, 0.35)):
        given = Sliders(threshold, granularity)
        for name, labels in page.evaluate(SHOWN, [threshold, granularity, 123, 171]):
            found = read_score_maps(project / "layers" / f"{Path(name).stem}.npz")
            assert found is not None
            differ += int((found[0].shown(given, (123, 171)).ravel() != np.array(labels)).sum())
    assert differ == 0
    median, high, cards = page.evaluate(LATENCY)
    before = (project / "masks" / "coin_1.png").read_bytes()
    visit.slide("threshold", 1.5)
    visit.slide("granularity", 40)
    drawn = "document.getElementById('granularitysays').value === '0.063'"
    visit.until(drawn)
    visit.shot("sliders")
    end = time.monotonic() + PATIENCE
    while (project / "masks" / "coin_1.png").read_bytes() == before:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert read_settings(project).page["threshold"] == 1.5
    visit.slide("threshold", -0.5)
    visit.slide("granularity", 0)
    return {
        "pixels that browser and Python draw otherwise": differ,
        "milliseconds of a slider's step on one of the visible images, median": median,
        "… 95 of 100": high,
        "visible images": cards,
    }


def judging(visit: Visit, project: Path) -> dict[str, Any]:
    """Accept one, correct one with the brush, make one a reference, take one back."""
    page = visit.page
    open_card(visit, "coin_1.png")
    visit.shot("viewer")
    visit.legible()
    page.keyboard.press("a")
    visit.until(state_of("coin_1.png", "accepted"))
    page.keyboard.press("Escape")
    open_card(visit, "coin_2.png")
    before = (project / "masks" / "coin_2.png").read_bytes()
    page.keyboard.press("c")
    visit.until("likewise.viewer.editing && likewise.look.labels")
    visit.stroke("look", spiral(0.245, 0.31, 0.13))
    visit.shot("correcting")
    page.keyboard.press("Enter")
    visit.until(state_of("coin_2.png", "corrected"))
    assert (project / "masks" / "coin_2.png").read_bytes() != before
    visit.until("!likewise.viewer.editing")
    visit.shot("corrected")
    board = "[...likewise.grid.cards.values()].find(c => c.target.name === 'board_2.jpg')"
    version = page.evaluate(f"{board}.target.made")
    start = time.monotonic()
    page.keyboard.press("r")
    visit.until("likewise.state.pictures.some(p => p.name === 'coin_2.png')")
    page.keyboard.press("Escape")
    visit.until(f"{board}.key !== {version!r} && {board}.target.status === 'done'")
    visit.until("document.getElementById('work').textContent === ''")
    figures = {"seconds to all others with a second reference": time.monotonic() - start}
    open_card(visit, "board_1.jpg")
    page.keyboard.press("x")
    visit.until(state_of("board_1.jpg", "rejected"))
    page.keyboard.press("Escape")
    visit.shot("judged")
    visit.legible()
    return figures


def exporting(visit: Visit, project: Path) -> dict[str, Any]:
    """Download the COCO dataset and read it as others do."""
    page = visit.page
    page.get_by_role("button", name="Export").click()
    page.locator("#onlyjudged").check()
    assert "2 images" in page.locator("#exported").inner_text()
    page.locator("#onlyjudged").uncheck()
    page.locator("#val").fill("30")
    visit.shot("export")
    assert "3 images, about 1 of them" in page.locator("#exported").inner_text()
    page.locator("#val").fill("0")
    page.locator("#apart").check()
    with page.expect_download() as waiting:
        page.locator("#zip").click()
    saved = project / "coco.zip"
    waiting.value.save_as(saved)
    with zipfile.ZipFile(saved) as archive:
        archive.extract("annotations.json", project)
    from pycocotools.coco import COCO

    coco = COCO(str(project / "annotations.json"))
    names = sorted(image["file_name"] for image in coco.imgs.values())
    assert names == ["board_2.jpg", "coin_1.png", "coin_2.png"]  # not the rejected
    assert all(coco.annToMask(a).sum() == a["area"] for a in coco.anns.values())
    return {"instances in the COCO file": len(coco.anns)}


def mistakes(visit: Visit) -> None:
    """What goes wrong is said in a sentence."""
    page = visit.page
    picture = {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.locator("#addreference").set_input_files(picture)
    page.get_by_text("x.png cannot be read as a picture").wait_for()
    page.locator("#add").click()
    page.locator("#folder").fill("/nowhere/at/all")
    page.locator("#addfolder").click()
    page.get_by_text("/nowhere/at/all does not exist").wait_for()
    open_card(visit, "board_2.jpg")
    page.evaluate("likewise.viewer.card.target.version = 'old'")
    page.keyboard.press("a")
    page.get_by_text("board_2.jpg was changed meanwhile").wait_for()
    visit.shot("mistakes")
    visit.legible()
    page.keyboard.press("Escape")
    # Chromium says so too.
    visit.wrong = [text for text in visit.wrong if "409" not in text and "422" not in text]


def main() -> None:
    """Print the figures."""
    shots = Path(sys.argv[1])
    shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = dict[str, Any]()
        for name, what in (("clicks", drive_clicks), ("project", drive)):
            (shots / name).mkdir(exist_ok=True)
            figures |= what(Path(folder) / name, shots / name)
        print(json.dumps(figures, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
