"""pamc: compile several single-task networks into one task-selective multitask network."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pamc.runtime import load

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that `pamc --help` does not pay for numpy and the inference runtimes.
    if name == "load":
        return import_module("pamc.runtime").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
