"""What is wrong with a table of prompts, gathered so that it can be told all at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

_SHOWN = 10
# One row can have a hundred answers, all faulty.
_SHOWN_OF_ROW = 5


# Of a fault: the words, or a function that finds them.
Text = str | Callable[[], str]


class Problems:
    """Faults by row.

    Attributes:
        rows: the names of all rows in order, faulty or not.
        n_unseen: how many more rows there are that nobody looked at.
    """

    def __init__(self, rows: Sequence[Hashable], n_unseen: int = 0):
        self.rows = rows
        self.n_unseen = n_unseen
        self._by_row: dict[Hashable, list[Text]] = {row: [] for row in rows}

    def add(self, row: Hashable, text: Text) -> None:
        """Notes a fault of a row.

        Args:
            row: its name.
            text: what is wrong; further lines are shown indented. A function that returns the text,
                where that takes long: it is called only if the text is shown.
        """
        self._by_row[row].append(text)

    @property
    def faulty(self) -> dict[Hashable, list[Text]]:
        """The rows that have a fault, and what was noted of each."""
        return {row: texts for row, texts in self._by_row.items() if texts}

    def raise_if_any(self) -> None:
        """Tells of the first ten faulty rows and counts the others.

        Raises:
            ValueError: if there are any.
        """
        faulty = self.faulty
        if not faulty:
            return
        lines = []
        for row, texts in list(faulty.items())[:_SHOWN]:
            told = [text if isinstance(text, str) else text() for text in texts[:_SHOWN_OF_ROW]]
            indented = [text.replace("\n", "\n    ") for text in told]
            lines += [f"  row {row}: {text}" for text in indented]
            more = len(texts) - _SHOWN_OF_ROW
            if more > 0:
                lines.append(f"  row {row}: and {more} more fault{'s' if more > 1 else ''}")
        hidden = len(faulty) - _SHOWN
        if hidden > 0:
            lines.append(f"  and {hidden} more row{'s' if hidden > 1 else ''}")
        unseen = f" ({self.n_unseen} more were not looked at)" if self.n_unseen else ""
        of = f"{len(faulty)} of {len(self.rows)} prompt{'s' if len(self.rows) > 1 else ''}"
        raise ValueError(f"{of} cannot be used{unseen}:\n" + "\n".join(lines))
