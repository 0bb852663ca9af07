"""One exception family; a message names the file, what is wrong and the mend, in a sentence."""

from __future__ import annotations


class LikewiseError(Exception):
    """Base of every error raised on purpose; its text can be shown to a person as it is."""


class ImageError(LikewiseError):
    """An image or mask cannot be used."""


class BackboneError(LikewiseError):
    """A backbone cannot be found, downloaded, verified or loaded."""
