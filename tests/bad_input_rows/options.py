"""Options of `likewise segment`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from bad_input_rows.rows import row
from scenes import out_of_memory, second_target, segment

# --- things that go wrong while it runs -----------------------------------------------------------


@contextmanager
def small_memory() -> Iterator[None]:
    with mock.patch("likewise.backbones.encoder.patch_tokens", side_effect=out_of_memory()):
        yield


# --- options --------------------------------------------------------------------------------------


@row("image size off the patch", 2, r"image size 60 does not suit tiny: .* 16, such as 48 or 64\.")
def image_size_off_the_patch(_: Path) -> list[str]:
    return segment(more=["--image-size", "60"])


@row("image size 0", 2, r"image size 0 does not suit tiny: .* 16, such as 16 or 32")
def image_size_zero(_: Path) -> list[str]:
    return segment(more=["--image-size", "0"])


@row("unknown tiles", 2, r"tile 'small' is unknown; use auto, off, or a side in pixels\.")
def unknown_tiles(_: Path) -> list[str]:
    return segment(more=["--tile", "small"])


@row("tiles for another method", 2, r"method insid3 reads no tiles; use likewise, or tile off\.")
def tiles_for_another_method(_: Path) -> list[str]:
    return segment(more=["--tile", "300", "--method", "insid3"])


@row("tiles in a consensus", 2, r"--consensus sees whole images: leave out --tile or --consensus\.")
def tiles_in_a_consensus(_: Path) -> list[str]:
    return segment(more=["--tile", "300", "--consensus"])


@row("block out of range", 2, r"block 3 of tiny does not exist: use 1 to 2\.")
def block_out_of_range(_: Path) -> list[str]:
    return segment(more=["--block", "3"])


@row("unknown device", 2, r"device 'gpu' cannot be used \(.*\); use auto, cpu, cuda or mps\.")
def unknown_device(_: Path) -> list[str]:
    return segment(more=["--device", "gpu"])


@row(
    "device of another machine",
    2,
    r"device 'mps' cannot be used .*use auto, cpu",
    when=sys.platform != "darwin",
)
def device_of_another_machine(_: Path) -> list[str]:
    return segment(more=["--device", "mps"])


@row("device without memory", 2, r"device 'meta' cannot be used .*use auto, cpu, cuda or mps\.")
def device_without_memory(_: Path) -> list[str]:
    return segment(more=["--device", "meta"])


@row("unknown dtype", 2, r"dtype 'int8' is unknown; use one of auto, float32, bfloat16, float16\.")
def unknown_dtype(_: Path) -> list[str]:
    return segment(more=["--dtype", "int8"])


@row("unknown refiner", 2, r"refiner 'sharp' is unknown; use one of none, guided, crf\.")
def unknown_refiner(_: Path) -> list[str]:
    return segment(more=["--refine", "sharp"])


@row("tau out of range", 2, r"tau 1\.5 is no cosine similarity; use a number from -1 to 1\.")
def tau_out_of_range(_: Path) -> list[str]:
    return segment(more=["--method", "insid3", "--tau", "1.5"])


@row("alpha nan", 2, r"alpha nan .*number")
def alpha_not_a_number(_: Path) -> list[str]:
    return segment(more=["--method", "insid3", "--alpha", "nan"])


@row(
    "tau for the default method",
    2,
    r"method likewise has no setting tau; it has temperature, linear, ridge, affinity, seed, ",
)
def tau_of_the_default(_: Path) -> list[str]:
    return segment(more=["--tau", "0.5"])


@row("alpha for the default method", 2, r"method likewise has no setting alpha; it has temperatu")
def alpha_of_the_default(_: Path) -> list[str]:
    return segment(more=["--alpha", "0.3"])


@row("threshold nan", 2, r"linear, seed and threshold must be finite numbers of nats\.")
def threshold_not_a_number(_: Path) -> list[str]:
    return segment(more=["--threshold", "nan"])


@row("tau that is no number", 2, r"'--tau'", usage=True)
def tau_no_number(_: Path) -> list[str]:
    return segment(more=["--tau", "high"])


@row(
    "svd_components of D",
    2,
    r"tiny: svd_components=48 is rank 48, .* need a rank from 0 to 47 \(or",
)
def rank_of_the_dimension(_: Path) -> list[str]:
    return segment(more=["--svd-components", "48"])


@row("svd_components inf", 2, r"tiny: svd_components=inf .*rank from 0 to 47")
def rank_infinite(_: Path) -> list[str]:
    return segment(more=["--svd-components", "inf"])


@row("svd_components nan", 2, r"tiny: svd_components=nan .*rank from 0 to 47")
def rank_not_a_number(_: Path) -> list[str]:
    return segment(more=["--svd-components", "nan"])


@row("image size beyond the memory", 2, r".*memory.*--image-size", fault=small_memory)
def too_little_memory(_: Path) -> list[str]:
    return segment()


@row(
    "memory gone at the second target",
    1,
    r".*memory",
    masks="a.png",
    fault=lambda: second_target(out_of_memory),
)
def memory_gone_later(_: Path) -> list[str]:
    return segment("a.jpg", "b.jpg")


@row("missing option", 2, r"Missing option '--out'", usage=True, process=True)
def missing_option(_: Path) -> list[str]:
    return ["segment", "a.jpg", "--reference", "reference.png", "--mask", "mask.png"]


@row("no reference", 2, r"no reference given: give --reference and --mask, or a file with --refer")
def no_reference(_: Path) -> list[str]:
    return ["segment", "a.jpg", "--out", "out"]


@row("unknown option", 2, r"No such option: --mask-colour", usage=True)
def unknown_option(_: Path) -> list[str]:
    return segment(more=["--mask-colour", "red"])


@row("unknown command", 2, r"No such command 'segmnt'", usage=True)
def unknown_command(_: Path) -> list[str]:
    return ["segmnt", "a.jpg"]


@row("prompts of no target", 2, r"p\.json has prompts of x\.jpg, but no target ends so: ")
def prompts_of_no_target(_: Path) -> list[str]:
    Path("p.json").write_text('{"x.jpg": {"points": [[1, 1, 1]]}}', "utf-8")
    return segment(more=["--prompts", "p.json"])


@row("prompts that are no JSON", 2, r"p\.json is no JSON \(.*\): mend it or write it anew\.")
def prompts_that_are_no_json(_: Path) -> list[str]:
    Path("p.json").write_text("{", "utf-8")
    return segment(more=["--prompts", "p.json"])
