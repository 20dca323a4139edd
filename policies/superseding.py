"""Who is superseded: of each key only the newest request is of use, as where a user types on."""

from __future__ import annotations

from collections.abc import Sequence


class Newest:
    """The newest request of each key, for a run whose requests have ``keys``, by request."""

    __slots__ = ("_keys", "_newest")

    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = keys
        self._newest: dict[int, int] = {}

    def came(self, requests: Sequence[int]) -> list[int]:
        """These have arrived: those that came before them and are now not the newest of their keys."""
        older = []
        first = requests[0] if requests else 0
        for request in requests:
            before = self._newest.get(self._keys[request])
            self._newest[self._keys[request]] = request
            if before is not None and before < first:
                older.append(before)
        return older

    def holds(self, request: int) -> bool:
        """Whether no other of its key has come since."""
        return self._newest[self._keys[request]] == request
