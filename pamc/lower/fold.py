"""Which groups run as one operation: fewer operations of whole tiles against links that hold zeros.

Per task set every space may tell only some of the tasks apart (:func:`pamc.graph.select`): all of them, which is one
operation a group; none, which is one operation a layer; or some. Descent over the spaces finds the choice of least
estimated time. The weights of a fold are those of the task sets that fold alike, so a fold also takes place in the
files: the price of a byte rises until all folds of all task sets stay within the allowance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pamc.graph import MultitaskGraph, Node
from pamc.graph.cost import cost
from pamc.lower.cost_model import Costs
from pamc.lower.fold_prices import BYTES, Choice, FoldPrices, State
from pamc.spec import FOLD_BYTES

__all__ = ["ALLOWANCE", "choose_folding"]

ALLOWANCE = 0.03

WORTH = 0.02
"""A fold must save this part of a task set's estimated time: less is within the error of the estimate."""

STARTS = 3
STEPS = 64
FACTOR = 1.5


def _loss(prices: FoldPrices, nodes: Iterable[Node], state: State, per_byte: float) -> float:
    found = [prices.price(node, state) for node in nodes]
    return sum(price.seconds + per_byte * sum(price.added.values()) for price in found)


def _descend(prices: FoldPrices, start: State, per_byte: float) -> dict[str, Choice]:
    state = dict(start)
    for _ in range(len(prices.folds) + 1):
        before = dict(state)
        for space, options in prices.choices.items():
            nodes = prices.touching[space]
            # The first of equal ones: fewer folds.
            state[space] = min(options, key=lambda choice: _loss(prices, nodes, {**state, space: choice}, per_byte))
        if state == before:
            break
    return state


def _best(prices: FoldPrices, per_byte: float) -> dict[str, Choice]:
    """The state of least time, with a price per byte of weights that it adds; no folds if it saves too little."""

    def loss(state: State) -> float:
        return _loss(prices, prices.nodes, state, per_byte)

    plain = prices.uniform(0)
    starts = sorted((prices.uniform(choice) for choice in range(len(prices.kept))), key=loss)[:STARTS]
    found = min((_descend(prices, start, per_byte) for start in [plain, *starts]), key=loss)
    return found if prices.seconds(found) <= (1 - WORTH) * prices.seconds(plain) else plain


def _chances(workload: Mapping[int, float] | None, requests: Sequence[int]) -> dict[int, float]:
    """Weights of the task sets; those that nobody asks for count as a fraction of the rarest other."""
    given = {request: (workload or {}).get(request, 0.0) for request in requests}
    rarest = min((chance for chance in given.values() if chance > 0), default=1.0)
    return {request: chance or rarest / FACTOR for request, chance in given.items()}


def choose_folding(
    net: MultitaskGraph,
    requests: Sequence[int],
    costs: Costs,
    workload: Mapping[int, float] | None = None,
    fold_bytes: int = FOLD_BYTES,
) -> dict[int, dict[str, int]]:
    """What to fold for each of ``requests``, in the form of :func:`pamc.graph.select`.

    The weights that folds add stay under 3 % of those of all tasks, or all weights under ``fold_bytes``. ``workload``
    says which task sets deserve them most; without it all do alike. ``net`` is compact and without batch norms.
    """
    tables = {request: FoldPrices(net, request, costs) for request in requests}
    weights = BYTES * cost(net, net.everyone).params
    allowed = max(ALLOWANCE * weights, fold_bytes - weights)
    chances = _chances(workload, requests)
    longest = max(table.seconds(table.uniform(0)) for table in tables.values())

    def chosen(step: int) -> dict[int, dict[str, Choice]]:
        # From a byte that costs nothing to one that no time is worth.
        per_byte = longest * FACTOR ** (step - STEPS) * max(chances.values()) if step else 0.0
        return {request: _best(table, per_byte / chances[request]) for request, table in tables.items()}

    def fits(states: Mapping[int, State]) -> bool:
        added = {key: size for request, state in states.items() for key, size in tables[request].added(state).items()}
        return sum(added.values()) <= allowed

    low, high, found = 0, STEPS + 1, {request: table.uniform(0) for request, table in tables.items()}
    while low < high:
        middle = (low + high) // 2 if low else 0
        states = chosen(middle)
        if fits(states):
            high, found = middle, states
        else:
            low = middle + 1
    # A fold reaches through many spaces, so what is left of the allowance may still do for some task sets.
    free = {request: _best(table, 0.0) for request, table in tables.items()}
    gains = {
        request: chances[request] * (table.seconds(found[request]) - table.seconds(free[request]))
        for request, table in tables.items()
    }
    for request in sorted(gains, key=lambda request: -gains[request]):
        more = {**found, request: free[request]}
        if gains[request] > 0 and fits(more):
            found = more
    return {
        request: {space: tables[request].kept[choice] for space, choice in state.items() if choice}
        for request, state in found.items()
    }
