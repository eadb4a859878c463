"""How likely a row of features is right: learned, chosen and calibrated without a look at what it is tested on.

Within the rows given, folds that split no cluster choose between straight and bent models and calibrate the chosen one
on rows that it did not see. Knows nothing of traces: rows in, a `Frozen` out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from attnent.analysis import FEWEST
from attnent.detectors.frozen import ConfidenceError, Frozen, Space, Trees

N_FOLDS = 5  # the outer ones, for what is reported
N_INNER_FOLDS = 3  # to choose and to calibrate
N_COMPONENTS = (4, 16, 64)  # of the features of heads
N_COMPONENTS_OF_TREES = 16
N_TREES = 80
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression: the smaller, the stronger
Model = LogisticRegression | GradientBoostingClassifier


class Candidate(NamedTuple):
    """What may be learned: logistic regression with an L2 penalty, or boosted trees where there is none."""

    n_components: int
    penalty: float | None

    def __str__(self) -> str:
        kind = "boosted trees" if self.penalty is None else f"logistic regression (C = {self.penalty:g})"
        return f"{kind} on {self.n_components} components"

    def seen_of(self, coordinates: Float[np.ndarray, "row coordinate"], n: int) -> Float[np.ndarray, "row _"]:
        """Its own components of the `n`, and the other features."""
        return np.concatenate([coordinates[:, : self.n_components], coordinates[:, n:]], axis=1)

    def fitted(
        self,
        coordinates: Float[np.ndarray, "row coordinate"],
        is_right: Bool[np.ndarray, " row"],
        weights: Float[np.ndarray, " row"],
        seed: int,
    ) -> Model:
        model: Model
        if self.penalty is None:
            shape = {"max_depth": 3, "min_samples_leaf": FEWEST, "subsample": 0.5, "max_features": "sqrt"}
            model = GradientBoostingClassifier(n_estimators=N_TREES, random_state=seed, **shape)
        else:
            model = LogisticRegression(C=self.penalty, solver="newton-cholesky")
        return model.fit(coordinates, is_right, sample_weight=weights / weights.mean())


class Rows(NamedTuple):
    """What is learned from: answers, or tokens."""

    features: Float32[np.ndarray, "row feature"]
    n_of_heads: int  # how many features, the first ones, are projected to components
    is_right: Bool[np.ndarray, " row"]
    clusters: Int[np.ndarray, " row"]
    fold: Int[np.ndarray, " row"]  # the outer one, in which the row is left out
    weights: Float[np.ndarray, " row"]  # how many rows each stands for

    def only(self, kept: Bool[np.ndarray, " row"]) -> "Rows":
        """Some of the rows."""
        arrays = {name: array[kept] for name, array in self._asdict().items() if name != "n_of_heads"}
        return self._replace(**arrays)


class Fits(NamedTuple):
    """What was learned without each outer fold, and from all rows."""

    without: list[Frozen]
    of_all: Frozen
    chosen: str  # the candidate, of all rows

    def predict_left_out(
        self, features: Float32[np.ndarray, "row feature"], fold: Int[np.ndarray, " row"]
    ) -> Float[np.ndarray, " row"]:
        """Of each row what was learned without its fold says."""
        said = np.empty(len(features))
        for k, fitted in enumerate(self.without):
            said[fold == k] = fitted.predict(features[fold == k])
        return said


def fits(rows: Rows, seed: int) -> Fits:
    """Learn without each outer fold, choosing and calibrating anew, and from all rows. Raises ConfidenceError."""
    without = [learned(rows.only(rows.fold != k), seed)[0] for k in range(N_FOLDS)]
    return Fits(without, *learned(rows, seed))


def learned(rows: Rows, seed: int) -> tuple[Frozen, str]:
    """The candidate of least log loss in inner folds, calibrated on their left-out rows, fitted to all rows given.

    And its name. Raises ConfidenceError where a class stands in too few clusters.
    """
    values, is_right, weights = rows.features.astype(np.float64), rows.is_right, rows.weights
    fold = folds(is_right, rows.clusters, N_INNER_FOLDS, seed)
    n_components = min(max(N_COMPONENTS), rows.n_of_heads, *(int(np.sum(fold != k)) for k in range(N_INNER_FOLDS)))
    margins = {candidate: np.empty(len(values)) for candidate in _candidates(n_components)}
    for k in range(N_INNER_FOLDS):
        seen = fold != k
        space = _space(values[seen], rows.n_of_heads, n_components, seed)
        known, new = space.reduced(values[seen]), space.reduced(values[~seen])
        for candidate, margin in margins.items():
            model = candidate.fitted(candidate.seen_of(known, n_components), is_right[seen], weights[seen], seed)
            margin[~seen] = model.decision_function(candidate.seen_of(new, n_components))
    best = min(margins, key=lambda candidate: _log_loss(margins[candidate], is_right, weights))
    space = _space(values, rows.n_of_heads, best.n_components, seed)
    model = best.fitted(space.reduced(values), is_right, weights, seed)
    return frozen(space, model, *calibrated(margins[best], is_right, weights)), str(best)


def folds(
    is_right: Bool[np.ndarray, " row"], clusters: Int[np.ndarray, " row"], n: int, seed: int
) -> Int[np.ndarray, " row"]:
    """The number of the fold in which each row is left out: one for all rows of a cluster. Raises ConfidenceError."""
    if min(len(np.unique(clusters[is_right == kind])) for kind in (True, False)) < n:
        raise ConfidenceError(f"right or wrong ones stand in fewer than {n} clusters; give more runs to learn from")
    fold = np.zeros(len(is_right), int)
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    for k, (_, left_out) in enumerate(splitter.split(np.zeros(len(is_right)), is_right, clusters)):
        fold[left_out] = k
    if any(len(np.unique(is_right[fold != k])) < 2 for k in range(n)):
        raise ConfidenceError("right or wrong ones stand in too few clusters to be left out; give more runs")
    return fold


def calibrated(
    margins: Float[np.ndarray, " row"], is_right: Bool[np.ndarray, " row"], weights: Float[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, " knot"], Float[np.ndarray, " knot"]]:
    """The margins and probabilities between which a calibration draws straight lines.

    Isotonic regression, each level stretch of it put at its mean margin, so that between them no two margins are as
    likely (centered isotonic regression; Oron and Flournoy 2017, doi:10.1080/19466315.2017.1286256). One more wrong
    row of the highest margin and one more right row of the lowest are added: nothing is certain.
    """
    margins = np.append(margins, [margins.max(), margins.min()])
    is_right, weights = np.append(is_right, [False, True]), np.append(weights, [1.0, 1.0])
    levels = IsotonicRegression().fit_transform(margins, is_right, sample_weight=weights)
    probabilities, stretch = np.unique(levels, return_inverse=True)
    return np.bincount(stretch, weights * margins) / np.bincount(stretch, weights), probabilities


def drawn(
    is_right: Bool[np.ndarray, " row"], n_most: int, seed: int
) -> tuple[Int[np.ndarray, " drawn"], Float[np.ndarray, " drawn"]]:
    """At most so many rows, as even between right and wrong as may be, and how many rows each of them stands for."""
    random, taken, weights = np.random.default_rng(seed), [], []
    kinds = sorted((np.flatnonzero(is_right), np.flatnonzero(~is_right)), key=len)
    for rows, n in zip(kinds, (n_most // 2, n_most - min(n_most // 2, len(kinds[0]))), strict=True):
        taken.append(rows if len(rows) <= n else random.choice(rows, n, replace=False))
        weights.append(np.full(len(taken[-1]), len(rows) / max(len(taken[-1]), 1)))
    order = np.argsort(np.concatenate(taken))
    return np.concatenate(taken)[order], np.concatenate(weights)[order]


def frozen(
    space: Space, model: Model, margins: Float[np.ndarray, " knot"], probabilities: Float[np.ndarray, " knot"]
) -> Frozen:
    """A fitted model as plain arrays."""
    n_coordinates = space.projection.shape[1] + len(space.centre) - len(space.projection)
    if isinstance(model, LogisticRegression):
        return Frozen(space, np.asarray(model.intercept_[0]), model.coef_[0], _trees([], 0.0), margins, probabilities)
    trees = _trees([tree.tree_ for tree in model.estimators_[:, 0]], model.learning_rate)
    anywhere = np.zeros((1, n_coordinates))
    start = np.asarray((model.decision_function(anywhere) - trees.sum(anywhere))[0])
    return Frozen(space, start, np.zeros(n_coordinates), trees, margins, probabilities)


def _trees(grown: list, learning_rate: float) -> Trees:
    n_nodes = max((tree.node_count for tree in grown), default=1)
    trees = Trees(*(np.zeros((len(grown), n_nodes), kind) for kind in (int, float, int, int, float)))
    for place, tree in enumerate(grown):
        is_leaf, here = tree.children_left < 0, np.arange(tree.node_count)
        trees.feature[place, here] = np.where(is_leaf, 0, tree.feature)
        trees.threshold[place, here] = tree.threshold
        trees.left[place, here] = np.where(is_leaf, here, tree.children_left)
        trees.right[place, here] = np.where(is_leaf, here, tree.children_right)
        trees.value[place, here] = learning_rate * tree.value[:, 0, 0]
    return trees


def _space(features: Float[np.ndarray, "row feature"], n_of_heads: int, n_components: int, seed: int) -> Space:
    with np.errstate(invalid="ignore", divide="ignore"):  # of features that are never known, or never vary
        scaler = StandardScaler().fit(features)
        centre, scale = (np.asarray(values) for values in (scaler.mean_, scaler.scale_))
        space = Space(np.nan_to_num(centre), np.nan_to_num(scale, nan=1.0), np.zeros((n_of_heads, 0)))
        pca = PCA(n_components, svd_solver="randomized", random_state=seed)
        pca.fit(space.standard(features)[:, :n_of_heads])
    return space._replace(projection=np.ascontiguousarray(pca.components_.T))


def _candidates(n_most: int) -> list[Candidate]:
    straight = [Candidate(min(n, n_most), penalty) for n in N_COMPONENTS for penalty in PENALTIES]
    return list(dict.fromkeys([*straight, Candidate(min(N_COMPONENTS_OF_TREES, n_most), None)]))


def _log_loss(
    margins: Float[np.ndarray, " row"], is_right: Bool[np.ndarray, " row"], weights: Float[np.ndarray, " row"]
) -> float:
    return float(np.average(np.logaddexp(0, np.where(is_right, -margins, margins)), weights=weights))
