"""Tasks: examples to ask a model, and grades for its responses. One file a task, no model and no torch here.

Each task module has `load(source, *, n, seed, ...)`, which gives a table with a row an example, and grades what came
back.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

MOST_NAMED = 20
ASK_HUB_SECONDS = 5.0


class TaskError(ValueError):
    """A request that a task cannot fulfil; the message says what to do."""


def text_ids(prefix: str, texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Unique ids and group keys made from texts, so the same text has the same id whatever file it came from.

    An id is `prefix-` and 12 hexadecimal digits, safe as a file name; the second example with the same text has `-2`
    after it. The group is the id without that ending, so equal texts stay in one fold.
    """
    groups = [f"{prefix}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]}" for text in texts]
    seen: Counter[str] = Counter()
    ids = []
    for group in groups:
        seen[group] += 1
        ids.append(group if seen[group] == 1 else f"{group}-{seen[group]}")
    return ids, groups


def choose(frame: pd.DataFrame, n: int, *, seed: int, what: str) -> pd.DataFrame:
    """The first `n` rows after a shuffle by `seed`; the rows for a smaller `n` are the beginning of those for a larger.

    Rows are sorted by the hash of seed and id: the order depends neither on the order of the file nor on the platform.
    """
    if not 1 <= n <= len(frame):
        raise TaskError(f"n is {n}, but there are {len(frame)} {what}; pass n between 1 and {len(frame)}")
    keys = [hashlib.sha256(f"{seed} {identity}".encode()).hexdigest() for identity in frame["id"]]
    order = sorted(range(len(keys)), key=keys.__getitem__)[:n]
    return frame.iloc[order].reset_index(drop=True)


def local_file(source: str | Path, *, names: Sequence[str], instead: str) -> Path:
    """The path of a local source; raises when it is neither a file nor one of the `names` that were tried before."""
    path = Path(source)
    if path.is_file():
        return path
    raise TaskError(f"unknown source {str(source)!r}: pass {', '.join(map(repr, names))} or the path of {instead}")


def from_hub(dataset: str, *, config: str | None, split: str, instead: str) -> pd.DataFrame:
    """One split of a Hub data set as a table; `instead` names the local file to pass when the Hub cannot be reached."""
    import datasets

    try:
        return pd.DataFrame(datasets.load_dataset(dataset, config, split=split).to_dict())
    except Exception as error:  # whatever the network, the Hub or its cache raises, the user's way out is the same
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise TaskError(
            f"the data set {dataset} cannot be loaded ({reason}); pass as source the path of {instead}"
        ) from error


def source_of(source: str, model: str, *, dataset: str, offline: str, too_hard_for: Collection[str] = ()) -> str:
    """What a notebook's source "auto" means for a model; any other source is itself.

    The bundled model is asked about its world, "tiny"; every other is given the data set of the Hub, "hub", or what
    comes with this package, `offline`, where the Hub does not give it or the model is among those it is too hard for.
    """
    if source != "auto":
        return source
    if model == "tiny":
        return "tiny"
    return offline if model in too_hard_for or not _given_by_hub(dataset) else "hub"


def _given_by_hub(dataset: str) -> bool:
    """Whether a data set of the Hub has been fetched, or can be."""
    from datasets.config import HF_DATASETS_CACHE
    from huggingface_hub import HfApi

    if (Path(HF_DATASETS_CACHE) / dataset.replace("/", "___")).is_dir():
        return True
    try:
        HfApi().dataset_info(dataset, timeout=ASK_HUB_SECONDS)
    except Exception:  # no network, no such server, an answer that is none: all the same here
        return False
    return True


def from_world(
    ask: Callable[..., Sequence[Any]], n: int, seed: int, columns: dict[str, str], *, what: str
) -> pd.DataFrame:
    """What the bundled world gives, a row each; `columns` says which attribute each column holds."""
    from attnent.tiny.world import WorldError

    if n < 1:
        raise TaskError(f"n is {n}; pass at least 1")
    try:
        given = ask(n, seed=seed)
    except WorldError as error:
        raise TaskError(f"the bundled world cannot give n={n} {what}: {error}") from error
    return pd.DataFrame({column: [getattr(one, name) for one in given] for column, name in columns.items()})


def refuse(bad: Iterable[str], what_they_are: str) -> None:
    """Raise when there is anything bad, with how much, and the first MOST_NAMED of it."""
    if named := list(bad):
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        raise TaskError(f"{len(named)} {what_they_are}; correct or remove them: {', '.join(named[:MOST_NAMED])}{more}")


def need_columns(frame: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    """Raise when a table lacks columns."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        found = ", ".join(map(repr, frame.columns)) or "none"
        raise TaskError(f"{where} lacks the columns {', '.join(map(repr, missing))}; found {found}: rename or add them")
