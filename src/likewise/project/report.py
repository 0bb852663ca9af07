"""One page on a project, with everything in it: counts, histograms, the surest and the doubtful."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import LikewiseError
from ..io.draw import overlay_labels
from ..io.files import write_whole
from ..io.images import read_image
from .database import ImageRow
from .project import Project

SHOWN = 12
"""Pictures of each sheet."""
THUMBNAIL = 220
"""Height of a picture in pixels."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}}
h2{{margin-top:2rem}}figure{{display:inline-block;margin:.3rem;vertical-align:top}}
figcaption{{font-size:12px;color:#444;max-width:18rem;overflow-wrap:anywhere}}
table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem;text-align:left}}
td.n,th.n{{text-align:right}}rect{{fill:#4477aa}}text{{font-size:11px;fill:#444}}
</style><h1>{title}</h1>{body}</html>
"""


def write_report(project: Project, path: Path) -> None:
    """Write the page.

    Args:
        project: with something annotated.
        path: the `.html` file.

    Raises:
        LikewiseError: if nothing was annotated yet, or the page cannot be written.
    """
    project.adopt_edited()
    rows = project.rows()
    if not rows:
        raise LikewiseError(f"{project.folder} has nothing to report: annotate it first.")
    masked = [row for row in rows if row.state == "done"]
    model = [row for row in masked if row.source == "model"]
    failed = [row for row in rows if row.state == "failed"]
    parts = [
        _counts(rows),
        f"<p>{html.escape(project.features_said() or '')}</p>",
        _classes(project),
        "<h2>Confidence</h2>" + _histogram([row.confidence or 0 for row in model], "confidence"),
        _sheet(project, "Most worth a look", model[:SHOWN]),
        _sheet(project, "Surest", [r for r in reversed(model) if r.area][:SHOWN]),
        _sheet(project, "Made by a person", [r for r in masked if r not in model][:SHOWN]),
    ]
    if failed:
        items = "".join(f"<li>{html.escape(r.path)}: {html.escape(r.error or '')}" for r in failed)
        parts.append(f"<h2>Failed</h2><ul>{items}</ul>")
    title = html.escape(f"likewise: {project.folder.resolve().name}")
    write_whole(path, PAGE.format(title=title, body="".join(parts)).encode())


def _counts(rows: Sequence[ImageRow]) -> str:
    states = Counter(row.status for row in rows)
    reasons = Counter(reason for row in rows for reason in row.reasons)
    seconds = [row.seconds for row in rows if row.seconds]
    cells = "".join(
        f'<tr><td>{name}<td class="n">{count}'
        for name, count in [*sorted(states.items()), *sorted(reasons.items())]
    )
    time = f"<p>{np.median(seconds):.2f} s an image (median), {sum(seconds):.0f} s in all.</p>"
    return f"<table>{cells}</table>{time if seconds else ''}"


def _classes(project: Project) -> str:
    found: dict[str, list[float]] = {label: [] for label in project.classes}
    for _, label, _, area in project.class_rows():
        if label in found:
            found[label].append(area)
    lines = []
    for label, areas in found.items():
        shown = [area for area in areas if area > 0]
        median = f"{np.median(shown):.1%}" if shown else "-"
        lines.append(
            f'<tr><td>{html.escape(label)}<td class="n">{len(shown)}<td class="n">'
            f'{len(areas) - len(shown)}<td class="n">{median}'
        )
    head = '<th>class<th class="n">found in<th class="n">not in<th class="n">median area'
    areas = [area for values in found.values() for area in values if area > 0]
    picture = _histogram(areas, "share of the image") if areas else ""
    return f"<h2>Classes</h2><table><tr>{head}{''.join(lines)}</table>{picture}"


def _histogram(values: Sequence[float], name: str) -> str:
    """Twenty bars over 0..1, as SVG."""
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    top = max(1, int(counts.max()))
    bars = "".join(
        f'<rect x="{20 * k}" y="{100 - 100 * n / top:.1f}" width="18" height="{100 * n / top:.1f}">'
        f"<title>{k / 20:.2f}-{(k + 1) / 20:.2f}: {n}</title></rect>"
        for k, n in enumerate(counts.tolist())
    )
    axis = f'<text x="0" y="115">0</text><text x="390" y="115">1</text><text x="180" y="115">{name}'
    return f'<svg width="400" height="120" role="img" aria-label="{name}">{bars}{axis}</text></svg>'


def _sheet(project: Project, title: str, rows: Sequence[ImageRow]) -> str:
    figures = []
    for row in rows:
        try:
            picture = _thumbnail(project.folder / row.path, project)
        except (LikewiseError, OSError) as error:
            picture = f"<p>{html.escape(str(error))}</p>"
        said = row.status if row.confidence is None else f"confidence {row.confidence:.2f}"
        words = [row.path, said, *row.reasons]
        caption = html.escape(", ".join(words))
        figures.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    return f"<h2>{title}</h2>{''.join(figures)}" if figures else ""


def _thumbnail(target: Path, project: Project) -> str:
    image = read_image(project.settings.choice.of(target))
    labels = project.read_mask(target).astype(np.uint16)
    size = (max(1, round(image.shape[1] * THUMBNAIL / image.shape[0])), THUMBNAIL)
    small = np.asarray(Image.fromarray(image).resize(size))
    shown = overlay_labels(small, np.asarray(Image.fromarray(labels).resize(size, 0)))
    data = io.BytesIO()
    Image.fromarray(shown).save(data, "JPEG", quality=80)
    text = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="" height="{THUMBNAIL}" src="data:image/jpeg;base64,{text}">'
