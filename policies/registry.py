"""The shipped policies by the name that YAML gives them. A new policy adds its line here."""

from __future__ import annotations

from policies.contract import Policy
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.load_adaptive import LoadAdaptive

POLICIES: dict[str, type[Policy]] = {
    policy.kind: policy
    for policy in (
        Immediate,
        Fixed,
        LoadAdaptive,
    )
}
"""Kind to class."""
