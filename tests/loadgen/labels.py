"""What a trial answered, for the gate."""

from __future__ import annotations


class Labels(list[str]):
    """The trial's label of each request."""

    def same(self, request: int, label: str | None) -> bool:
        """Compare."""
        return self[request] == label
