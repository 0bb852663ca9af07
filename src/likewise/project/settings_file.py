"""likewise.toml written and changed in place, so that a person's comments stay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from ..backbones.registry import get_spec
from ..errors import LikewiseError
from ..io.files import write_whole
from ..io.text_files import read_text
from .settings import CONFIG, HINTS, ProjectReference, ProjectSettings, read_settings


def write_settings(
    folder: Path,
    settings: Sequence[tuple[str, Any]],
    references: Sequence[ProjectReference],
    options: Mapping[str, Any],
    picture: Mapping[str, Any] = {},
) -> Path:
    """Write a new `likewise.toml` with comments.

    Args:
        folder: the project; made if it is not there.
        settings: (key, value) in order; None is written as a comment.
        references: as they are to be written.
        options: of the method.
        picture: of `[picture]`.

    Raises:
        LikewiseError: if there is one already, or it cannot be written.
    """
    path = folder / CONFIG
    if path.exists():
        raise LikewiseError(f"{path} is there already: edit it, or give another folder.")
    return _write(folder, settings, references, {"method_settings": options, "picture": picture})


def replace_settings(folder: Path, settings: ProjectSettings) -> Path:
    """Write other settings into a project's `likewise.toml`; all else in it stays as it is.

    Raises:
        LikewiseError: if it cannot be read or written.
    """
    path = folder / CONFIG
    if not path.exists():
        values = [(key, getattr(settings, key)) for key in COMMENTS]
        tables = {name: getattr(settings, of) for name, of in TABLES.items()}
        return _write(folder, values, settings.references, tables)
    before = read_settings(folder, unfinished=True)
    try:
        text = read_text(path)
    except OSError as error:
        raise LikewiseError(f"{path} cannot be read ({error.strerror}).") from error
    document = tomlkit.parse(text)
    for key in COMMENTS:
        if (value := getattr(settings, key)) != getattr(before, key):
            _set(document, key, value)
    for name, of in TABLES.items():
        new, old = getattr(settings, of), getattr(before, of)
        if new and name not in document:
            document[name] = tomlkit.table()
        for key in old.keys() | new.keys():
            if new.get(key) != old.get(key):
                _set(document[name], key, new.get(key))
    if settings.references != before.references:
        _set_references(document, before.references, settings.references)
    # Lines as the file has them.
    text, ends = tomlkit.dumps(document).replace("\r\n", "\n"), "\r\n" if "\r\n" in text else "\n"
    return _store(folder, text.replace("\n", ends))


def _set(table: Any, key: str, value: Any) -> None:
    """A value of a TOML table; None takes it out, and what a list had keeps its comments."""
    if value is None:
        table.pop(key, None)
        return
    if isinstance(value, tuple | list) and isinstance(table.get(key), list):
        there, wanted = table[key], list(value)
        for k in reversed(range(len(there))):
            if there[k] not in wanted:
                del there[k]
        for k in range(len(there), len(wanted)):
            there.append(wanted[k])
        if there.unwrap() == wanted:
            return
    value = list(value) if isinstance(value, tuple) else value
    if key in table or not isinstance(table, Table):
        table[key] = value
    else:
        behind = _cut(table, at_empty_line=False)
        table[key] = value
        table.value.body.extend(behind)


def _set_references(
    document: Any, before: Sequence[ProjectReference], after: Sequence[ProjectReference]
) -> None:
    """Other `[[reference]]`s; those that stay keep their lines, also if one field is another."""
    entries = list(zip(before, document.get("reference", []), strict=True))
    tables, tail = [], []
    if entries and isinstance(entries[-1][1], Table):
        tail = _cut(entries[-1][1], at_empty_line=True)  # what is behind them all stays there
    matched: dict[int, tuple[ProjectReference, Any]] = {}
    for alike in (_all, _picture, _file):
        for number, marked in enumerate(after):
            same = [entry for entry in entries if alike(entry[0]) == alike(marked)]
            if number not in matched and same:
                matched[number] = same[0]
                entries.remove(same[0])
    for number, marked in enumerate(after):
        old, table = matched.get(number, (None, tomlkit.table()))
        for key in (f.name for f in fields(ProjectReference)):
            value = getattr(marked, key)
            if old is None and value in (None, False):
                continue
            if old is None or value != getattr(old, key):
                _set(table, key, value)
        if old is None and not (tail and number == len(after) - 1):
            table.add(tomlkit.nl())
        tables.append(table)
    place = document.get("reference")
    if place is not None and not (tables and isinstance(tables[0], Table)):
        document.pop("reference")
        place = None
    if tables:
        array = tomlkit.aot()
        for table in tables:
            array.append(table)
        document["reference"] = array
        tables[-1].value.body.extend(tail)
    else:
        document.pop("reference", None)
        document.body.extend(tail)


def _all(marked: ProjectReference) -> Any:
    return marked


def _picture(marked: ProjectReference) -> Any:
    return marked.image, marked.mask, marked.value, marked.negative


def _file(marked: ProjectReference) -> Any:
    return marked.image, marked.label, marked.negative


def _cut(table: Table, *, at_empty_line: bool) -> list[Any]:
    """Take out of a table the comments behind its last key, or those behind an empty line there."""
    body = table.value.body
    start = max((k for k, (key, _) in enumerate(body) if key is not None), default=-1) + 1
    if at_empty_line:
        empty = (k for k in range(start, len(body)) if not body[k][1].as_string().strip())
        start = next(empty, len(body))
    behind = body[start:]
    del body[start:]
    return behind


def _write(
    folder: Path,
    settings: Sequence[tuple[str, Any]],
    references: Sequence[ProjectReference],
    tables: Mapping[str, Mapping[str, Any]],
) -> Path:
    lines = ["# A likewise project. Paths are relative to this file.", ""]
    for key, value in settings:
        comment = COMMENTS[key]
        lines += [f"# {comment}", f"{'# ' if value is None else ''}{key} = {_toml(value)}", ""]
    for reference in references:
        lines.append("[[reference]]")
        for key in ("image", "mask", "value", "label", "negative"):
            value = getattr(reference, key)
            if value is not None and value is not False:
                lines.append(f"{key} = {_toml(value)}")
        lines.append("")
    lines += [
        "# More classes: further [[reference]]s with another label. Not the thing: negative = true",
        "",
    ]
    for table, hints in HINTS.items():
        given = tables.get(table, {})
        if given or hints:
            lines.append(f"{'' if given else '# '}[{table}]")
            lines += [f"{key} = {_toml(value)}" for key, value in given.items()]
            lines += [f"# {hint}" for key, hint in hints.items() if key not in given] + [""]
    return _store(folder, "\n".join(lines))


def _store(folder: Path, text: str) -> Path:
    path = folder / CONFIG
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LikewiseError(
            f"{path} cannot be written ({error.strerror}): give another folder."
        ) from error
    write_whole(path, text.encode())
    return path


TABLES = {"method_settings": "options", "quality": "quality"}
TABLES |= {"picture": "picture", "page": "page"}
"""Tables at the end of the file → fields of ``ProjectSettings``."""
COMMENTS = {
    "targets": "Files, folders or patterns of images to annotate.",
    "method": "likewise, segic, insid3, foris, frost or nearest.",
    "backbone": "A name from `likewise backbones`, or a file or folder.",
    "image_size": "Side of the square that the backbone sees; its own by default.",
    "refine": "Edges: none, guided or crf.",
    "consensus": "Whether targets of one kind become references of each other.",
    "instances": "Whether the objects of each class are told apart, for `likewise export`.",
    "tile": 'Which images are read in tiles: "auto", "off", or a side in pixels.',
    "feature_cache": "Most that features/ may hold, so that pictures are encoded once; 0: nothing.",
    "learn": "Whether masks that you accept or correct become references.",
}


def _toml(value: Any) -> str:
    """Text, numbers, booleans and lists of them are the same in JSON and TOML.

    None, of the image size only, is what the default backbone sees.
    """
    if value is None:
        value = get_spec(ProjectSettings.backbone).image_size
    return json.dumps(value, ensure_ascii=False)
