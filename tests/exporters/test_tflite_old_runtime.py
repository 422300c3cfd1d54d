"""The same files in tflite-runtime 2.14, the interpreter of older boards."""

import numpy as np
import pytest

from pamc.lower import Numerics
from pamc.verify.compare import errors
from pamc_exporters.tflite import exporter
from pamc_exporters.tflite.exporter import FILE
from tests.campaign.old_runtime import old_runtime
from tests.exporters.tflite_tools import int8_of, plans_of
from tests.lower.nets import batch, random_net


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("seed", [0, 1, 2, 4, 7, 9, 21])
def test_outputs_are_those_of_the_new_runtime(seed, kind, tmp_path):
    net = random_net(seed)
    plans = plans_of(net, int8_of(net) if kind == "int8" else Numerics(kind))
    exporter.write(plans, tmp_path, {})
    x = batch(net, 4)
    for task_set, plan in plans.items():
        old = old_runtime().run(tmp_path / FILE, task_set, x)
        new = exporter.open(tmp_path, task_set).run(x)
        for task in new:
            if kind == "int8":
                # Its kernels round halves the other way; later layers pass that on.
                low, high = plan.ranges[plan.graph.outputs[task]]
                assert np.sqrt(np.mean((old[task] - new[task]) ** 2)) < 0.02 * (high - low)
            else:
                assert errors(old[task], new[task])[1] < 1e-5
