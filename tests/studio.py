"""A Label Studio of few answers, and its configurations."""

from __future__ import annotations

BRUSH, POLYGON = "BrushLabels", "PolygonLabels"
LABELS = ("thing", "<edge> & more")


def config(
    kind: str = BRUSH, labels: tuple[str, ...] = ("thing", "&lt;edge&gt; &amp; more")
) -> str:
    tags = "".join(f'<Label value="{label}" background="#f00"/>' for label in labels)
    return (
        '<View><!-- one image --><Image name="img" value="$image" zoom="true"/>'
        f'<{kind} name="tag" toName="img">{tags}</{kind}></View>'
    )
