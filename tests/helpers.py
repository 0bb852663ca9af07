"""Functions that several test files use."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.errors import LikewiseError


def refusal(call, *args, **kwargs) -> str:
    """The text of the LikewiseError that the call ends in: one line, ending in a full stop."""
    with pytest.raises(LikewiseError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)
