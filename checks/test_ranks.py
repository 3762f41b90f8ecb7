"""A training on two processes, recorded by the first: real steps, its bits, and nobody waits for the other."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import two_ranks
from torch import distributed


@pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="torch without gloo")
def test_the_first_of_two_ranks_records(tmp_path):
    subprocess.run([sys.executable, two_ranks.__file__, tmp_path], check=True, timeout=300)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["places"] == second["places"] == first["bare"] == second["bare"]  # as without a recorder, on both
    assert first["losses"] != second["losses"]
    assert first["step"] == list(range(two_ranks.STEPS + 1))
    assert first["position"] == first["places"]
    own = np.reshape(first["losses"], (-1, two_ranks.TURNS)).mean(axis=1)  # what the first rank's criterion gave
    assert first["batch_loss"][:-1] == pytest.approx(own, rel=1e-6)
    assert first["labels"][0] == "0.weight[0,0]"  # without module.
    assert np.isfinite(first["loss"]).all()
    assert "position" not in second
