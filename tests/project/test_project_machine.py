"""Whatever is done to a project, in any order: nothing of a person is lost, no class mixed up.

A made-up segmenter finds the class ``CLASSES[k]`` in the k-th column of every picture, so that what
each mask must show is known without a backbone.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image

from helpers import Columns
from likewise.errors import InputWarning
from likewise.io.draw import class_colour
from likewise.io.masks import read_label_map
from likewise.project.corrections import replace_class
from likewise.project.project import Project
from likewise.project.settings import ProjectReference, ProjectSettings, read_settings
from likewise.project.settings_file import replace_settings

CLASSES = ("cat", "dog", "cat/ear", "owl")
SIZE = 3, len(CLASSES)
PICTURES = ("A/p0.png", "A/p1.png", "B/p0.png", "B/p2.png")
TARGETS = ("../A", "../B", "../A/p0.png", "../B/p0.png", "../B/*.png")
Names = tuple[tuple[str, ...], ...]
"""The class of every pixel; "" is nothing."""


def found(labels: Sequence[str]) -> Names:
    """What ``Columns`` finds."""
    return (tuple(label if label in labels else "" for label in CLASSES),) * SIZE[0]


@dataclass(frozen=True)
class Mask:
    """What is expected of one target."""

    shows: Names
    labels: tuple[str, ...] = ()
    """Of the settings it was made with, in order."""
    picture: int = 0
    person: bool = False
    verdict: str | None = None
    pending: bool = False

    @property
    def free(self) -> bool:
        return not self.person and self.verdict is None


class Machine(RuleBasedStateMachine):
    """A project and what must be so."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "work"
        self.pictures = dict.fromkeys(PICTURES, 0)
        for name in PICTURES:
            self.paint(name)
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(self.root / "r.png")
        self.masks: dict[str, Mask] = {}
        self.set_up(CLASSES[:2], TARGETS[:2])

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def paint(self, name: str) -> None:
        (self.root / name).parent.mkdir(exist_ok=True)
        grey = np.full((*SIZE, 3), self.pictures[name] + 16 * PICTURES.index(name), np.uint8)
        Image.fromarray(grey).save(self.root / name)

    def set_up(self, labels: Sequence[str], targets: Sequence[str]) -> None:
        self.labels, self.targets = tuple(labels), tuple(targets)
        references = tuple(
            ProjectReference("../r.png", "../r.png", label=label) for label in labels
        )
        replace_settings(self.folder, ProjectSettings(self.targets, references))

    def opened(self) -> Project:
        return Project(self.folder)

    @property
    def present(self) -> list[str]:
        """Targets by the rules of the settings."""
        there = [n for n in PICTURES if (self.root / n).exists()]
        return [
            n
            for n in there
            if f"../{n}" in self.targets
            or f"../{n[0]}" in self.targets
            or (n[0] == "B" and TARGETS[4] in self.targets)
        ]

    def with_mask(self, *, pending: bool = False) -> list[str]:
        return [n for n in self.present if n in self.masks and pending >= self.masks[n].pending]

    def shown(self, project: Project, name: str) -> Names:
        """What the mask file of a picture shows, by labels.json as it is on disk."""
        mask = project.manifest.mask_of(self.root / name)
        assert mask is not None
        names = {0: "", **{k: label for label, k in project.manifest.numbers.items()}}
        return tuple(tuple(names[int(k)] for k in row) for row in read_label_map(mask))

    # --- settings and files ----------------------------------------------------------------------

    @rule(labels=st.lists(st.sampled_from(CLASSES), min_size=1, unique=True))
    def change_classes(self, labels: list[str]) -> None:
        self.set_up(labels, self.targets)

    @rule(wanted=st.lists(st.sampled_from(TARGETS), min_size=1, unique=True))
    def change_targets(self, wanted: list[str]) -> None:
        self.set_up(self.labels, wanted)

    @rule(data=st.data())
    def delete_picture(self, data: st.DataObject) -> None:
        there = [n for n in PICTURES if (self.root / n).exists()]
        # The last picture of a folder is not: such a folder is refused, as one that is not there.
        name = data.draw(st.sampled_from([n for n in there if sum(m[0] == n[0] for m in there) > 1]
                                         or [None]))  # fmt: skip
        if name is not None:
            (self.root / name).unlink()

    @rule(name=st.sampled_from(PICTURES), other=st.booleans())
    def bring_picture(self, name: str, other: bool) -> None:
        self.pictures[name] += other
        self.paint(name)

    # --- running ---------------------------------------------------------------------------------

    @rule(
        limit=st.sampled_from([None, None, 1, 2]),
        killed=st.sampled_from(["", "", "mask", "row"]),
        overwrite=st.sampled_from([False, False, False, True]),
    )
    def annotate(self, limit: int | None, killed: str, overwrite: bool) -> None:
        project = self.opened()
        if not overwrite:
            project.adopt_edited()
        jobs, run = project.jobs(), project.run_key("columns")
        todo = list(project.todo(jobs, run, overwrite=overwrite))[:limit]
        project.begin(run, "columns", todo)
        segmenter: Any = Columns(CLASSES, self.labels, 1 if killed else 2)
        victim = project.manifest if killed == "mask" else project
        what = {"mask": "write", "row": "record"}.get(killed)
        stops = mock.patch.object(victim, what, side_effect=KeyboardInterrupt) if what else None
        written = todo[:1] if killed else todo
        try:
            with stops or warnings.catch_warnings():
                list(project.annotate(segmenter, todo, run, overwrite=overwrite))
        except KeyboardInterrupt:
            assert killed
        for job in written:
            name = job.target.relative_to(self.root).as_posix()
            was = self.masks.get(name, Mask(found(())))
            if killed == "mask":
                if job.mask.is_file():
                    self.masks[name] = replace(was, pending=True, person=False, verdict=None)
                continue
            self.masks[name] = Mask(
                found(self.labels), self.labels, self.pictures[name], pending=killed == "row"
            )
        project.close()
        if limit is None and not killed:
            for name in self.present:
                mask = self.masks[name]
                assert not mask.pending
                if mask.free:
                    assert (mask.shows, mask.labels) == (found(self.labels), self.labels)
                    assert mask.picture == self.pictures[name]
            project = self.opened()
            assert not project.todo(project.jobs(), run)
            project.close()

    # --- a person --------------------------------------------------------------------------------

    def draw(self, data: st.DataObject, project: Project) -> np.ndarray:
        values = st.sampled_from([0, *(project.numbers[label] for label in self.labels)])
        row = st.lists(values, min_size=SIZE[1], max_size=SIZE[1])
        return np.array(data.draw(st.lists(row, min_size=SIZE[0], max_size=SIZE[0])), np.uint8)

    def keep(self, project: Project, name: str, label_map: np.ndarray) -> None:
        names = {0: "", **{k: label for label, k in project.numbers.items()}}
        shows = tuple(tuple(names[int(k)] for k in row) for row in label_map)
        self.masks[name] = Mask(shows, picture=self.pictures[name], person=True)

    @precondition(lambda self: self.with_mask())
    @rule(data=st.data(), alone=st.booleans())
    def correct(self, data: st.DataObject, alone: bool) -> None:
        name = data.draw(st.sampled_from(self.with_mask()))
        project = self.opened()
        label_map = self.draw(data, project)
        if alone:
            label = data.draw(st.sampled_from(self.labels))
            before = project.read_mask(self.root / name)
            label_map = replace_class(before, label_map > 0, label, project.numbers)
        project.correct(self.root / name, label_map)
        self.keep(project, name, label_map)
        project.close()

    @precondition(lambda self: self.with_mask(pending=True))
    @rule(data=st.data(), mode=st.sampled_from(["L", "P", "I;16"]))
    def edit_by_hand(self, data: st.DataObject, mode: str) -> None:
        """In a paint program, which stores it as it likes."""
        name = data.draw(st.sampled_from(self.with_mask(pending=True)))
        project = self.opened()
        label_map = self.draw(data, project)
        image = Image.fromarray(label_map.astype(np.uint16 if mode == "I;16" else np.uint8))
        if mode == "P":
            image.putpalette([c for k in range(9) for c in class_colour(k + 1)])
        image.save(project.mask(self.root / name), compress_level=1)
        project.adopt_edited()  # the next command that looks
        self.keep(project, name, label_map)
        project.close()

    @precondition(lambda self: self.with_mask())
    @rule(data=st.data(), verdict=st.sampled_from(["accepted", "rejected"]))
    def judge(self, data: st.DataObject, verdict: str) -> None:
        name = data.draw(st.sampled_from(self.with_mask()))
        project = self.opened()
        project.judge([self.root / name], verdict)
        self.masks[name] = replace(self.masks[name], verdict=verdict)
        project.close()

    @precondition(lambda self: self.with_mask())
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.with_mask()))
        project, mask = self.opened(), self.masks[name]
        if project.status(self.root / name) == "corrected":
            project.restore(self.root / name)
            self.masks[name] = replace(mask, person=False, pending=True)
        else:
            project.judge([self.root / name], None)
            self.masks[name] = replace(mask, verdict=None)
        project.close()

    # --- what must be so -------------------------------------------------------------------------

    @rule()
    def export(self) -> None:
        project = self.opened()
        made = {image.relative_to(self.root).as_posix(): mask
                for image, mask, _ in project.finished()}  # fmt: skip
        expected = [
            name
            for name in self.with_mask()
            if self.masks[name].verdict != "rejected"
            and not (self.masks[name].free and self.masks[name].picture != self.pictures[name])
        ]
        assert sorted(made) == sorted(expected)
        for name, mask in made.items():
            assert mask == project.manifest.mask_of(self.root / name)
        project.close()

    @invariant()
    def every_mask_shows_what_it_must(self) -> None:
        project = self.opened()
        assert project.settings == read_settings(self.folder)
        for name, mask in self.masks.items():
            assert self.shown(project, name) == mask.shows, name
        statuses = project.states()
        for name in self.present:
            mask = self.masks.get(name)
            status = statuses.get(f"../{name}", "pending")
            if mask is None or mask.pending:
                assert status == "pending"
            else:
                assert status == (mask.verdict or ("corrected" if mask.person else "done"))
        project.close()


def test_nothing_of_a_person_is_lost_and_no_class_is_another() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
