"""The shipped policies, admissions, degradations and merge rules by the names that YAML gives them. A new
one adds its line here.
"""

from __future__ import annotations

from policies.admission import Admission
from policies.bentoml import BentoMl
from policies.cadence import Cadence
from policies.clipper import Clipper
from policies.clockwork import Clockwork
from policies.contract import Policy
from policies.control_limit import ControlLimit
from policies.degrade import Degrade
from policies.fixed import Fixed
from policies.hysteresis import Hysteresis
from policies.immediate import Immediate
from policies.litserve import LitServe
from policies.load_adaptive import LoadAdaptive
from policies.merge import Merge
from policies.merge_concat import Concat
from policies.merge_function import FunctionMerge
from policies.merge_logit_mean import LogitMean
from policies.merge_mean import Mean
from policies.merge_mmr import Mmr
from policies.merge_rrf import Rrf
from policies.merge_side_by_side import SideBySide
from policies.merge_top_k import TopK
from policies.merge_weighted import Weighted
from policies.merge_zip import Zip
from policies.mosec import Mosec
from policies.nexus import Nexus
from policies.predicted_lateness import PredictedLateness
from policies.ray_serve import RayServe
from policies.smdp import Smdp
from policies.symphony import Symphony
from policies.tf_serving import TfServing
from policies.token_bucket import TokenBucket
from policies.torchserve import TorchServe
from policies.triton import Triton

POLICIES: dict[str, type[Policy]] = {
    policy.kind: policy
    for policy in (
        Immediate,
        Fixed,
        LoadAdaptive,
        Cadence,
        Triton,
        TfServing,
        RayServe,
        Mosec,
        LitServe,
        TorchServe,
        BentoMl,
        Clipper,
        Nexus,
        Symphony,
        Clockwork,
        ControlLimit,
        Smdp,
    )
}
"""Kind to class."""

MERGES: dict[str, type[Merge]] = {
    merge.kind: merge
    for merge in (
        SideBySide,
        Zip,
        Concat,
        TopK,
        Weighted,
        Rrf,
        Mmr,
        Mean,
        LogitMean,
        FunctionMerge,
    )
}
"""Kind to class."""

ADMISSIONS: dict[str, type[Admission]] = {
    admission.kind: admission for admission in (TokenBucket, PredictedLateness)
}
"""Kind to class."""

DEGRADES: dict[str, type[Degrade]] = {degrade.kind: degrade for degrade in (Hysteresis,)}
"""Kind to class."""
