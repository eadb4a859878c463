"""How likely a response is to be wrong, told from its prompt alone: many columns made one number, difficulty."""

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.ensemble import GradientBoostingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PowerTransformer

from attnent.analysis.intervals import FEWEST, StatsError

N_FOLDS = 5


def predicted(
    features: pd.DataFrame, is_hard: pd.Series, clusters: pd.Series | None = None, *, seed: int = 0
) -> pd.Series:
    """Cross-fitted log-odds of being wrong, by response: each from a model that saw no response of its cluster.

    `features` has a row a response and a column a number or a bool, NaN where it is not known; `is_hard` says which
    responses were wrong and `clusters` which belong together (None: every response its own), both with its index. NaN
    throughout where a class has fewer than FEWEST responses, or stands in too few clusters to be left out in turn.
    Raises StatsError for tables that do not match and for columns that are no numbers.
    """
    _check(features, is_hard, clusters)
    difficulty = pd.Series(np.nan, index=features.index, name="difficulty")
    groups = np.arange(len(features)) if clusters is None else pd.factorize(clusters)[0]
    labels = is_hard.to_numpy(int)
    n_folds = min(N_FOLDS, groups.max(initial=-1) + 1)
    if features.empty or n_folds < 2 or np.bincount(labels, minlength=2).min() < FEWEST:
        return difficulty
    values = features.to_numpy(float)
    folds = list(StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(values, labels, groups))
    if any(len(np.unique(labels[seen])) < 2 for seen, _ in folds):
        return difficulty
    chances = cross_val_predict(_model(seed), values, labels, cv=folds, method="predict_proba")
    difficulty[:] = logit(chances[:, 1])
    return difficulty


def added(responses: pd.DataFrame, features: pd.DataFrame, is_hard: pd.Series, cluster: str) -> pd.DataFrame:
    """The response table with a column `difficulty`: what is `predicted` for the responses that `is_hard` knows.

    `features` and `is_hard` are indexed by response_id; `cluster` is a column of `responses`.
    """
    of = features.index[features.index.isin(is_hard.index)]
    clusters = responses.set_index("response_id")[cluster].loc[of]
    difficulty = predicted(features.loc[of], is_hard.loc[of], clusters)
    return responses.assign(difficulty=responses["response_id"].map(difficulty))


def _model(seed: int) -> Pipeline:
    """The mean of a logistic regression, for what is straight, and boosted trees, for what is bent or interacts."""
    straight = LogisticRegression()
    bent = GradientBoostingClassifier(max_depth=2, subsample=0.5, min_samples_leaf=FEWEST, random_state=seed)
    both = VotingClassifier([("straight", straight), ("bent", bent)], voting="soft")
    known = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return make_pipeline(known, PowerTransformer(), both)


def _check(features: pd.DataFrame, is_hard: pd.Series, clusters: pd.Series | None) -> None:
    for name, other in (("is_hard", is_hard), ("clusters", clusters)):
        if other is not None and not other.index.equals(features.index):
            raise StatsError(f"features and {name} have different indexes; give {name} by the responses of features")
    if is_hard.dtype != bool:
        raise StatsError(f"is_hard holds {is_hard.dtype}; say of every response whether it was wrong, True or False")
    if clusters is not None and clusters.isna().any():
        raise StatsError(f"{clusters.isna().sum()} responses have no cluster; give each one")
    texts = features.select_dtypes(exclude=["number", "bool"]).columns
    if len(texts):
        raise StatsError(
            f"the columns {', '.join(map(str, texts))} are no numbers; make each value a column of 0 and 1"
        )
    if np.isinf(features.to_numpy(float)).any():
        raise StatsError("features hold infinite numbers; leave them out, or give NaN for what is not known")
