from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from executors.stage_model import TensorSpec
from executors.synthetic import MlpSource


@given(
    st.integers(1, 40), st.integers(1, 3), st.integers(1, 20), st.integers(1, 30), st.integers(0, 9)
)
def test_a_batch_equals_its_requests_bit_for_bit(
    width: int, depth: int, features: int, batch: int, seed: int
) -> None:
    source = MlpSource(width=width, depth=depth, features=features, seed=seed)
    model = source.load("cpu", None)
    inputs = torch.from_numpy(source.sample_inputs(np.random.default_rng(seed), batch)["features"])
    with torch.inference_mode():
        together = model({"features": inputs})["features"]
        alone = torch.cat([model({"features": row[None]})["features"] for row in inputs])
    assert together.shape == (batch, features)
    assert torch.equal(together, alone)


def test_the_seed_draws_the_weights_and_leaves_torch_alone() -> None:
    state = torch.get_rng_state()
    inputs = {"features": torch.ones(1, 64)}
    found = [MlpSource(seed=seed).load("cpu", None)(inputs)["features"] for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_stages_of_this_kind_follow_each_other() -> None:
    model = MlpSource(features=8).load("cpu", None)
    assert model.inputs == model.outputs == {"features": TensorSpec((8,), "float32")}
