"""The page in a real browser; see page_drive.py."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from page_drive import drive, drive_clicks
from page_visit import Visit, lacking, open_card, serving, spiral, state_of
from scenes import make_scene

SHOTS = os.environ.get("LIKEWISE_SHOTS")
"""A folder for pictures of the page, to look at."""


def test_from_the_example_to_a_dataset(tmp_path: Path) -> None:
    if reason := lacking():
        pytest.skip(reason)
    figures = drive(tmp_path / "project", image_size=272)
    assert figures["pixels that browser and Python draw otherwise"] == 0
    assert figures["visible images"] == 4
    assert figures["instances in the COCO file"] > 8  # coins, and a board


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Path:
    """A project with one reference picture, and targets of its own and of a folder."""
    from likewise.project.settings import ProjectSettings
    from likewise.project.settings_file import replace_settings

    if reason := lacking():
        pytest.skip(reason)
    folder = make_scene(tmp_path / "scene", tiny)
    project = folder / "work"
    settings = ProjectSettings(("images", "../photos"), (), backbone="../tiny", image_size=64)
    replace_settings(project, settings)
    for place, name in (("references", "reference.png"), ("images", "a.jpg"), ("images", "b.jpg")):
        (project / place).mkdir(exist_ok=True)
        shutil.copy(folder / name, project / place / name)
    (folder / "photos").mkdir()
    (folder / "c.jpg").rename(folder / "photos" / "c.jpg")
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def browsing() -> Iterator[Any]:
    """A context of Chromium: tabs that share cookies, drafts and connections."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser.new_context(viewport={"width": 1280, "height": 800})
        browser.close()


def visiting(context: Any, address: str, name: str = "") -> Visit:
    """A tab of its own that has loaded."""
    shots = Path(SHOTS) / name if SHOTS else None
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
    visit = Visit(context.new_page(), shots)
    visit.page.goto(address)
    visit.until("window.likewise && likewise.state.project && likewise.painter.picture")
    visit.page.keyboard.press("b")  # most tests paint
    return visit


def painted(visit: Visit, painter: str = "painter") -> int:
    count: int = visit.page.evaluate(f"likewise.{painter}.labels.reduce((n, k) => n + (k > 0), 0)")
    return count


def accepting(visit: Visit) -> None:
    """Say yes to every question, also to that of leaving."""
    visit.page.on("dialog", lambda dialog: dialog.accept())


def test_eight_tabs(scene: Path) -> None:
    with serving(scene / "work") as (address, _), browsing() as context:
        first = visiting(context, address)
        tabs = [first, *(visiting(context, address.partition("?")[0]) for _ in range(7))]
        last = tabs[-1]
        first.slide("threshold", 1.5)
        for tab in tabs:
            tab.until("likewise.state.sliders.threshold === 1.5")
        # A tab that has not heard of it overwrites nothing.
        last.page.route("**/api/events*", lambda route: route.abort())
        last.page.wait_for_timeout(700)
        first.slide("threshold", -2)
        tabs[1].until("likewise.state.sliders.threshold === -2")
        last.slide("threshold", 4)
        last.page.get_by_text("the sliders were moved meanwhile").wait_for()
        last.until("likewise.state.sliders.threshold === -2")
        assert first.page.evaluate("likewise.state.sliders.threshold") == -2
        # What is painted in one stays when another has saved.
        last.stroke("painter", spiral(0.2, 0.3, 0.1))
        mine = painted(last)
        first.stroke("painter", spiral(0.6, 0.6, 0.1))
        first.page.locator("#save").click()
        first.until("!likewise.state.unsaved")
        tabs[2].until("likewise.painter.labels.some(k => k)")  # it is shown there
        last.page.locator("#save").click()
        last.page.get_by_text("save again to have it in place of that").wait_for()
        assert painted(last) == mine
        assert last.page.evaluate("likewise.state.unsaved")
        last.page.locator("#save").click()
        last.until("!likewise.state.unsaved")
        first.until(f"likewise.painter.labels.reduce((n, k) => n + (k > 0), 0) === {mine}")
        assert all(tab.wrong == [] for tab in tabs[:-1])


def test_what_is_not_saved_survives(scene: Path) -> None:
    port = free_port()
    with browsing() as context:
        with serving(scene / "work", port) as (address, _):
            visit = visiting(context, address, "drafts")
            accepting(visit)
            page = visit.page
            visit.stroke("painter", spiral(0.43, 0.47, 0.2))
            mine = painted(visit)
            page.reload()
            visit.until("window.likewise && likewise.painter.labels && likewise.state.unsaved")
            assert painted(visit) == mine
            visit.shot("draft")
            page.keyboard.press("Control+z")  # to what is saved
            assert painted(visit) == 0
            page.keyboard.press("Control+y")
            page.keyboard.press("b")
            page.locator("#save").click()
            visit.until(state_of("a.jpg", "done"))
            visit.until("document.getElementById('work').textContent === ''")
            open_card(visit, "a.jpg")
            page.keyboard.press("c")
            visit.until("likewise.viewer.editing && likewise.look.labels")
            before = painted(visit, "look")
            visit.stroke("look", spiral(0.2, 0.2, 0.1))
            corrected = painted(visit, "look")
            assert corrected != before
            page.keyboard.press("Escape")
            page.get_by_text("not saved, but kept").wait_for()
            visit.until("!likewise.viewer.editing")
            visit.shot("left")
            page.reload()
            visit.until("window.likewise && likewise.grid.cards.size && likewise.painter.picture")
            page.get_by_text("not saved").first.wait_for()
            visit.shot("reloaded")
            open_card(visit, "a.jpg")
            page.keyboard.press("c")
            visit.until("likewise.viewer.editing && likewise.look.labels")
            assert painted(visit, "look") == corrected
        visit.until("!document.getElementById('trouble').hidden")  # the server ended
        visit.shot("ended")
        with serving(scene / "work", port):
            visit.until("document.getElementById('trouble').hidden")
            page.keyboard.press("Enter")  # the tab goes on
            visit.until(state_of("a.jpg", "corrected"))
            visit.until("!likewise.viewer.editing")
            assert page.evaluate("likewise.state.unsavedMasks.size") == 0
            # A verdict does not take the place of the correction, nor does taking it back.
            page.keyboard.press("u")
            assert page.locator("#takeback").is_disabled()
            page.locator("#accept").click()
            visit.until(state_of("a.jpg", "accepted"))
            page.keyboard.press("Escape")
            open_card(visit, "a.jpg")
            visit.shot("accepted")
            page.keyboard.press("u")
            visit.until(state_of("a.jpg", "corrected"))
            page.locator("#discard").click()
            visit.until(state_of("a.jpg", "done"))


def test_what_is_missing_and_what_is_removed(scene: Path) -> None:
    with serving(scene / "work") as (address, _), browsing() as context:
        visit = visiting(context, address, "removing")
        accepting(visit)
        page = visit.page
        page.get_by_role("button", name="+ class").wait_for()
        visit.stroke("painter", spiral(0.43, 0.47, 0.2))
        page.locator("#save").click()
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            visit.until(state_of(name, "done"))
        visit.until("document.getElementById('work').textContent === ''")
        (scene / "work" / "images" / "a.jpg").unlink()
        (scene / "photos").rename(scene / "away")
        page.reload()
        visit.until("window.likewise && likewise.grid.cards.size === 3")
        visit.shot("missing")
        assert page.locator("#missing .source").count() == 1
        page.get_by_role("button", name="a.jpg, missing").click()
        page.get_by_text("a.jpg is not there any more").first.wait_for()
        assert page.locator("#accept").is_disabled()
        visit.shot("missing_viewer")
        page.locator("#removetarget").click()
        visit.until("likewise.grid.cards.size === 2")
        page.locator("#missing button").click()
        visit.until("likewise.grid.cards.size === 1")
        page.locator("#add").click()
        visit.shot("sources")
        page.locator("#adding button[value=close]").click()
        open_card(visit, "b.jpg")
        visit.shot("viewer")
        page.locator("#removetarget").click()
        visit.until("likewise.grid.cards.size === 0")
        assert not (scene / "work" / "images" / "b.jpg").exists()
        assert sorted(p.name for p in (scene / "work" / "masks").glob("*.png")) == [
            "a.png",
            "b.png",
            "c.png",
        ]
        page.evaluate("window.prompt = () => 'second'")
        page.get_by_role("button", name="+ class").click()
        visit.until("likewise.state.classes.length === 2")
        page.get_by_role("button", name="− class").click()
        visit.until("likewise.state.classes.length === 1")
        page.locator("#remove").click()
        visit.until("likewise.state.pictures.length === 0")
        visit.shot("nothing_left")


def test_clicks_with_two_corrections(tmp_path: Path) -> None:
    if reason := lacking():
        pytest.skip(reason)
    figures = drive_clicks(tmp_path / "project", image_size=272)
    assert figures["… and that four do"] > 0.05


def test_the_queue(scene: Path) -> None:
    with serving(scene / "work") as (address, _), browsing() as context:
        visit = visiting(context, address, "queue")
        page = visit.page
        visit.stroke("painter", spiral(0.43, 0.47, 0.2))
        page.locator("#save").click()
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            visit.until(state_of(name, "done"))
        visit.until("document.getElementById('work').textContent === ''")
        # The next that nobody judged follows a verdict, in an order that stays.
        page.locator(".card").first.click()
        visit.until("likewise.grid.held && likewise.viewer.id && likewise.look.picture")
        order = page.evaluate("likewise.grid.order")  # until now late doubts may sort them anew
        assert page.evaluate("likewise.viewer.id") == order[0]
        page.keyboard.press("a")
        visit.until(f"likewise.viewer.id === {order[1]!r}")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("x")
        visit.until(f"likewise.viewer.id === {order[1]!r}")
        now = page.evaluate("[likewise.grid.held, likewise.viewer.id, likewise.grid.order]")
        assert now == [True, order[1], order]
        # Zoom stays from picture to picture.
        page.evaluate("likewise.look.zoom(3)")
        zoomed = page.evaluate("likewise.look.scale / likewise.look.whole")
        page.keyboard.press("ArrowRight")
        visit.until(f"likewise.viewer.id === {order[2]!r}")
        page.wait_for_timeout(300)
        assert page.evaluate("likewise.look.scale / likewise.look.whole") == pytest.approx(zoomed)
        page.keyboard.press("Escape")
        visit.until("!likewise.viewer.id")
        # Filters and search.
        page.get_by_role("radio", name="Rejected 1").click()
        visit.until("document.querySelectorAll('.card').length === 1")
        page.keyboard.press("ArrowLeft")  # to what was corrected: none
        visit.until("document.querySelectorAll('.card').length === 0")
        page.get_by_role("radio", name="All 3").click()
        page.locator("#search").fill("c.jp")
        visit.until("document.querySelectorAll('.card').length === 1")
        page.locator("#search").fill("")
        visit.until("document.querySelectorAll('.card').length === 3")
        # One verdict on several; all are judged then.
        page.locator("#selecting").click()
        page.locator("#chooseall").click()
        visit.shot("chosen")
        page.locator("#acceptall").click()
        visit.until("likewise.grid.targets.every(t => t.verdict === 'accepted')")
        visit.until("!document.getElementById('alljudged').hidden")
        assert "3 accepted" in page.locator("#alljudged").inner_text()
        visit.shot("all_judged")
        # A removal is undone in its message.
        page.locator("#remove").click()
        visit.until("likewise.state.pictures.length === 0")
        page.locator("#toasts").get_by_role("button", name="Undo").click()
        visit.until("likewise.state.pictures.length === 1 && likewise.painter.picture")
        # An example on any picture.
        page.locator(".card").first.click()
        visit.until("likewise.viewer.id && likewise.look.picture")
        page.locator("#paintexample").click()
        visit.until("likewise.state.pictures.length === 2 && !likewise.viewer.id")
        assert visit.wrong == []


def test_two_fingers_zoom_and_one_paints(scene: Path) -> None:
    with serving(scene / "work") as (address, _), browsing() as context:
        visit = visiting(context, address, "fingers")
        visit.page.set_viewport_size({"width": 390, "height": 844})
        visit.until("likewise.painter.labels && likewise.painter.canvas.width > 0")
        send = """([kind, pointerId, clientX, clientY]) => likewise.painter.canvas.dispatchEvent(
          new PointerEvent(kind, {pointerId, pointerType: 'touch', clientX, clientY, button: 0}))"""
        visit.page.evaluate("likewise.painter.canvas.setPointerCapture = () => {}")
        x, y = visit.place("painter", 0.5, 0.5)
        visit.page.evaluate(send, ["pointerdown", 1, x, y])
        visit.page.evaluate(send, ["pointerdown", 2, x + 40, y])
        assert painted(visit) == 0  # the stroke that one of them began is taken back
        before = visit.page.evaluate("likewise.painter.scale")
        visit.page.evaluate(send, ["pointermove", 2, x + 80, y])
        assert visit.page.evaluate("likewise.painter.scale") == pytest.approx(2 * before)
        visit.page.evaluate(send, ["pointerup", 1, x, y])
        visit.page.evaluate(send, ["pointerup", 2, x + 80, y])
        visit.page.evaluate(send, ["pointerdown", 3, x, y])
        visit.page.evaluate(send, ["pointerup", 3, x, y])
        assert painted(visit) > 0
        # With the tool of clicks, a finger that moves draws a line.
        visit.page.evaluate("likewise.painter.undo()")
        visit.page.locator("#tools [data-tool=plus]").click()
        visit.page.evaluate(send, ["pointerdown", 4, x - 40, y])
        for k in range(8):
            visit.page.evaluate(send, ["pointermove", 4, x - 40 + 10 * k, y])
        visit.page.evaluate(send, ["pointerup", 4, x + 30, y])
        visit.until("likewise.painter.clicks.length && !likewise.painter.busy")
        assert visit.page.evaluate("likewise.painter.clicks[0].places.length") > 5
        assert painted(visit) > 0
        width = "document.documentElement.scrollWidth"
        assert visit.page.evaluate(width) <= 390
        assert visit.wrong == []


def test_two_tabs_on_one_mask(scene: Path) -> None:
    with serving(scene / "work") as (address, _), browsing() as context:
        first = visiting(context, address, "tabs")
        first.stroke("painter", spiral(0.43, 0.47, 0.2))
        first.page.locator("#save").click()
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            first.until(state_of(name, "done"))
        first.until("document.getElementById('work').textContent === ''")
        first.page.locator("#learn").check()
        second = visiting(context, address.partition("?")[0])
        second.until("likewise.grid.cards.size === 3 && document.getElementById('learn').checked")
        for tab in (first, second):
            open_card(tab, "a.jpg")
        second.page.route("**/api/events*", lambda route: route.abort())  # it hears nothing
        second.page.keyboard.press("c")
        second.until("likewise.viewer.editing && likewise.look.labels")
        second.stroke("look", spiral(0.2, 0.2, 0.1))
        mine = painted(second, "look")
        first.page.keyboard.press("a")
        first.until(state_of("a.jpg", "accepted"))
        second.page.keyboard.press("Enter")
        second.page.get_by_text("Your correction is still here: save again").wait_for()
        assert painted(second, "look") == mine
        second.page.keyboard.press("a")
        first.until(
            "[...likewise.grid.cards.values()].some(c => c.target.name === 'a.jpg' && "
            "c.target.source === 'person' && c.target.verdict === 'accepted')"
        )
        first.until("likewise.state.pictures.filter(p => p.learnt).length === 1")
        assert first.wrong == []


def test_by_keyboard(scene: Path) -> None:
    """Each group is one stop of Tab, arrows walk inside it, and what has the focus is seen."""
    stops = """() => [...document.querySelectorAll(
      '[role=radiogroup], [role=toolbar], [role=listbox], #grid')].filter(g => g.checkVisibility())
      .map(g => [...g.querySelectorAll('button')]
        .filter(b => b.tabIndex === 0 && b.checkVisibility()).length)"""
    focused = "document.activeElement"
    with serving(scene / "work") as (address, _), browsing() as context:
        visit = visiting(context, address, "keys")
        page = visit.page
        visit.stroke("painter", spiral(0.43, 0.47, 0.2))
        page.keyboard.press("Enter")
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            visit.until(state_of(name, "done"))
        visit.until("document.getElementById('work').textContent === ''")
        assert set(page.evaluate(stops)) == {1}
        page.locator("#tools [data-tool=brush]").focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate(f"{focused}.dataset.tool") == "eraser"
        page.keyboard.press("Home")
        assert page.evaluate(f"{focused}.dataset.tool") == "plus"
        outline = page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        assert page.evaluate("likewise.painter.tool") == "plus"
        assert page.evaluate(f"{focused}.dataset.tool") == "plus"  # pressed with a key: it stays
        page.locator("#thumbs").fill("420")  # some in a row
        page.locator(".card").first.focus()
        columns = "getComputedStyle(document.getElementById('grid')).gridTemplateColumns"
        row = page.evaluate(f"{columns}.split(' ').length")
        page.keyboard.press("ArrowDown")
        order = page.evaluate("likewise.grid.order")
        assert page.evaluate(f"{focused}.dataset.id") == order[min(row, 2)]
        page.keyboard.press("Home")
        assert page.evaluate(f"{focused}.dataset.id") == order[0]
        assert set(page.evaluate(stops)) == {1}
        page.keyboard.press("Space")
        assert page.evaluate("likewise.grid.chosen.size") == 1
        page.keyboard.press("Space")
        page.keyboard.press("x")
        visit.until(f"likewise.grid.cards.get({order[0]!r}).target.verdict === 'rejected'")
        visit.until(f"{focused}.dataset.id === {order[1]!r}")  # the next has the focus
        page.keyboard.press("Enter")
        visit.until("likewise.viewer.id && likewise.look.picture")
        page.keyboard.press("c")
        visit.until("likewise.viewer.editing && likewise.look.labels")
        assert set(page.evaluate(stops)) == {1}
        visit.legible()
        page.reload()
        visit.until("window.likewise && likewise.grid.cards.size === 3")
        assert page.locator("#thumbs").input_value() == "420"  # remembered
        assert visit.wrong == []
