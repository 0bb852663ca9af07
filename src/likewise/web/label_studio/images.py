"""The images that tasks point to: from a folder, from Label Studio, or inside the task itself.

What a task says is not trusted: files are read below one folder only, and nothing is asked of any
host but the one Label Studio that was named at the start, nor where that one redirects to.
"""

from __future__ import annotations

import base64
import binascii
import io
import time
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import numpy as np
import numpy.typing as npt

from ...errors import ImageError, LikewiseError
from ...io.images import read_image
from ...io.opening import why
from ..guard import open_below
from ..limits import ImageBudget, Limits

LOCAL = "/data/local-files/"


class Images:
    """Reads the images of tasks.

    Args:
        limits: bytes, seconds and pixels of an image.
        host: address of Label Studio, such as http://localhost:8080, or None: no network at all.
        api_key: of a user there: a legacy token or a personal access token.
        root: the folder that Label Studio knows as LOCAL_FILES_DOCUMENT_ROOT, if it is here too.

    Raises:
        LikewiseError: if the address or the folder cannot be used.
    """

    def __init__(
        self,
        limits: Limits,
        host: str | None = None,
        api_key: str | None = None,
        root: Path | None = None,
    ) -> None:
        if host is not None and (urlsplit(host).scheme not in ("http", "https") or "@" in host):
            raise LikewiseError(
                f"{host} is no address of Label Studio: give one such as http://localhost:8080."
            )
        if root is not None and not root.is_dir():
            raise LikewiseError(f"{root} is no folder: give the one that the images are in.")
        self.limits = limits
        self.host = host
        self.api_key = api_key
        self.root = None if root is None else root.resolve()

    def read(self, url: object) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, upright.

        Raises:
            LikewiseError: if it may not be read, or cannot.
        """
        if not isinstance(url, str) or not url:
            raise LikewiseError("a task names no image: its data must have the project's field.")
        if url.startswith("data:"):
            return self._decode(io.BytesIO(_inside(url)), "the image in the task")
        try:
            parts, here = urlsplit(url), urljoin(self.host or "", url)
            own = self.host is not None and _place(here) == _place(self.host)
        except (ValueError, httpx.InvalidURL) as error:
            raise LikewiseError(f"the image {_short(url)} has no address ({error}).") from error
        if self.root is not None and parts.path == LOCAL and (own or not parts.netloc):
            path = parse_qs(parts.query).get("d", [""])[0]
            name = f"the image {_short(path)}"
            with open_below(self.root, path, name) as file:
                return self._decode(file, name)
        if self.host is None and not parts.netloc and parts.path.startswith("/"):
            raise LikewiseError(
                f"the image {_short(url)} is in Label Studio: give its address as --label-studio"
                f"{', or the folder as --root' if parts.path == LOCAL else ''}."
            )
        if not own:
            raise LikewiseError(
                f"the image {_short(url)} is not on Label Studio's own host, and likewise asks no "
                "other: import it into Label Studio, or serve it from there."
            )
        return self._decode(io.BytesIO(self._fetch(here)), f"the image {_short(url)}")

    def _decode(self, file: BinaryIO, name: str) -> npt.NDArray[np.uint8]:
        return read_image(ImageBudget(self.limits.max_pixels).open(file, name), name=name)

    def _fetch(self, url: str) -> bytes:
        """What Label Studio answers; redirects are not followed."""
        most, seconds = self.limits.max_bytes, self.limits.upload_timeout
        content, end = bytearray(), time.monotonic() + seconds
        try:
            with (
                httpx.Client(timeout=seconds, headers=self._headers()) as client,
                client.stream("GET", url) as answer,
            ):
                if answer.status_code != 200:
                    raise LikewiseError(
                        f"Label Studio does not give {_short(url)} (status {answer.status_code}): "
                        "check LABEL_STUDIO_API_KEY, and that the image can be seen there."
                    )
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > most or time.monotonic() > end:
                        raise ImageError(
                            f"the image {_short(url)} is larger than {most // 10**6} MB or "
                            f"takes longer than {seconds:.0f} s: shrink it."
                        )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LikewiseError(
                f"Label Studio does not give {_short(url)} ({why(error)}): check that it runs at "
                f"{self.host}."
            ) from error
        return bytes(content)

    def _headers(self) -> dict[str, str]:
        """A legacy token is sent as it is; a personal one (three parts) buys one for minutes."""
        if not self.api_key:
            return {}
        if self.api_key.count(".") != 2:
            return {"Authorization": f"Token {self.api_key}"}
        answer = httpx.post(
            urljoin(self.host or "", "/api/token/refresh/"),
            json={"refresh": self.api_key},
            timeout=self.limits.upload_timeout,
        )
        try:
            return {"Authorization": f"Bearer {answer.json()['access']}"}
        except (ValueError, LookupError, TypeError) as error:
            raise LikewiseError(
                f"Label Studio does not take the token (status {answer.status_code}): make a new "
                "one there and set LABEL_STUDIO_API_KEY to it."
            ) from error


def _place(url: str) -> tuple[object, ...]:
    """Scheme, name and port, and a user, which Label Studio's own address has not."""
    at = httpx.URL(url)
    return at.scheme, at.host, at.port, at.userinfo


def _inside(url: str) -> bytes:
    """The content of a data: address."""
    head, _, body = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("it is not base64")
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ImageError(f"the image in the task cannot be read ({error}).") from error


def _short(url: str) -> str:
    """An address as messages show it: without a query, which may hold secrets."""
    text = url.split("?")[0] if not url.split("?")[0].endswith(LOCAL) else url
    return text if len(text) <= 200 else f"{text[:200]}…"
