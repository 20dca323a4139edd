"""The kinds of model, made known to the configuration by importing this module. Needs no torch."""

from __future__ import annotations

from configs.kinds import register
from executors.exported import ExportedSource
from executors.factory import FactorySource
from executors.recommender.source import RecommenderSource
from executors.synthetic import MlpSource

for _source in (RecommenderSource, MlpSource, FactorySource, ExportedSource):
    register("model", _source)
