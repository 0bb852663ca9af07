"""What is said of a picture while it is read."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from likewise.errors import InputWarning

SIZE = (48, 64)  # height, width


def told(call, *args, **kwargs):
    """What the call gives, and all that it warns of, as one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*args, **kwargs)
    return result, " ".join(str(w.message) for w in caught if w.category is InputWarning)


def file_of(image: Image.Image, kind: str, **options) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))
