"""Fetching weights from the hub into the usual Hugging Face cache, with checksums."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import BackboneError
from ..io.hashing import file_sha256
from .registry import get_spec, packaged_file
from .spec import BackboneSpec

INDEX_SUFFIX = ".index.json"
ETAG_TIMEOUT = 10.0  # seconds until the hub counts as unreachable
_SHA256 = re.compile(r"[0-9a-f]{64}")


class MissingFileError(BackboneError):
    """The hub repository exists, but has no such file."""


@dataclass(frozen=True)
class Verification:
    """Outcome of `verify`: `ok` is None where there is no checksum to compare with."""

    name: str
    path: Path
    sha256: str
    expected: str | None
    ok: bool | None


def fetch(
    source: BackboneSpec | str, filename: str, *, offline: bool = False, progress: bool = True
) -> Path:
    """The local path of `filename` of a spec or of a hub repository "org/repo".

    A file already in the cache is returned without any network. A downloaded one is compared with
    the spec's sha256, or with the hub's own, and thrown away where it differs. Raises
    MissingFileError where the repository lacks the file, BackboneError for everything else.
    """
    spec = source if isinstance(source, BackboneSpec) else None
    repo = spec.repo if spec is not None else str(source)
    if repo is None:
        raise BackboneError(f"{source!r} has no hub repository: its file is part of likewise.")
    cached = _cached(repo, filename)
    if cached is not None:
        return cached
    if offline or _hub_is_offline():
        raise BackboneError(
            f"{repo}/{filename} is not in the cache and downloading is switched off: "
            + _ways_out(repo, filename)
        )
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        # Asked once by hand: hf_hub_download would retry an unreachable hub for a minute.
        url = hf_hub_url(repo, filename, endpoint=endpoint)
        etag = get_hf_file_metadata(url, timeout=ETAG_TIMEOUT).etag
        if spec is not None and not _repo_folder(repo).exists():
            print(f"{spec.name}: {spec.license}", file=sys.stderr)
        with _progress_bars(progress):
            path = Path(
                hf_hub_download(repo, filename, endpoint=endpoint, etag_timeout=ETAG_TIMEOUT)
            )
    except Exception as error:
        raise _explain(error, repo, filename) from error
    expected = _digest_for(spec, filename, etag)
    if expected is not None:
        found = file_sha256(path)
        if found != expected:
            _discard(path)
            raise BackboneError(
                f"{repo}/{filename} arrived with sha256 {found} instead of {expected} and was "
                "deleted: run the command again, and check for a proxy that alters downloads."
            )
    return path


def fetch_weights(
    source: BackboneSpec | str, *, offline: bool = False, progress: bool = True
) -> Path:
    """The path of a repository's safetensors file, or of its index with every shard beside it."""
    name = source.filename if isinstance(source, BackboneSpec) else "model.safetensors"
    repo = source.repo if isinstance(source, BackboneSpec) else source
    if repo is not None and _cached(repo, name) is None:
        index = _cached(repo, name + INDEX_SUFFIX)
        if index is not None:
            return _fetch_shards(source, index, offline=offline, progress=progress)
    try:
        return fetch(source, name, offline=offline, progress=progress)
    except MissingFileError as missing:
        try:
            index = fetch(source, name + INDEX_SUFFIX, offline=offline, progress=progress)
        except MissingFileError:
            raise missing from None
    return _fetch_shards(source, index, offline=offline, progress=progress)


def _fetch_shards(
    source: BackboneSpec | str, index: Path, *, offline: bool, progress: bool
) -> Path:
    for shard in shard_names(index):
        fetch(source, shard, offline=offline, progress=progress)
    return index


def shard_names(index: Path) -> list[str]:
    """The file names that a `*.safetensors.index.json` lists; raises BackboneError."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(
            f"{index} is not a safetensors index ({type(error).__name__}): download it again."
        ) from error
    if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise BackboneError(f"{index} lists no shards, or shards outside its own folder.")
    return sorted(names)


def cached_path(name: str) -> Path | None:
    """Where the weights of a named backbone lie on this machine, or None; never uses a network."""
    spec = get_spec(name)
    if spec.repo is None:
        path = packaged_file(spec)
        return path if path.is_file() else None
    return _cached(spec.repo, spec.filename) or _cached(spec.repo, spec.filename + INDEX_SUFFIX)


def packaged_path(spec: BackboneSpec) -> Path:
    """The weights of a spec that ships inside likewise; raises BackboneError without them."""
    path = packaged_file(spec)
    if not path.is_file():
        raise BackboneError(f"likewise was installed without {spec.filename}: install it again.")
    return path


def verify(name: str) -> Verification:
    """Recompute the sha256 of a cached backbone; raises BackboneError where it is not there."""
    spec = get_spec(name)
    path = packaged_path(spec) if spec.repo is None else cached_path(name)
    if path is None:
        raise BackboneError(
            f"{spec.name} is not on this machine yet, so there is nothing to verify: "
            "use it once, or download it first."
        )
    # In the cache a file is a link to a blob which is named by its etag: the sha256 of LFS files.
    etag = path.readlink().name if path.is_symlink() else None
    expected, found = _digest_for(spec, path.name, etag), file_sha256(path)
    ok = None if expected is None else found == expected
    return Verification(spec.name, path, found, expected, ok)


def _digest_for(spec: BackboneSpec | None, filename: str, etag: str | None) -> str | None:
    if spec is not None and spec.sha256 is not None and Path(spec.filename).name == filename:
        return spec.sha256
    return etag if etag is not None and _SHA256.fullmatch(etag) else None


def _cached(repo: str, filename: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repo, filename)
    except ValueError as error:  # a name which cannot be a repository
        raise _explain(error, repo, filename) from error
    return Path(found) if isinstance(found, str) else None


def _repo_folder(repo: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def _hub_is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def _progress_bars(shown: bool) -> Iterator[None]:
    from huggingface_hub import utils

    if shown or utils.are_progress_bars_disabled():  # type: ignore[attr-defined]
        yield
        return
    utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        utils.enable_progress_bars()  # type: ignore[attr-defined]


def _discard(pointer: Path) -> None:
    """Remove a cache entry: the link in snapshots and whatever it leads to."""
    chain = [pointer]
    while chain[-1].is_symlink():
        chain.append(chain[-1].parent / chain[-1].readlink())
    for path in chain:
        path.unlink(missing_ok=True)


def _ways_out(repo: str, filename: str) -> str:
    return (
        f"(1) on a machine with a network run `hf download {repo} {filename} --local-dir weights`, "
        "copy the file here and pass --backbone PATH, or (2) pass --backbone embedded, which needs "
        "no download."
    )


def _explain(error: Exception, repo: str, filename: str) -> BackboneError:
    """One sentence for whatever huggingface_hub or its HTTP library raised."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    refused = isinstance(error, (errors.GatedRepoError, errors.RepositoryNotFoundError))
    if refused or status in (401, 403):
        return BackboneError(
            f"the hub refused {repo}/{filename}: the repository does not exist, or its licence "
            f"must be accepted at https://huggingface.co/{repo} and `hf auth login` run once; "
            "--backbone embedded needs neither."
        )
    if isinstance(error, errors.HFValidationError):
        return BackboneError(
            f"{repo!r} is not a hub name: give it as org/repo, or the path of a file that exists."
        )
    local = isinstance(error, errors.LocalEntryNotFoundError)
    if not local and (status == 404 or isinstance(error, errors.EntryNotFoundError)):
        return MissingFileError(
            f"the hub repository {repo} has no file {filename}: check the name at "
            f"https://huggingface.co/{repo}."
        )
    reason = f"the hub answered with status {status}" if status else type(error).__name__
    detail = "" if status else f": {(str(error).splitlines() or [''])[0]}".rstrip(": ")
    return BackboneError(
        f"{repo}/{filename} could not be downloaded ({reason}{detail}): "
        + _ways_out(repo, filename)
    )
