"""A data set repository of the Hub, read and written at one commit; what fails is said in one sentence."""

import re
import sys
import time
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, tqdm

from attnent.hub import HubError
from attnent.hub.index import INDEX, Content, Index
from attnent.progress import is_headless
from attnent.store.files import DiskFullError, read_sealed, saying_where_full, write_sealed

_SET = "dataset"
_PLACE = re.compile(r"(?!\.)[^/\\\x00-\x1f]{1,200}(?:/(?!\.)[^/\\\x00-\x1f]{1,200})*")
_ATTEMPTS, _OVERTAKEN = 5, (409, 412)  # statuses of a commit where another was quicker
_AGAIN = "run the same command again: what has arrived is kept"


class _Silent(tqdm):
    """No bar: for small files."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs | {"disable": True})


@dataclass
class Repository:
    """`head` is the commit that is read, and upon which the next one is made."""

    api: HfApi
    name: str
    revision: str | None
    head: str

    def places(self, only: str | None) -> list[str]:
        """Where Runs lie, all or those at or below `only`. Raises HubError, also for one that is no relative path."""
        below = (only or "").strip("/") or None
        with in_one_sentence(self.name):
            try:
                tree = self.api.list_repo_tree(self.name, below, recursive=True, revision=self.head, repo_type=_SET)
                paths = [file.path for file in tree]
            except EntryNotFoundError:
                paths = []
        return sorted(check_place(path.removesuffix(f"/{INDEX}")) for path in paths if path.endswith(f"/{INDEX}"))

    def index(self, place: str) -> Index | None:
        """What there is of one Run; None where there is nothing. Raises HubError."""
        with TemporaryDirectory() as folder:
            try:
                return Index.model_validate(read_sealed(self.fetch(f"{place}/{INDEX}", Path(folder), silent=True)))
            except HubError as error:
                if isinstance(error.__cause__, RemoteEntryNotFoundError):
                    return None
                raise
            except ValueError as error:
                raise HubError(
                    f"{INDEX} of {place} in {self.name} is damaged, so that nothing of it is used; pull an earlier "
                    "revision, or push the Run to another repository"
                ) from error

    def read(self, path: str, expected: Content) -> bytes:
        """A small file, which must be what was pushed. Raises HubError."""
        with TemporaryDirectory() as folder:
            content = self.fetch(path, Path(folder), silent=True).read_bytes()
        if Content.of(content) != expected:
            raise HubError(f"{path} of {self.name} is not what was pushed, and nothing of it is kept; push it again")
        return content

    def fetch(self, path: str, folder: Path, *, silent: bool = False) -> Path:
        """Download a file into a folder. Raises HubError, DiskFullError."""
        bar = _Silent if silent else None
        about: dict[str, Any] = {"repo_type": _SET, "revision": self.head, "local_dir": folder, "tqdm_class": bar}
        with in_one_sentence(self.name), saying_where_full(folder), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Not enough free disk space")  # is raised where it comes true
            return Path(self.api.hf_hub_download(self.name, path, **about))

    def commit(self, place: str, files: Mapping[str, bytes | Path], index: Index) -> None:
        """Put files and the index of a Run there, all at once.

        Raises HubError, also where somebody else has changed the same Run since the head that was read.
        """
        with TemporaryDirectory() as folder, in_one_sentence(self.name):
            write_sealed(Path(folder) / INDEX, index.model_dump())
            files = {**files, INDEX: Path(folder) / INDEX}
            operations = [CommitOperationAdd(f"{place}/{name}", content) for name, content in files.items()]
            about: dict[str, Any] = {"repo_type": _SET, "revision": self.revision}
            about["commit_message"] = f"{place}: {len(index.traces)} responses"
            for attempt in range(_ATTEMPTS):
                try:
                    self.head = self.api.create_commit(self.name, operations, **about, parent_commit=self.head).oid
                    return
                except HfHubHTTPError as error:
                    if error.response.status_code not in _OVERTAKEN:
                        raise
                time.sleep(attempt)
                if self._has_changed(place):
                    break
            raise HubError(f"{place} of {self.name} was changed by somebody else in the meantime; {_AGAIN}")

    def _has_changed(self, place: str) -> bool:
        """Move the head to the newest commit, and say whether it holds something else of a Run."""
        before = self.index(place)
        self.head = str(self.api.dataset_info(self.name, revision=self.revision).sha)
        return self.index(place) != before


def open_repository(name: str, revision: str | None) -> Repository:
    """A repository to read from. Raises HubError."""
    with in_one_sentence(name, revision):
        api = HfApi(library_name="attnent")
        return Repository(api, name, revision, str(api.dataset_info(name, revision=revision).sha))


def make_repository(name: str, revision: str | None, *, private: bool) -> Repository:
    """A repository to write to, and its branch `revision`, made where they are not there yet. Raises HubError."""
    with in_one_sentence(name, revision):
        api = HfApi(library_name="attnent")
        api.create_repo(name, repo_type=_SET, private=private or None, exist_ok=True)
        info = api.dataset_info(name)
        if private and not info.private:
            raise HubError(f"{name} is there already and is public; give another name, or make it private on the Hub")
        if revision:
            api.create_branch(name, repo_type=_SET, branch=revision, exist_ok=True)
            info = api.dataset_info(name, revision=revision)
        return Repository(api, name, revision, str(info.sha))


def check_place(place: str) -> str:
    """Raise HubError where a place is not a plain path below a folder."""
    if not _PLACE.fullmatch(place):
        raise HubError(f"{place!r} cannot be the place of a Run; it must be names joined by '/', none with a dot first")
    return place


@contextmanager
def in_one_sentence(name: str, revision: str | None = None) -> Generator[None]:
    """Turn what goes wrong with the Hub into a HubError. What the disk raises passes."""
    if constants.is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set, so that the Hub is not asked; set HF_HUB_OFFLINE=0 to push or pull")
    try:
        if not re.fullmatch("[^/]+/[^/]+", name):
            raise HFValidationError
        with _bars_for_who_watches():
            yield
    except (HubError, DiskFullError):
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise HubError(_sentence(name, revision, error)) from error


@contextmanager
def _bars_for_who_watches() -> Generator[None]:
    """Without huggingface_hub's own progress bars, where nobody watches."""
    quiet = (is_headless() or not sys.stderr.isatty()) and constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    quiet = quiet and not are_progress_bars_disabled()
    if quiet:
        disable_progress_bars()
    try:
        yield
    finally:
        if quiet:
            enable_progress_bars()


def _sentence(name: str, revision: str | None, error: BaseException) -> str:
    cause = next((one for one in _causes(error) if isinstance(one, HTTPError)), error)
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    why = f" ({cause.server_message})" if isinstance(cause, HfHubHTTPError) and cause.server_message else ""
    token = "no token was found" if get_token() is None else "the token that was found does not do"
    log_in = f"{token}: log in with hf auth login, or set HF_TOKEN"
    if isinstance(cause, HFValidationError):
        return f"{name!r} cannot name a repository; give it as user/name"
    if isinstance(cause, RevisionNotFoundError):
        return f"{name} has no revision {revision!r}; give another, or leave it out"
    if isinstance(cause, RepositoryNotFoundError):
        return f"the Hub has no data set {name}, or shows it to those who may see it alone; check the name, or {log_in}"
    if isinstance(cause, RemoteEntryNotFoundError):
        return f"{name} lacks a file that its index names; pull an earlier revision, or push to another repository"
    if status == 401:
        return f"the Hub wants to know who asks for {name}, and {log_in}"
    if status == 403:
        return f"the token that was found does not do for {name}{why}; take one with write access: hf auth login"
    if status:
        return f"the Hub answered {status} for {name}{why}; wait a little, then {_AGAIN}"
    return f"the connection to {constants.ENDPOINT} failed ({type(cause).__name__}); check the network, then {_AGAIN}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
