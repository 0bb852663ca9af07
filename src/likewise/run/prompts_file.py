"""A JSON file of points, boxes and scribbles that correct what is found in targets.

{
  "a.jpg": {"points": [[120, 80, 1], [10, 10, 0]]},
  "cam1/0001.png": {"label": "cat", "box": [40, 30, 200, 180]},
  "b.jpg": [{"label": "cat", "points": [[9, 9, 1]]}, {"label": "dog", "points": [[50, 9, 1]]}]
}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from ..class_names import check_classes
from ..errors import LikewiseError
from ..io.images import read_picture
from ..io.opening import why
from ..io.text_files import read_text
from ..prompts import Prompts, prompts_of
from .jobs import Job


def add_prompts(jobs: Sequence[Job], file: Path, labels: Sequence[str]) -> list[Job]:
    """Jobs with the prompts that a file has for their targets.

    Args:
        jobs: of any targets.
        file: JSON: the end of a target's path, its name alone say → prompts, or a list of them.
        labels: classes that are looked for.

    Raises:
        LikewiseError: if the file cannot be read, names what is no target or several, or a prompt
            cannot be used.
    """
    try:
        given = json.loads(read_text(file), object_pairs_hook=_each_once)
    except OSError as error:
        raise LikewiseError(
            f"{file} cannot be read ({error.strerror}): check --prompts."
        ) from error
    except json.JSONDecodeError as error:
        raise LikewiseError(f"{file} is no JSON ({error}): mend it or write it anew.") from error
    except (ValueError, RecursionError) as error:
        raise LikewiseError(f"{file} cannot be used ({why(error)}): mend it.") from error
    if not isinstance(given, dict):
        example = '{"a.jpg": {"points": [[120, 80, 1]]}}'
        raise LikewiseError(f"{file} must be an object of prompts by image, such as {example}.")
    found = list(jobs)
    for name, value in given.items():
        parts = PurePath(name).parts
        places = [k for k, j in enumerate(jobs) if parts and j.target.parts[-len(parts) :] == parts]
        if len(places) != 1:
            several = f"{len(places)} targets end so: give more of its path"
            mend = several if places else "no target ends so: correct the name or leave it out"
            raise LikewiseError(f"{file} has prompts of {name or 'no name'}, but {mend}.")
        job = found[places[0]]
        if job.prompts:
            raise LikewiseError(f"{file} names {job.target} twice: make one list of its prompts.")
        each = value if isinstance(value, list) and value else [value]
        prompts = tuple(_checked(entry, job, labels, file) for entry in each)
        found[places[0]] = replace(job, prompts=prompts)
    return found


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises ValueError if it has a name twice, of which one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"it has {twice} twice")
    return found


def _checked(
    entry: object, job: Job, labels: Sequence[str], file: Path
) -> tuple[str | None, Prompts]:
    label, target = None, job.target
    if isinstance(entry, dict):
        label, entry = entry.get("label"), {k: v for k, v in entry.items() if k != "label"}
    prompts = prompts_of(entry, f"{target} in {file}")
    if not prompts:
        raise LikewiseError(f"{file} has no prompts of {target}: give points, a box or scribbles.")
    if label is not None:
        check_classes([str(label)], labels)
    elif len(labels) > 1:
        raise LikewiseError(
            f"{file} does not say which class of {target} is meant: add a label, one of "
            f"{', '.join(labels)}."
        )
    height, width = read_picture(job.picture).pixels.shape[:2]
    kept = prompts.checked((height, width), str(target))
    lines = tuple((tuple(line), sign) for line, sign in kept.scribbles)
    return label, Prompts(tuple(kept.points), kept.box, lines)
