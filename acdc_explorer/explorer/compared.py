"""What the circuit that is shown is compared with, and how the two compare."""

from __future__ import annotations

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.comparison import Comparable, Comparison, compare


class Compared:
    """Remembers another circuit, and the one that was shown before.

    Attributes:
        other: what the shown circuit is compared with; None: nothing, or the one before.
        follows: whether it is compared with the one that was shown before, whichever that is: then
            the comparison is what has changed.
        previous: the finished circuit that was shown before the latest; None: there was none of the
            same edges.
        error: why there is no comparison although one was asked for, in words; may be empty.
    """

    def __init__(self) -> None:
        self.other: Comparable | None = None
        self.follows, self.error = False, ""
        self.previous: Circuit | None = None
        self._latest: Circuit | None = None
        # With what it was made of.
        self._known: tuple[object, object, Comparison | None] = (None, None, None)

    def choose(self, other: Comparable | None, *, follows: bool = False) -> None:
        """Compares with something else from now on.

        Args:
            other: or None.
            follows: whether with the circuit before; then without `other`.
        """
        self.other, self.follows = other, follows

    def comparison(self, circuit: Circuit | None) -> Comparison | None:
        """How a circuit compares, the shown one first.

        Args:
            circuit: that is shown. One whose search has not ended is not compared, since what it
                lacks may still come.
        """
        self.error = ""
        if circuit is None or not circuit.complete:
            return None
        self._see(circuit)
        other = self.previous if self.follows else self.other
        if other is None:
            return None
        if self._known[0] is not circuit or self._known[1] is not other:
            try:
                self._known = circuit, other, compare(circuit, other)
            except ValueError as error:
                self.error = str(error)
                return None
        return self._known[2]

    def _see(self, circuit: Circuit) -> None:
        """Remembers the circuit before, once another set of edges is shown."""
        latest, self._latest = self._latest, circuit
        if latest is None or latest is circuit:
            return
        if latest.graph != circuit.graph:
            self.previous = None
        elif (latest.kept_mask != circuit.kept_mask).any():
            self.previous = latest
