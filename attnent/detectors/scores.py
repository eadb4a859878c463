"""All scores of a run, a row a response and a column a detector; what is known of each stands in DETECTORS."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr

from attnent.analysis import difficulty
from attnent.detectors import heads, probes, sampling, tokens
from attnent.detectors.batches import batches
from attnent.runs import Run, RunError

Family = Literal["token", "attention", "attention, trained", "sampling", "confound"]


class Detector(NamedTuple):
    """What a column of scores is."""

    family: Family
    title: str
    source: str = ""  # arXiv number, or where it stands


_OF_TRACES: dict[str, tuple[Callable[[xr.Dataset], xr.DataArray], Detector]] = {
    "mean_token_entropy": (tokens.mean_token_entropy, Detector("token", "mean token entropy", "2005.10608")),
    "max_token_entropy": (tokens.max_token_entropy, Detector("token", "largest token entropy", "2303.08896")),
    "last_token_entropy": (tokens.last_token_entropy, Detector("token", "last token entropy")),
    "mean_token_varentropy": (tokens.mean_token_varentropy, Detector("token", "mean token varentropy", "entropix")),
    "perplexity": (tokens.perplexity, Detector("token", "perplexity")),
    "negative_log_likelihood": (tokens.negative_log_likelihood, Detector("token", "negative log-likelihood")),
    "least_likely_token": (tokens.least_likely_token, Detector("token", "least likely token", "2303.08896")),
    "attention_entropy": (heads.attention_entropy, Detector("attention", "attention entropy")),
    "normalized_attention_entropy": (
        heads.normalized_attention_entropy,
        Detector("attention", "normalized attention entropy"),
    ),
    "attention_varentropy": (heads.attention_varentropy, Detector("attention", "attention varentropy")),
    "sinkless_attention_entropy": (
        heads.sinkless_attention_entropy,
        Detector("attention", "sinkless attention entropy"),
    ),
    "mean_head_entropy": (heads.mean_head_entropy, Detector("attention", "Head Entropy, untrained", "2602.13699")),
    "llm_check": (heads.llm_check, Detector("attention", "LLM-Check attention score", "NeurIPS 2024")),
    "rauq": (heads.rauq, Detector("attention", "RAUQ, alpha 0.2", "2505.20045")),
    "rauq_instruct": (heads.rauq_instruct, Detector("attention", "RAUQ, alpha 0.5", "2505.20045")),
    "sink_mass": (heads.sink_mass, Detector("confound", "sink mass")),
}
_OF_PROBES = {
    "head_entropy_probe": Detector("attention, trained", "Head Entropy", "2602.13699"),
    "question_entropy_probe": Detector("attention, trained", "Head Entropy, question only", "2602.13699"),
    "attention_divergence_probe": Detector("attention, trained", "attention divergence", "2605.05025"),
    "lookback_probe": Detector("attention, trained", "Lookback Lens, span", "2407.07071"),
    "lookback_windows_probe": Detector("attention, trained", "Lookback Lens, windows of 8", "2407.07071"),
    "sink_score_probe": Detector("attention, trained", "sink scores", "2604.10697"),
    "lap_eigvals_probe": Detector("attention, trained", "LapEigvals", "2502.17598"),
}
_OF_OTHERS = {
    "semantic_entropy": Detector("sampling", "semantic entropy, discrete", "Nature 630"),
    "inconsistency": Detector("sampling", "self-inconsistency", "2203.11171"),
    "p_false": Detector("sampling", "1 - P(True)", "2207.05221"),
    "difficulty": Detector("confound", "difficulty, from the prompt alone"),
    "log_popularity": Detector("confound", "popularity (negative)"),
    "n_steps": Detector("confound", "response length"),
    "n_prompt": Detector("confound", "prompt length"),
    "instrument": Detector("attention, trained", "attnent's instrument"),
}
DETECTORS: dict[str, Detector] = {name: about for name, (_, about) in _OF_TRACES.items()} | _OF_PROBES | _OF_OTHERS
PUBLISHED_ATTENTION = [
    name for name, about in DETECTORS.items() if about.family.startswith("attention") and name != "instrument"
]


def titled(table: pd.DataFrame) -> pd.DataFrame:
    """A table of detectors under their titles, with a first column `family`."""
    about = [DETECTORS[name] for name in table.index]
    of = table.set_axis(pd.Index([one.title for one in about], name="detector"))
    of.insert(0, "family", pd.Categorical([one.family for one in about], get_args(Family)))
    return of


class Measured(NamedTuple):
    """What was taken of the traces of a run: `scores`, a row a response, and the features of each probe."""

    scores: pd.DataFrame
    features: dict[str, np.ndarray]  # (response, ...), in the order of `scores`


def measured(run: Run) -> Measured:
    """Every score without training, and the features of the probes, in one reading of the traces.

    Probes that need columns are left out where the run was recorded without them.
    """
    scores: list[pd.DataFrame] = []
    parts: dict[str, list[xr.DataArray]] = {}
    for traces in batches(run):
        of_batch = {name: function(traces) for name, (function, _) in _OF_TRACES.items()}
        of_batch |= {name: traces[name] for name in ("n_steps", "n_prompt")}
        scores.append(pd.DataFrame({name: of.values for name, of in of_batch.items()}, traces["response"].values))
        for name, probe in probes.PROBES.items():
            if not probe.of_keys or "key" in traces.dims:
                parts.setdefault(name, []).append(probe.features(traces).astype(np.float32))
    features = {name: _together(of) for name, of in parts.items() if len(of) == len(scores)}
    return Measured(pd.concat(scores).rename_axis("response_id"), features)


def trained(found: Measured, is_wrong: pd.Series, clusters: pd.Series, seed: int = 0) -> pd.DataFrame:
    """Cross-fitted log-odds of every probe, a row a response of `is_wrong`; both have response ids as their index."""
    places = found.scores.index.get_indexer(is_wrong.index)
    labels, groups = is_wrong.to_numpy(bool), pd.factorize(clusters.loc[is_wrong.index])[0]
    columns = {
        name: probes.cross_fitted(values[places], labels, groups, probes.PROBES[name], seed)
        for name, values in found.features.items()
    }
    return pd.DataFrame(columns, index=is_wrong.index)


def all_scores(
    run: Run,
    is_wrong: pd.Series,
    *,
    cluster: str,
    surface: pd.DataFrame,
    same: sampling.Same | None = None,
    asked: Run | None = None,
) -> pd.DataFrame:
    """Every score that can be had of the responses that `is_wrong` knows (bool, by response_id), a column a detector.

    `cluster` is the column of the responses that belong together; `surface` what a prompt shows, by response_id, which
    difficulty is learned from. `same` says whether two answers mean the same: with it, and where samples were drawn
    (`add_samples`), come the scores of sampling. `asked` is the run of `sampling.asked_whether_true`.
    """
    found = measured(run)
    is_wrong = is_wrong[is_wrong.index.isin(found.scores.index)]
    about = run.responses.set_index("response_id").loc[is_wrong.index]
    columns = found.scores.loc[is_wrong.index].join(trained(found, is_wrong, about[cluster]))
    shown = surface.loc[is_wrong.index]
    columns["difficulty"] = difficulty.predicted(shown, is_wrong, about[cluster])
    if "log_popularity" in shown:
        columns["log_popularity"] = -shown["log_popularity"]
    if same is not None:
        answers = about[["response"]].join(_samples(run))
        columns = columns.join(sampling.of_samples(answers.dropna(), about["question"], same))
    return columns if asked is None else columns.join(sampling.p_false(asked))


def _samples(run: Run) -> pd.DataFrame:
    """The texts of the samples of a run, a row a response and a column a sample; without one that is not whole yet."""
    try:
        labels = run.labels("samples")
    except RunError:
        return pd.DataFrame(index=pd.Index([], name="response_id"))
    return labels.pivot(index="response_id", columns="judge", values="text").dropna(axis="columns")


def _together(parts: list[xr.DataArray]) -> np.ndarray:
    """Parts of several batches, filled up with NaN where responses of one are shorter."""
    shape = np.max([part.shape for part in parts], axis=0)
    fill = [np.pad(part.values, [(0, 0), *((0, n - m) for n, m in zip(shape[1:], part.shape[1:], strict=True))],
                   constant_values=np.nan) for part in parts]  # fmt: skip
    return np.concatenate(fill)
