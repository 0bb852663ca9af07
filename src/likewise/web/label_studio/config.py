"""What a project's labelling configuration (XML) asks for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree

from ...errors import LikewiseError

KINDS = ("brushlabels", "polygonlabels")
MAX_CONFIG = 1_000_000


@dataclass(frozen=True)
class Control:
    """A tag by which people mark classes in an image."""

    kind: str
    """One of KINDS: the type of its regions, and where in these the classes are named."""
    from_name: str
    to_name: str
    key: str
    """Field of a task's data that says where the image is."""
    labels: tuple[str, ...]


@lru_cache(maxsize=64)
def read_config(xml: str) -> tuple[Control, ...]:
    """The brush and polygon tags of a configuration, in its order.

    Raises:
        LikewiseError: if it cannot be read, or has none with labels for an image of one field.
    """
    # Entities are the one part of XML by which a small text becomes a large one.
    if len(xml) > MAX_CONFIG or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise LikewiseError("the labelling configuration is too long or declares entities.")
    try:
        tags = list(ElementTree.fromstring(xml).iter())
    except (ElementTree.ParseError, ValueError) as error:
        raise LikewiseError(f"the labelling configuration is no XML ({error}).") from error
    images = {t.get("name", ""): t.get("value", "") for t in tags if t.tag.lower() == "image"}
    controls = []
    for tag in tags:
        kind, name, to = tag.tag.lower(), tag.get("name", ""), tag.get("toName", "")
        if kind not in KINDS or not name or not images.get(to, "").startswith("$"):
            continue
        labels = [t for t in tag.iter() if t.tag.lower() == "label"]
        names = tuple(t.get("alias") or t.get("value") or "" for t in labels)
        if names:
            controls.append(Control(kind, name, to, images[to][1:], names))
    if not controls:
        raise LikewiseError(
            "the labelling configuration has no <BrushLabels> or <PolygonLabels> with a <Label> "
            'for an <Image value="$...">: add one to the project.'
        )
    return tuple(controls)


def check_classes(controls: Collection[Control], known: Collection[str]) -> None:
    """Raises LikewiseError unless the references show all classes of the project."""
    missing = sorted({label for c in controls for label in c.labels} - set(known))
    if missing:
        raise LikewiseError(
            f"the project has the classes {', '.join(missing)}, but the references only "
            f"{', '.join(known)}: rename or remove them there, or save references of them too."
        )
