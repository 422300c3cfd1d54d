"""Runs in the Python of an emulated board: the kernels that ONNX Runtime runs for each network named, in their order.

Writes a JSON list for each network to stdout, one a line: [name, operator, shapes of inputs, shapes of outputs] of
every kernel, after ONNX Runtime has optimised the network for the emulated processor.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
import onnxruntime

SUFFIX = "_kernel_time"


def shapes(listed):
    return [shape for each in listed for shape in each.values()]


def kernels(network):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    with TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        dtype = {"tensor(float)": numpy.float32, "tensor(uint8)": numpy.uint8}[given.type]
        shape = [size if isinstance(size, int) else 1 for size in given.shape]
        session.run(None, {given.name: numpy.zeros(shape, dtype)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found = []
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(SUFFIX):
            told = event["args"]
            place = shapes(told["input_type_shape"]), shapes(told["output_type_shape"])
            found.append([event["name"].removesuffix(SUFFIX), told["op_name"], *place])
    return found


for path in sys.argv[1:]:
    sys.stdout.write(json.dumps(kernels(path)) + "\n")
