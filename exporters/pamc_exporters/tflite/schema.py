"""LiteRT's schema and interpreter, imported when they are first needed."""

from __future__ import annotations

from typing import Any

from pamc.errors import ConfigError

__all__ = ["flatbuffers", "interpreter", "schema"]


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"the format 'tflite' needs packages that are not installed: {error}", cure='pip install "pamc[tflite]"'
    )


def schema() -> Any:
    """The module of LiteRT's flatbuffer classes. Raises ConfigError when it is not installed."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise _missing(error) from error
    return schema_py_generated


def flatbuffers() -> Any:
    """The flatbuffers package. Raises ConfigError when it is not installed."""
    try:
        import flatbuffers as package
    except ImportError as error:
        raise _missing(error) from error
    return package


def interpreter() -> Any:
    """The module of LiteRT's interpreter. Raises ConfigError when it is not installed."""
    try:
        from ai_edge_litert import interpreter as module
    except ImportError as error:
        raise _missing(error) from error
    return module
