"""What the page sends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CLICKS, MOST_CORNERS = 500, 1000
MOST_TARGETS = 10_000


class Strict(BaseModel):
    """A body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ClassBody(Strict):
    """A class of the page."""

    label: str
    colour: str
    number: int | None = None
    """As the page was told; the server knows it."""
    was: str | None = None
    """Its name before, if it is renamed."""


class FolderBody(Strict):
    """A folder, file or pattern of images."""

    path: str


class SlidersBody(Strict):
    """See ``score_maps.Sliders``."""

    threshold: Annotated[float, Field(ge=-1000, le=1000)]
    granularity: Annotated[float, Field(ge=0, le=2)]


class SwitchBody(Strict):
    """Something is to be on or off."""

    on: bool


class VerdictBody(Strict):
    """What a person says of a target; null takes it back."""

    verdict: Literal["accepted", "rejected"] | None
    version: str
    """Of the target as the person saw it …"""
    sliders: str | None = None
    """… with these sliders."""


class TargetBody(Strict):
    """A target as the person saw it."""

    id: str
    version: str


class VerdictsBody(Strict):
    """What a person says of several targets."""

    verdict: Literal["accepted", "rejected"] | None
    targets: Annotated[list[TargetBody], Field(max_length=MOST_TARGETS)]
    sliders: str | None = None


Coordinate = Annotated[float, Field(ge=0, le=1e6)]
PlaceBody = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]


class ClickBody(Strict):
    """See ``clicks.Click``."""

    places: Annotated[list[PlaceBody], Field(min_length=1, max_length=MOST_CORNERS)]
    positive: bool
    number: int
    box: bool = False


class ClicksBody(Strict):
    """All clicks on a picture that hold, in order."""

    clicks: Annotated[list[ClickBody], Field(max_length=MOST_CLICKS)]
    version: str = ""
    """Of the target as the person saw it; references have none."""
    part: Annotated[list[int], Field(min_length=4, max_length=4)] | None = None
    """Of the target, that places are in; see ``marks.Part``."""


class VersionBody(Strict):
    """A target as the person saw it."""

    version: str
