"""Taking pictures, folders and classes out of a project, so that it can be undone."""

from __future__ import annotations

import itertools
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import LikewiseError
from ...project.learning import is_learnt
from ...project.project import Project
from ...project.settings import ProjectSettings, read_settings
from .state import GoneError, StaleError, WorkspaceState

REMOVED = ".removed"
"""Folder of a project for files that were removed, until the page is started anew."""
REMEMBERED = 100
"""Removals that can be undone."""


@dataclass
class Removal:
    """What was taken out at once."""

    before: ProjectSettings
    folder: Path
    """For the files."""
    after: ProjectSettings | None = None
    files: list[tuple[Path, Path]] = field(default_factory=list)
    """Where each was, and where it is."""
    rows: list[tuple[str, dict[str, Any], list[Any]]] = field(default_factory=list)
    """Key, values and classes of each image that was forgotten."""

    def discard(self, path: Path) -> None:
        """Put a file away, if it is there."""
        if path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            place = self.folder / f"{len(self.files)}{path.suffix}"
            path.rename(place)
            self.files.append((path, place))

    def forget(self, project: Project, key: str) -> None:
        """Know nothing of an image any more."""
        if (values := project.facts(key).get(key)) is not None:
            query = "SELECT label, confidence, area, reasons FROM classes WHERE path = ?"
            self.rows.append((key, values, project.database.select(query, (key,))))
            project.forget(key)


class Removals:
    """The removals of this server that can be undone.

    Args:
        workspace: the project; what was removed before this server started is deleted.
    """

    def __init__(self, workspace: WorkspaceState) -> None:
        self.workspace, self.folder = workspace, workspace.folder
        shutil.rmtree(self.folder / REMOVED, ignore_errors=True)
        self._known: OrderedDict[str, Removal] = OrderedDict()
        self._numbers = itertools.count(1)

    @contextmanager
    def noted(self) -> Iterator[tuple[str, Removal]]:
        """The name of a removal and itself, which is filled meanwhile."""
        name = str(next(self._numbers))
        with self.workspace.lock:
            removal = Removal(self._settings(), self.folder / REMOVED / name)
            yield name, removal
            removal.after = self._settings()
            self._known[name] = removal
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def undo(self, name: str) -> None:
        """Put back what was removed.

        Raises:
            GoneError: nothing of that name can be undone (any more).
            StaleError: the same settings were changed since.
            LikewiseError: a file cannot be put back.
        """
        with self.workspace.lock, self.workspace.opened() as project:
            if name not in self._known:
                raise GoneError("this cannot be undone any more: it was undone, or is too old.")
            removal = self._known[name]
            assert removal.after is not None
            now = self._settings()
            if self._fields(now) != self._fields(removal.after):
                raise StaleError("examples, images or classes were changed since: undo that first.")
            for place, kept in removal.files:
                if place.exists() or not kept.exists():
                    raise LikewiseError(f"{place} cannot be put back: another file is there.")
            for place, kept in removal.files:
                kept.rename(place)
            for key, values, classes in removal.rows:
                with project.database.explained(), project.database.transaction():
                    known = {column: value for column, value in values.items() if column != "path"}
                    project.database.note(key, known, classes)
            fields = self._fields(removal.before)
            learnt = tuple(r for r in now.references if is_learnt(self.folder, r))
            fields["references"] += learnt  # which the loop keeps as they should be
            self.workspace.change(**fields | {"page": {**now.page, **fields["page"]}})
            del self._known[name]

    def _settings(self) -> ProjectSettings:
        return read_settings(self.folder, unfinished=True)

    def _fields(self, settings: ProjectSettings) -> dict[str, Any]:
        """What a removal changes."""
        page = {k: v for k, v in settings.page.items() if k in ("classes", "colours")}
        own = tuple(r for r in settings.references if not is_learnt(self.folder, r))
        return {"targets": settings.targets, "references": own, "page": page}
