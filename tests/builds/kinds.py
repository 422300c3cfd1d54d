"""One small project built in every kind of numbers and both formats."""

from __future__ import annotations

from pathlib import Path

from pamc.bundle import Bundle, open_bundle
from tests.builds.project import Net, make_project

__all__ = ["COMPOSED", "EMITTED", "FORMATS", "KINDS", "build_kinds"]

EMITTED, COMPOSED = ("digit", "digit+parity"), "parity"
FORMATS = ("onnx", "tflite")
KINDS = {"none": "float32", "fp16": "float16", "int8": "int8"}


def build_kinds(root: Path) -> dict[str, Bundle]:
    """Bundles by kind; the second and third build find the pruned network of the first in the cache."""
    project = make_project(
        root,
        (Net("digit", 16), Net("parity", 16)),
        data='{train: "data.py:train_without_big", eval: "data.py:evaluate_without_big"}',
        task_sets=f"[{', '.join(EMITTED)}]",
        emit=f"[{', '.join(FORMATS)}]",
        quantize="none",
    )
    made, kind = {}, "none"
    for following in KINDS:
        project.replace("model.yaml", f"quantize: {kind}", f"quantize: {following}")
        kind = following
        path = project.build(project.root / "build" / kind).path
        assert path is not None
        made[kind] = open_bundle(path)
    return made
