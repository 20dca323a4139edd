"""The formats by their names. A new format adds its line here."""

from __future__ import annotations

from configs.servers.base import ServerFormat
from configs.servers.bentoml import BENTOML
from configs.servers.litserve import LITSERVE
from configs.servers.mosec import MOSEC
from configs.servers.ray_serve import RAY_SERVE
from configs.servers.tf_serving import TF_SERVING
from configs.servers.torchserve import TORCHSERVE
from configs.servers.triton import TRITON

FORMATS: dict[str, ServerFormat] = {
    each.name: each
    for each in (TRITON, TF_SERVING, RAY_SERVE, BENTOML, TORCHSERVE, LITSERVE, MOSEC)
}
"""Name to format."""
