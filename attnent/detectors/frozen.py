"""A fitted classifier as plain arrays, predicted with numpy alone; and the one file that several are kept in.

Knows nothing of scikit-learn, which fitted it, nor of traces.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from attnent.store.files import checksum, write_whole

FORMAT = "1"
_KIND = "attnent confidence"


class ConfidenceError(ValueError):
    """A confidence that cannot be fitted, read or used; the message says what to do."""


class Space(NamedTuple):
    """Features made comparable and few: x' = (x - centre) / scale, 0 for NaN; then the first ones projected."""

    centre: Float[np.ndarray, " feature"]
    scale: Float[np.ndarray, " feature"]
    projection: Float[np.ndarray, "wide component"]  # of the first `wide` features; the others stay as they are

    def standard(self, features: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row feature"]:
        """Features with mean 0 and variance 1 where they were fitted; what is not known is the mean."""
        standard = (features - self.centre) / self.scale
        return np.nan_to_num(standard, copy=False)

    def reduced(self, features: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row coordinate"]:
        """The components of the first features, then the other features."""
        standard, n_wide = self.standard(features), len(self.projection)
        return np.concatenate([standard[:, :n_wide] @ self.projection, standard[:, n_wide:]], axis=1)


class Trees(NamedTuple):
    """Binary trees of as many nodes each: left where coordinate `feature` is at most `threshold`, else right.

    A leaf leads to itself, so that after as many moves as the deepest tree has levels each row is at its leaf.
    """

    feature: Int[np.ndarray, "tree node"]
    threshold: Float[np.ndarray, "tree node"]
    left: Int[np.ndarray, "tree node"]
    right: Int[np.ndarray, "tree node"]
    value: Float[np.ndarray, "tree node"]

    def sum(self, coordinates: Float[np.ndarray, "row coordinate"]) -> Float[np.ndarray, " row"]:
        """The values of the leaves that a row arrives at, over all trees; compared in float32, as they were grown."""
        rows, tree = np.arange(len(coordinates))[:, None], np.arange(len(self.feature))
        values, node = coordinates.astype(np.float32), np.zeros((len(coordinates), len(self.feature)), np.int64)
        while True:
            goes_left = values[rows, self.feature[tree, node]] <= self.threshold[tree, node]
            after = np.where(goes_left, self.left[tree, node], self.right[tree, node])
            if np.array_equal(after, node):
                return self.value[tree, node].sum(axis=1)
            node = after


class Frozen(NamedTuple):
    """A classifier: margin = intercept + weight . x' + trees(x'), and the probability that its margin stands for."""

    space: Space
    intercept: Float[np.ndarray, ""]
    weight: Float[np.ndarray, " coordinate"]
    trees: Trees  # none of a linear one
    margins: Float[np.ndarray, " knot"]  # rising
    probabilities: Float[np.ndarray, " knot"]  # at these margins; straight lines between, level beyond

    def margin(self, features: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, " row"]:
        """Log-odds, as they were learned and before they are calibrated."""
        coordinates = self.space.reduced(features)
        return self.intercept + coordinates @ self.weight + self.trees.sum(coordinates)

    def predict(self, features: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, " row"]:
        """Calibrated probabilities, each of one row of features."""
        return np.interp(self.margin(features), self.margins, self.probabilities)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it is, by name."""
        own = {name: value for name, value in self._asdict().items() if name not in ("space", "trees")}
        return own | self.space._asdict() | self.trees._asdict()

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Frozen":
        """What `arrays` gave, whole again."""
        space = Space(**{name: arrays[name] for name in Space._fields})
        trees = Trees(**{name: arrays[name] for name in Trees._fields})
        own = {name: arrays[name] for name in cls._fields if name not in ("space", "trees")}
        return cls(space=space, trees=trees, **own)


# ---- files


def write(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays and what is said about them as one safetensors file, whole or not at all. Raises OSError."""
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(about, allow_nan=False)
    seal = {"kind": _KIND, "format": FORMAT, "about": text, "checksum": _checksum(kept, text)}
    write_whole(path, save(kept, metadata=seal))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `write` wrote. Raises ConfidenceError, naming the file, where it is missing, damaged or something else."""
    if not path.is_file():
        raise ConfidenceError(f"there is no confidence file {path}; fit_confidence(runs).save(path) makes one")
    try:
        with safe_open(path, framework="numpy") as file:
            seal = file.metadata() or {}
            _check(path, seal)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ConfidenceError(f"{path} is damaged or no confidence file ({error}); fit and save it again") from error
    if seal.get("checksum") != _checksum(arrays, seal.get("about", "")):
        raise ConfidenceError(f"the confidence file {path} is damaged (changed since it was written); fit it again")
    return arrays, json.loads(seal["about"])


def _check(path: Path, seal: Mapping[str, str]) -> None:
    if seal.get("kind") != _KIND:
        raise ConfidenceError(f"{path} is no confidence file; give one that Confidence.save wrote")
    if seal.get("format") != FORMAT:
        raise ConfidenceError(
            f"{path} was written by another version of attnent (format {seal.get('format')}, here {FORMAT}); "
            "open it with that one, or fit and save it again"
        )


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    parts = [f"{name} {arrays[name].dtype} {arrays[name].shape}".encode() for name in sorted(arrays)]
    return checksum(b"\0".join([text.encode(), *parts, *(arrays[name].tobytes() for name in sorted(arrays))]))
