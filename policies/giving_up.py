"""Which stages' work is of no use once a request has gone on from a join without them."""

from __future__ import annotations

from collections.abc import Sequence


def given_up(
    names: Sequence[str], parents: Sequence[Sequence[str]], partial: Sequence[bool]
) -> list[tuple[int, list[int]]]:
    """(join, stages) for each stage that is ``partial``, which may go on without a parent: the stages, by
    index, from which every path leads through it. Stages are in topological order.
    """
    index = {name: k for k, name in enumerate(names)}
    children: list[list[int]] = [[] for _ in names]
    for k, before in enumerate(parents):
        for parent in before:
            children[index[parent]].append(k)
    found = []
    for join in (k for k, may in enumerate(partial) if may):
        through = {join}
        for k in range(join - 1, -1, -1):
            if children[k] and all(child in through for child in children[k]):
                through.add(k)
        found.append((join, sorted(through - {join})))
    return found
