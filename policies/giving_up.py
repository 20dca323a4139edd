"""Which stages a request may do without: those before a join that goes on without some of its parents."""

from __future__ import annotations

from collections.abc import Sequence


class JoinWaitsError(ValueError):
    """A branch cannot be done without: the join behind it waits for all its branches."""

    def __init__(self, join: str, branches: int) -> None:
        self.branches = branches
        super().__init__(f"its branch ends in {join}, which waits for all its {branches} branches")


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


def branch_end(
    names: Sequence[str], parents: Sequence[Sequence[str]], partial: Sequence[bool], stage: int
) -> tuple[int, int]:
    """(join, parent): where the branch of a stage ends, and which of the join's parents ends it.

    Raises ValueError where the stage lies on no branch of its own, or the join waits for all branches.
    """
    here = stage
    while True:
        after = [k for k, before in enumerate(parents) if names[here] in before]
        if len(after) != 1:
            what = "no stage comes after it" if not after else f"{len(after)} stages come after it"
            where = "" if here == stage else f" ({names[here]})"
            raise ValueError(f"is on no branch that ends in a join: {what}{where}")
        child = after[0]
        if len(parents[child]) > 1:
            break
        here = child
    if not partial[child]:
        raise JoinWaitsError(names[child], len(parents[child]))
    return child, parents[child].index(names[here])
