"""Running a bundle: `pamc.load(path).run(x, tasks=[...])`."""

from pamc.runtime.load import Runtime, load

__all__ = ["Runtime", "load"]
