"""The shipped policies by the name that YAML gives them. A new policy adds its line here."""

from __future__ import annotations

from policies.bentoml import BentoMl
from policies.clipper import Clipper
from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.litserve import LitServe
from policies.load_adaptive import LoadAdaptive
from policies.mosec import Mosec
from policies.ray_serve import RayServe
from policies.tf_serving import TfServing
from policies.torchserve import TorchServe
from policies.triton import Triton

POLICIES: dict[str, type[Policy]] = {
    policy.kind: policy
    for policy in (
        Immediate,
        Fixed,
        LoadAdaptive,
        Triton,
        TfServing,
        RayServe,
        Mosec,
        LitServe,
        TorchServe,
        BentoMl,
        Clipper,
    )
}
"""Kind to class."""
