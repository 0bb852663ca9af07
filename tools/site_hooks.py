"""Hooks of mkdocs: pages of the site that lie outside docs/, and links to files of the checkout.

README.md and its like are read where they are, so that no text is kept twice.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/NOTES.md": "notes.md",
    "src/likewise/backbones/embedded/LICENSE.md": "licence-backbones.md",
    "src/likewise/example/LICENSE.md": "licence-pictures.md",
}
"""File of the checkout → page of the site."""
FILES = ("LICENSE", "examples/client.py", "examples/moving_camera.py", "examples/tour.ipynb")
"""Files that pages link to: they are part of the site as they are."""
LINK = re.compile(r"(\]\()([^)#\s]+)([^)]*\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files from outside docs/."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=relinked(text, source, page)))
    for name in FILES:
        if (ROOT / name).is_file():
            content = (ROOT / name).read_bytes()
            files.append(File.generated(config, f"files/{Path(name).name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of pages in docs/ that lead out of it."""
    if page.file.generated_by is not None:
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def relinked(text: str, source: str, page: str) -> str:
    """The text with its links as seen from a page of the site.

    Args:
        text: Markdown.
        source: its file in the checkout, whose links are relative to it.
        page: where it lies in the site.
    """

    def change(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        if link.startswith(("http:", "https:", "mailto:")):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        place = PAGES.get(target)
        if place is None and target in FILES:
            place = f"files/{posixpath.basename(target)}"
        if place is None and target.startswith("docs/"):
            place = target.removeprefix("docs/")
        if place is None:
            return match[0]  # mkdocs says that it leads nowhere
        return before + posixpath.relpath(place, posixpath.dirname(page) or ".") + after

    return LINK.sub(change, text)
