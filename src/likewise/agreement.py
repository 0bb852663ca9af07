"""Whether a runtime other than torch sees the references as torch in float32 does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .backbones.encoder import Encoder
from .errors import LikewiseError, note
from .segmenter import Segmenter

if TYPE_CHECKING:
    from .reference import Reference

MIN_COSINE, MIN_IOU = 0.98, 0.9
MAX_REFERENCES = 3
"""References that are looked at."""


def check_agreement(segmenter: Segmenter, references: Sequence[Reference]) -> tuple[float, float]:
    """Note how well the runtime of a segmenter agrees with torch in float32 on its references.

    Each of the first few is segmented as a target by both; their masks and features are compared.

    Args:
        segmenter: fitted to ``references``.
        references: examples, at least one of them not negative.

    Returns:
        Least of the references' mean cosines of patch features, and least IoU of the two masks.

    Raises:
        LikewiseError: if one is below ``MIN_COSINE`` or ``MIN_IOU``.
    """
    used = segmenter.encoder
    torch_encoder = Encoder(used.backbone, image_size=used.input_size, svd_components=used.rank)
    plain = Segmenter(torch_encoder, method=segmenter.params, refiner=segmenter.refiner)
    plain.fit(references)
    cosines, ious = [], []
    for reference in [r for r in references if not r.negative][:MAX_REFERENCES]:
        picture = segmenter.read(reference.image)
        one, two = (s.encoder.encode(picture.pixels) for s in (segmenter, plain))
        cosines.append(float((one.features * two.features).sum(dim=1).mean()))
        a = segmenter.segment_encoded(picture, one).mask
        b = plain.segment_encoded(picture, two).mask
        ious.append(float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0)
    cosine, iou = min(cosines), min(ious)
    what = f"cosine of features {cosine:.4f}, IoU of masks {iou:.3f}"
    if cosine < MIN_COSINE or iou < MIN_IOU:
        raise LikewiseError(
            f"{used.arithmetic} does not agree with torch in float32 on the references ({what}; at "
            f"least {MIN_COSINE} and {MIN_IOU} are wanted): use --runtime torch."
        )
    note(used.arithmetic, f"agrees with torch in float32 on the references: {what}.")
    return cosine, iou
