"""Training: the fine-tuning loop that merging and pruning share."""

from pamc.train.fit import Recipe, fit, predict, takes_the_machine
from pamc.train.metrics import Target, decided, drop, score
from pamc.train.module import MultitaskModule
from pamc.train.regulariser import Regulariser
from pamc.train.samples import Samples

__all__ = [
    "MultitaskModule",
    "Recipe",
    "Regulariser",
    "Samples",
    "Target",
    "decided",
    "drop",
    "fit",
    "predict",
    "score",
    "takes_the_machine",
]
