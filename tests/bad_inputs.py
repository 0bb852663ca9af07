"""What people get wrong: for each input the message, the exit code, and that nothing is lost.

``python tests/bad_inputs.py`` prints the table; test_bad_inputs.py runs the same rows in pytest.
The rows are in bad_input_rows/, a file a subject.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bad_input_rows import ROWS, Row
from scenes import SIZE, Ran, make_scene, one_thread, run, run_process, sandbox
from tiny import make_backbone

_TRACEBACK = "Traceback"
LONGEST = 700  # characters of a message that a person still reads


@dataclass(frozen=True)
class Verdict:
    """What became of one row."""

    ran: Ran
    message: str
    lost: list[str]
    """Files that were there before and are not as they were."""
    wrong: list[str]
    """Everything that is not as expected."""


def judge(case: Row, scene: Path) -> Verdict:
    """Prepare and run one row in a fresh scene."""
    wrong: list[str] = []
    with sandbox(scene):
        arguments = case.prepare(scene)
        before = _contents(scene)
        with case.fault():
            if case.process:
                assert not callable(arguments)
                ran = run_process(arguments)
            else:
                ran = run(arguments)
        after = _contents(scene)
        lost = [str(p.relative_to(scene)) for p in before if after.get(p) != before[p]]
        if lost:
            wrong.append(f"not as before: {', '.join(lost)}")
        wrong += _wrong_output(case, ran) + _wrong_files(case, scene)
        if case.then is not None:
            try:
                case.then()
            except Exception as error:
                wrong.append(f"afterwards: {error!r}")
    return Verdict(ran, _message(case, ran), lost, wrong)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _lines(ran: Ran) -> list[str]:
    """What was said on stderr, without notes."""
    return [line for line in ran.err.splitlines() if not line.startswith("likewise: note: ")]


def _message(case: Row, ran: Ran) -> str:
    lines = _lines(ran)
    if _TRACEBACK in ran.err:
        return f"(traceback) {lines[-1]}"
    if case.usage:  # a box drawn around the sentence
        return " ".join(
            " ".join(line.strip("│ ") for line in lines if line.startswith("│")).split()
        )
    return " ".join(lines) or "(nothing)"


def _wrong_output(case: Row, ran: Ran) -> list[str]:
    wrong = []
    if ran.code != case.code:
        wrong.append(f"exit code {ran.code}, not {case.code}")
    message = _message(case, ran)
    if _TRACEBACK in ran.out + ran.err:
        wrong.append(message)
    elif case.usage:
        if not re.search(case.message, message):
            wrong.append(f"no {case.message!r} in {message!r}")
    else:
        if not re.fullmatch(r"likewise: [^\n]+\.", "\n".join(_lines(ran))):
            wrong.append(f"not one line 'likewise: ... .' but {ran.err!r}")
        if not re.match(f"likewise: {case.message}", message):
            wrong.append(f"no {case.message!r} at the start of {message!r}")
        if len(message) > LONGEST:
            wrong.append(f"a message of {len(message)} characters")
    what = r"\d+ (of \d+ (masks|slides)|images with \d+ instances)"
    summary = what + r" written to out(, \d+ [a-z ]+)+\n" if case.code == 1 else ""
    if not re.fullmatch(summary, ran.out):
        wrong.append(f"on stdout {ran.out!r}")
    return wrong


def _wrong_files(case: Row, scene: Path) -> list[str]:
    wrong = [f"{p.name} was left over" for p in scene.rglob(".likewise-*")]
    memory = ("labels.json", "manifest.jsonl")
    found = {p.name for p in Path("out").glob("*") if p.name not in memory}
    if found != case.masks:
        wrong.append(f"out/ holds {sorted(found)}, not {sorted(case.masks)}")
    for name in sorted(n for n in found if n.endswith(".png")):
        with Image.open(Path("out") / name) as image:
            values = set(np.unique(np.asarray(image)).tolist())
            if image.mode != "L" or image.size not in (SIZE, (66000, 2)) or not values <= {0, 255}:
                wrong.append(f"{name} is {image.mode} {image.size} of {values}")
    return wrong


def table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """A Markdown table with its columns padded to one width."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if a row is not as expected."""
    lines = [("input", "message printed", "exit code", "nothing lost")]
    wrong = []
    with tempfile.TemporaryDirectory() as folder, one_thread():
        base = Path(folder).resolve()
        tiny = make_backbone(base / "tiny")
        for case in ROWS:
            scene = make_scene(base / case.name, tiny)
            verdict = judge(case, scene)
            message = verdict.message.replace(str(scene) + os.sep, "")
            lines.append(
                (case.what, message, str(verdict.ran.code), "no" if verdict.lost else "yes")
            )
            wrong += [f"{case.name}: {reason}" for reason in verdict.wrong]
    print(table(lines))
    if wrong:
        print("\nNot as expected:", *wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
