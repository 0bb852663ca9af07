"""The bundled example in a project."""

from __future__ import annotations

from ...example import CONCEPTS, FOLDER
from ...project.settings import read_settings
from ...run.file_state import file_hash
from .class_list import allot
from .state import IMAGES, REFERENCES
from .workspace import Workspace


def add_example(workspace: Workspace) -> None:
    """The bundled pictures: two to paint on, four to find things in.

    Raises:
        LikewiseError: the project's settings cannot be read or written; nothing is copied then.
    """
    with workspace.lock:
        settings = read_settings(workspace.folder, unfinished=True)
        labels = list(dict.fromkeys([*settings.page.get("classes", []), *CONCEPTS]))
        targets = tuple(dict.fromkeys((*settings.targets, IMAGES)))
        workspace.change(targets=targets, page={**settings.page, "classes": labels})
        for reference, _, pattern in CONCEPTS.values():
            files = [(FOLDER / reference, REFERENCES)]
            files += [(path, IMAGES) for path in sorted(FOLDER.glob(pattern))]
            for path, folder in files:
                here = {file_hash(other) for other in (workspace.folder / folder).iterdir()}
                if file_hash(path) not in here:
                    workspace.keep(path.name, path.read_bytes(), folder)
        with workspace.opened() as project:
            allot(project, labels)
        workspace.forget_targets()
