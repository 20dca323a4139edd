"""From interactions to a weights folder, in one call."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from executors.recommender.data import Interactions
from executors.recommender.evaluation import Evaluation, evaluation_from_json
from executors.recommender.fitting import Progress
from executors.recommender.folder import FORMAT, WeightsError, check_target, read_metadata
from executors.recommender.generated import generate_interactions
from executors.recommender.movielens import load_movielens
from executors.recommender.training import Hyperparameters, train_cascade
from executors.recommender.weights import load, save


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Where the weights are and what they are worth."""

    path: Path
    evaluation: Evaluation
    reused: bool
    """True where the folder held the weights already."""
    elapsed_s: float


def interactions_of(source: Path | None, seed: int) -> Interactions:
    """A MovieLens folder's interactions, or generated ones where there is none; raises DataError."""
    return generate_interactions(seed) if source is None else load_movielens(source)


def train(
    interactions: Path | None,
    out: Path,
    seed: int,
    progress: Progress | None = None,
    settings: Hyperparameters | None = None,
) -> TrainingResult:
    """Train on ``interactions`` (None: generated ones) and write the weights folder ``out``.

    Raises DataError for bad interactions, WeightsError where ``out`` cannot be written.
    """
    begun = time.monotonic()
    settings = settings or Hyperparameters()
    return _train(interactions_of(interactions, seed), out, seed, progress, settings, begun)


def train_or_reuse(
    interactions: Path | None,
    out: Path,
    seed: int,
    progress: Progress | None = None,
    settings: Hyperparameters | None = None,
) -> TrainingResult:
    """Like :func:`train`, but weights in ``out`` that training would only make again are kept."""
    begun = time.monotonic()
    settings = settings or Hyperparameters()
    data = interactions_of(interactions, seed)
    if _holds(out, fingerprint(data, settings, seed)):
        evaluation = evaluation_from_json(dict(read_metadata(out).evaluation))
        return TrainingResult(out, evaluation, reused=True, elapsed_s=time.monotonic() - begun)
    return _train(data, out, seed, progress, settings, begun)


def fingerprint(interactions: Interactions, settings: Hyperparameters, seed: int) -> str:
    """A SHA-256 of all that decides the weights, and of the format that they are kept in."""
    parts = {
        "format": FORMAT,
        "data": interactions.fingerprint(),
        "settings": settings.to_json(),
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _holds(folder: Path, wanted: str) -> bool:
    """Whether the folder holds these weights whole: damaged ones are trained again."""
    try:
        return load(folder).fingerprint == wanted
    except WeightsError:
        return False


def _train(
    data: Interactions,
    out: Path,
    seed: int,
    progress: Progress | None,
    settings: Hyperparameters,
    begun: float,
) -> TrainingResult:
    check_target(out)
    trained = train_cascade(data, seed, settings, progress)
    save(out, trained, data, fingerprint(data, settings, seed))
    elapsed_s = time.monotonic() - begun
    return TrainingResult(out, trained.evaluation, reused=False, elapsed_s=elapsed_s)
