"""What a Scrubber is given: traces, grades, error spans, and the responses among which they are usual."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attnent.runs import Run, RunError
from attnent.show.scrubber.packing import ScrubberError
from attnent.store.folders import model_name
from attnent.trace import CANDIDATES, STEP_NUMBERS

_SPAN = ["response_id", "token_start", "token_stop", "judge", "kind", "explanation"]
_VARIABLES = {"entropy", *STEP_NUMBERS, *CANDIDATES, "token", "layer_kind", "n_keys"}

Source = Run | xr.Dataset | Sequence[xr.Dataset] | Sequence[Run] | Mapping[str, xr.Dataset] | Mapping[str, Run]


class Given(NamedTuple):
    """Traces by their ids, and what is known of them.

    A Run is read one response at a time: together they may be more than the memory holds.
    """

    traces: Iterable[tuple[str, xr.Dataset]]
    trace: Callable[[str], xr.Dataset]
    examples: list[xr.Dataset]  # that have among them all that any has
    n_steps: dict[str, int]
    grades: dict[str, str]
    errors: pd.DataFrame | None
    tokens: pd.DataFrame | None  # as `Run.tokens`


def given(source: Source) -> Given:
    """What is to be shown. Raises ScrubberError where that is nothing, or no Trace."""
    if isinstance(source, Run):
        return _of_run(source)
    source = [source] if isinstance(source, xr.Dataset) else source
    named: dict[Any, Any] = dict(source) if isinstance(source, Mapping) else dict(enumerate(source))
    if named and all(isinstance(one, Run) for one in named.values()):
        return _of_runs(dict(zip(_names(named), named.values(), strict=True)))
    traces = {str(id_): _whole(str(id_), trace) for id_, trace in named.items()}
    if not traces:
        raise _nothing()
    n_steps = {id_: trace.sizes["step"] for id_, trace in traces.items()}
    return Given(traces.items(), traces.__getitem__, [*traces.values()], n_steps, {}, None, None)


def _of_run(run: Run) -> Given:
    examples = [trace for _, trace in islice(run.traces(), 1)]
    if not examples:
        raise _nothing()
    n_steps = run.responses.set_index("response_id")["n_steps"].to_dict()
    traces = ((id_, trace) for id_, trace in run.traces() if id_ in n_steps)  # more may be recorded just now
    return Given(traces, run.trace, examples, n_steps, _grades_of(run), _labels_of(run, "errors", _SPAN), run.tokens)


def _names(runs: Mapping[Any, Run]) -> Iterator[str]:
    """What each is called beside the others: its key, or its model, and where that is not enough the folder."""
    models = [model_name(str(run.manifest["identity"].get("model", ""))) for run in runs.values()]
    for (key, run), model in zip(runs.items(), models, strict=True):
        yield key if isinstance(key, str) else model if models.count(model) == 1 else f"{model} {run.folder.name}"


def _of_runs(runs: Mapping[str, Run]) -> Given:
    """Several Runs in one; a response is called by its own id and the name of its Run."""
    parts = {name: _of_run(run) for name, run in runs.items()}
    places = {_within(name, id_): (one, id_) for name, one in parts.items() for id_ in one.n_steps}
    known = [(name, one.errors, one.tokens) for name, one in parts.items()]
    return Given(
        chain.from_iterable(((_within(name, id_), trace) for id_, trace in one.traces) for name, one in parts.items()),
        lambda id_: places[id_][0].trace(places[id_][1]),
        [trace for one in parts.values() for trace in one.examples],
        {id_: one.n_steps[own] for id_, (one, own) in places.items()},
        {id_: one.grades[own] for id_, (one, own) in places.items() if own in one.grades},
        pd.concat([_renamed(errors, name) for name, errors, _ in known if errors is not None], ignore_index=True),
        None,
    )


def _within(name: str, id_: str) -> str:
    return f"{id_} · {name}"


def _renamed(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table.assign(response_id=table["response_id"].astype(str).map(partial(_within, name)))


def _nothing() -> ScrubberError:
    return ScrubberError("there are no responses to show; give at least one Trace, or a Run that has recorded some")


def _whole(id_: str, trace: Any) -> xr.Dataset:
    if not isinstance(trace, xr.Dataset):
        kind = type(trace).__name__
        raise ScrubberError(f"a Scrubber shows Runs or Traces, not {kind}; give what `ae.generate` gave")
    if lacking := ", ".join(sorted(_VARIABLES - set(trace.variables))):
        raise ScrubberError(f"response {id_!r} is not a whole Trace, it lacks {lacking}; give Traces")
    return trace


def _labels_of(run: Run, name: str, columns: list[str]) -> pd.DataFrame:
    try:
        return run.labels(name).reindex(columns=columns)
    except RunError:  # nobody has given any
        return pd.DataFrame(columns=columns)


def _grades_of(run: Run) -> dict[str, str]:
    """The grade of each response; where judges disagree, what each of them said."""
    graded = _labels_of(run, "grades", ["response_id", "grade"]).dropna().groupby("response_id")["grade"]
    return {str(id_): " / ".join(dict.fromkeys(map(str, said))) for id_, said in graded}


def checked_grades(grades: Mapping[str, object] | pd.Series, ids: Iterable[str]) -> dict[str, str]:
    """Grades by response id, "" where one is missing. Raises ScrubberError where none is of a response shown."""
    known = {str(id_): "" if pd.isna(grade) else str(grade) for id_, grade in grades.items()}
    if known and not set(known) & set(ids):
        raise ScrubberError(f"none of the grades is of a response shown; their ids should be {listed(ids)}")
    return known


def spans_by_response(errors: pd.DataFrame | None, n_steps: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The spans of each response: start, stop, and what is said of it. Raises ScrubberError for one outside."""
    spans: dict[str, list[dict[str, Any]]] = {id_: [] for id_ in n_steps}
    if errors is None:
        return spans
    if lacking := set(_SPAN[:3]) - set(errors.columns):
        raise ScrubberError(f"the errors lack the column {' and '.join(sorted(lacking))}")
    for id_, start, stop, *said in errors.reindex(columns=_SPAN).dropna(subset=_SPAN[1:3]).itertuples(index=False):
        if (n := n_steps.get(str(id_))) is None:
            continue  # a response that is not shown
        if not 0 <= start < stop <= n:
            raise ScrubberError(f"the error span {start} to {stop} of response {id_!r} lies outside its {n} steps")
        texts = ("" if pd.isna(text) else str(text) for text in said)
        place = {"start": int(start), "stop": int(stop)}
        spans[str(id_)].append(place | dict(zip(_SPAN[3:], texts, strict=True)))
    return spans


def listed(names: Iterable[Any]) -> str:
    """At most eight names, and how many more there are."""
    names = [str(name) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
