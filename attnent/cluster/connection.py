"""This process as a driver of a Ray cluster: the one that RAY_ADDRESS names, or one on this machine for as long."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Generator
from typing import NamedTuple

from attnent.store import RunError

ADDRESS = "RAY_ADDRESS"
_TIMES_TO_LOOK, _SECONDS_TO_ANSWER = 3, 1.0


class Cluster(NamedTuple):
    """Where its head listens, and the one of its processes that this machine talks to, as (host, port)."""

    head: tuple[str, int]
    here: tuple[str, int]

    def check(self) -> None:
        """Raise RunError where one of the two is gone; Ray itself would wait for a minute and then end this process."""
        for address in self:
            for _ in range(_TIMES_TO_LOOK):
                if _listens(address):
                    break
                time.sleep(_SECONDS_TO_ANSWER)
            else:
                raise RunError(
                    "the Ray cluster is gone (its head does not answer); what was recorded is kept: start it again, "
                    "and the same call goes on"
                )


@contextlib.contextmanager
def joined() -> Generator[Cluster]:
    """Be its driver, unless this process is that already. Raises RunError where there is no Ray or no cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise RunError("workers need Ray: pip install 'attnent[ray]'") from error
    is_mine = not ray.is_initialized()
    if is_mine:
        address = os.environ.get(ADDRESS) or "local"
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "/" not in host and not _listens((host, int(port))):  # Ray would try for a minute
            raise RunError(f"no Ray cluster answers at {address}; start it, or see to {ADDRESS}")
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            wants_token = "AuthToken" in f"{error.__cause__ or error}"
            reason = "it wants a token: set RAY_AUTH_MODE=token, as where it was started" if wants_token else error
            raise RunError(f"the Ray cluster {address!r} cannot be joined ({reason})") from error
    try:
        yield _cluster()
    finally:
        if is_mine:
            ray.shutdown()


def _cluster() -> Cluster:
    import ray

    context = ray.get_runtime_context()
    head, port = context.gcs_address.rsplit(":", 1)
    here = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    return Cluster((head, int(port)), (here["NodeManagerAddress"], here["NodeManagerPort"]))


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=_SECONDS_TO_ANSWER).close()
    except OSError:
        return False
    return True
