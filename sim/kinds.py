"""Makes the simulator's kinds known to the configuration when imported: one line a kind."""

from __future__ import annotations

from configs.kinds import register
from sim.arrivals.closed import Closed
from sim.arrivals.constant import Constant
from sim.arrivals.counts import Counts
from sim.arrivals.diurnal import Diurnal
from sim.arrivals.gamma import Gamma
from sim.arrivals.mmpp import Mmpp
from sim.arrivals.poisson import Poisson
from sim.arrivals.trace import Trace
from sim.arrivals.windows import Windows
from sim.items.choice import Choice
from sim.items.column import Column
from sim.items.constant import Constant as ConstantItems
from sim.items.geometric import Geometric
from sim.items.lognormal import Lognormal as LognormalItems
from sim.items.uniform import Uniform
from sim.keys.column import KeyColumn
from sim.keys.uniform import UniformKeys
from sim.keys.zipf import Zipf
from sim.service.affine import Affine
from sim.service.deterministic import Deterministic
from sim.service.empirical import Empirical
from sim.service.exponential import Exponential
from sim.service.gamma import Gamma as GammaService
from sim.service.lognormal import Lognormal as LognormalService
from sim.service.profile import Profile
from sim.service.published import PublishedTimes
from sim.service.table import Table

ARRIVALS = (Poisson, Constant, Gamma, Mmpp, Diurnal, Trace, Counts, Windows, Closed)
ITEMS = (ConstantItems, Uniform, LognormalItems, Geometric, Choice, Column)
KEYS = (Zipf, UniformKeys, KeyColumn)
SERVICE = (
    Deterministic,
    Exponential,
    LognormalService,
    GammaService,
    Affine,
    Table,
    Empirical,
    Profile,
    PublishedTimes,
)

for _family, _classes in (
    ("arrivals", ARRIVALS),
    ("items", ITEMS),
    ("keys", KEYS),
    ("service", SERVICE),
):
    for _cls in _classes:
        register(_family, _cls)
