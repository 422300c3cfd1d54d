"""ONNX Runtime keeps no data base of what pamc runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper
{before}
{start}

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
session = {session}
session.run(None, {{"x": np.ones(1, np.float32)}})
"""
OURS = "from pamc_exporters.onnx.session import start", 'start(model.SerializeToString(), Path("."), 1)'
# As the modules that make tensors or .ort files do.
PLAIN = "import pamc_exporters.onnx, onnxruntime", "onnxruntime.InferenceSession(model.SerializeToString())"


@pytest.mark.parametrize(("asked", "how"), [(False, OURS), (False, PLAIN), (True, OURS)])
def test_onnxruntime_keeps_no_data_base_unless_it_is_asked_to(
    tmp_path: Path, asked: bool, how: tuple[str, str]
) -> None:
    # It keeps quiet in continuous integration by itself.
    environment = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    before = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '0'" if asked else ""
    script = SCRIPT.format(before=before, start=how[0], session=how[1])
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=100)
    assert any("onnxruntime.db" in path.name for path in tmp_path.rglob("*")) == asked
