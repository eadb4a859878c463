"""Published probes: features by head, and a logistic regression that is asked about clusters it never saw."""

import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from attnent.analysis.intervals import FEWEST
from attnent.detectors import columns, heads

N_FOLDS, N_INNER = 5, 3
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # inverse of the penalty, chosen inside of each fold
_MOST_COMPONENTS = 512  # LapEigvals


class Probe(NamedTuple):
    """Features and how they are fitted."""

    features: Callable[[xr.Dataset], xr.DataArray]  # (response, ...) or, of windows, (response, window, ...)
    penalty: Literal["l1", "l2"] = "l2"
    is_windowed: bool = False  # fitted window by window
    of_keys: bool = False  # needs columns; its features are many, and reduced to principal components first


PROBES = {
    "head_entropy_probe": Probe(heads.head_entropy, penalty="l1"),
    "question_entropy_probe": Probe(heads.question_entropy, penalty="l1"),
    "attention_divergence_probe": Probe(heads.attention_divergence),
    "lookback_probe": Probe(heads.lookback),
    "lookback_windows_probe": Probe(heads.lookback_windows, is_windowed=True),
    "sink_score_probe": Probe(columns.sink_scores, of_keys=True),
    "lap_eigvals_probe": Probe(columns.laplacian_eigenvalues, of_keys=True),
}


def cross_fitted(
    features: Float[np.ndarray, "response ..."],
    is_wrong: Bool[np.ndarray, " response"],
    clusters: Int[np.ndarray, " response"],
    probe: Probe,
    seed: int = 0,
) -> Float[np.ndarray, " response"]:
    """Log-odds of being wrong, each from a regression that saw no response of its cluster.

    NaN where none can be fitted: below FEWEST or N_FOLDS responses of a kind, or where nothing varies. The strength of
    the penalty is chosen by the log loss inside of each fold, clusters whole there too. Windows, (response, window,
    ...), are fitted one by one, each with the label of its response, whose score is their mean.
    """
    scores = np.full(len(features), np.nan)
    if min(is_wrong.sum(), (~is_wrong).sum()) < max(FEWEST, N_FOLDS) or len(np.unique(clusters)) < 2 * N_FOLDS:
        return scores
    rows, of_response = _rows(features, is_windowed=probe.is_windowed)
    if not (np.nanmin(rows, axis=0, initial=np.inf) < np.nanmax(rows, axis=0, initial=-np.inf)).any():
        return scores  # nothing varies
    labels, groups = is_wrong[of_response], clusters[of_response]
    of_rows = np.full(len(rows), np.nan)
    for seen, asked in _folds(N_FOLDS, labels, groups, seed):
        model = _fitted(probe, rows[seen], labels[seen], groups[seen], seed)
        of_rows[asked] = model.decision_function(rows[asked]) if model else np.nan
    sums = np.bincount(of_response, of_rows, minlength=len(features))
    counts = np.bincount(of_response, minlength=len(features))
    return np.divide(sums, counts, out=scores, where=counts > 0)


def _rows(features: Float[np.ndarray, "response ..."], *, is_windowed: bool) -> tuple[np.ndarray, np.ndarray]:
    """A row a response, or a window that has any number, and the response of each row."""
    if not is_windowed:
        return features.reshape(len(features), -1), np.arange(len(features))
    windows = features.reshape(*features.shape[:2], -1)
    response, window = np.nonzero(~np.isnan(windows).all(axis=-1))
    return windows[response, window], response


def _folds(n: int, labels: np.ndarray, groups: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(labels, labels, groups))


def _fitted(probe: Probe, rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> GridSearchCV | None:
    folds = _folds(N_INNER, labels, groups, seed)
    if any(len(np.unique(labels[part])) < 2 for fold in folds for part in fold):
        return None
    search = GridSearchCV(
        _pipeline(probe, len(rows), rows.shape[1], seed),
        {"logisticregression__C": _STRENGTHS},
        scoring="neg_log_loss",
        cv=folds,
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty that does not end loses by its loss
        return search.fit(rows, labels)


def _pipeline(probe: Probe, n_rows: int, n_columns: int, seed: int) -> Pipeline:
    steps = [SimpleImputer(keep_empty_features=True), VarianceThreshold(), StandardScaler()]
    if probe.of_keys:
        n_fewest = n_rows * (N_INNER - 1) // N_INNER - 1  # of the inner folds
        steps.append(PCA(max(1, min(_MOST_COMPONENTS, n_columns, n_fewest // 2)), random_state=seed))
    sparse = {"l1_ratio": 1.0, "solver": "liblinear"} if probe.penalty == "l1" else {}
    return make_pipeline(*steps, LogisticRegression(max_iter=500, random_state=seed, **sparse))
