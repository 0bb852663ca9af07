"""The command that chooses settings on the user's own references: ``likewise tune``."""

from __future__ import annotations

import dataclasses
import shlex

from .app import app
from .console import print_json
from .options import (
    DeviceOptions,
    ExampleOptions,
    FeatureOptions,
    JsonOption,
    MethodOptions,
    NoCacheOption,
    PictureOptions,
    encoder_options,
    takes_groups,
)


@app.command()
@takes_groups
def tune(
    *,
    examples: ExampleOptions,
    pictures: PictureOptions,
    algorithm: MethodOptions,
    network: FeatureOptions,
    machine: DeviceOptions,
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose block, size and setting on your references: each is found from the others."""
    from ..backbones.feature_cache import LIMIT, CachedEncoder, FeatureCache
    from ..backbones.files import cache_folder
    from ..segmenter import Segmenter
    from ..tuning import tune as tune_segmenter
    from .references import read_references

    references = read_references(**vars(examples), choice=pictures.choice)
    cache = FeatureCache(cache_folder() / "tuning", 0 if no_cache else LIMIT)
    params = algorithm.params()
    encoder = CachedEncoder(cache=cache, **encoder_options(network, machine, params))
    segmenter = Segmenter(encoder, method=params)
    tuning = tune_segmenter(segmenter, references)
    if as_json:
        print_json({**dataclasses.asdict(tuning), "flags": tuning.flags})
    else:
        print(tuning)
        print(f"give likewise segment: {shlex.join(tuning.flags)}")
