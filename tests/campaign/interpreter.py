"""tflite-runtime 2.14 on the other end of a pipe. Run by the Python of a virtual environment that has nothing else.

Each line on standard input is a JSON object: ``model``, ``signature``, ``input`` (an .npy file with a batch) and
``output`` (the .npz file to write). Each line of the answer is ``ok``, or what went wrong.
"""

import json
import sys

import numpy as np
from tflite_runtime.interpreter import Interpreter


def serve() -> None:
    held = {}
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            if asked["model"] not in held:
                held = {asked["model"]: Interpreter(model_path=asked["model"], num_threads=1)}
            runner = held[asked["model"]].get_signature_runner(asked["signature"])
            (name,) = runner.get_input_details()
            rows = [runner(**{name: sample[None]}) for sample in np.load(asked["input"])]
            np.savez(asked["output"], **{key: np.concatenate([row[key] for row in rows]) for key in rows[0]})
            answer = "ok"
        except Exception as error:
            answer = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
