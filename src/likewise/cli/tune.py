"""The command that chooses settings on the user's own references: ``likewise tune``."""

from __future__ import annotations

import dataclasses
import json
import shlex

from ..methods import DEFAULT
from .app import app
from .options import (
    BackboneOption,
    BlockOption,
    DecoderOption,
    DeviceOption,
    DtypeOption,
    ImageSizeOption,
    JsonOption,
    LabelOption,
    MaskOption,
    MaskValueOption,
    MethodOption,
    NegativeMaskOption,
    NegativeOption,
    OfflineOption,
    RankOption,
    ReferenceOption,
    open_segmenter,
)


@app.command()
def tune(
    reference: ReferenceOption,
    mask: MaskOption,
    mask_value: MaskValueOption = [],  # noqa: B006 (typer copies it)
    label: LabelOption = [],  # noqa: B006
    negative: NegativeOption = [],  # noqa: B006
    negative_mask: NegativeMaskOption = [],  # noqa: B006
    method: MethodOption = DEFAULT,
    decoder: DecoderOption = None,
    backbone: BackboneOption = "embedded",
    image_size: ImageSizeOption = None,
    block: BlockOption = None,
    svd_components: RankOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose block, size and setting on your references: each is found from the others."""
    from ..tuning import tune as tune_segmenter
    from .references import read_references

    references = read_references(reference, mask, mask_value, label, negative, negative_mask)
    segmenter = open_segmenter(
        svd_components,
        backbone=backbone,
        image_size=image_size,
        method=method,
        decoder=decoder,
        device=device,
        dtype=dtype,
        block=block,
        offline=offline,
    )
    tuning = tune_segmenter(segmenter, references)
    if as_json:
        print(json.dumps({**dataclasses.asdict(tuning), "flags": tuning.flags}, indent=2))
    else:
        print(tuning)
        print(f"give likewise segment: {shlex.join(tuning.flags)}")
