"""What is done for a search that has ended, while nothing else is asked for: bit by bit."""

from __future__ import annotations

from collections.abc import Generator

from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.steps import EdgeStep
from acdc_explorer.runner.session import PathSession, SearchSession
from acdc_explorer.runner.state import Trust
from acdc_explorer.runner.work import Work
from acdc_explorer.searches.audit import audit_of, audit_tests
from acdc_explorer.searches.verifying import Verification

_AUDITED = 300
_AUDIT_SEED = 0


class Background:
    """Audits a screened circuit, finds those of other thresholds and attribution's, verifies it."""

    def __init__(self, search: SearchSession, path: PathSession):
        """Begins.

        Args:
            search: that has ended.
            path: of its kind.
        """
        self._trust = TrustSession(search) if search.circuit().n_screened else None
        self._left = [path.finding_path, path.finding_curves]
        if self._trust:
            self._left = [self._trust.audit, *self._left, self._trust.verification]
        self._drop_finished()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return not self._left

    @property
    def trust(self) -> Trust | None:
        """How far the circuit can be trusted; None if no edge of it was screened."""
        return self._trust.trust if self._trust else None

    @property
    def verified(self) -> Circuit | None:
        """The circuit of the search without screening, once it is known."""
        return self._trust.verified if self._trust else None

    def close(self) -> None:
        """Ends what is left but for the work on the path, which may go on."""
        if self._trust:
            self._trust.audit.close()
            self._trust.verification.close()

    def advance(self) -> bool:
        """Does a bit; True if there is something new."""
        return self._left[0].advance() | self._drop_finished()

    def _drop_finished(self) -> bool:
        """Goes on to the next work if one has ended; says whether it has."""
        n_before = len(self._left)
        self._left = [work for work in self._left if not work.finished]
        return len(self._left) < n_before


class TrustSession:
    """Finds out how far a screened circuit can be trusted.

    Attributes:
        trust: what is known by now.
        audit: the work of testing a sample.
        verification: that of testing all.
        verified: the circuit of the search without screening, once it is known.
    """

    def __init__(self, search: SearchSession):
        """Begins with nothing known.

        Args:
            search: that has ended in the circuit.
        """
        self._search, self._circuit = search, search.circuit()
        self.trust = Trust()
        self.audit = Work(self._audit())
        self.verification = Work(self._verify())
        self.verified: Circuit | None = None

    def _audit(self) -> Generator[bool]:
        tests: list[EdgeStep] = []
        for step in audit_tests(self._search.engine, self._circuit, _AUDITED, _AUDIT_SEED):
            tests.append(step)
            yield False
        self.trust = Trust(audit_of(self._circuit, tests))
        yield True

    def _verify(self) -> Generator[bool]:
        search, n_edges = self._search, self._circuit.graph.n_edges
        verification = Verification(search.model.name, search.engine, self._circuit)
        for _ in verification.advance():
            wrong = tuple(verification.wrong)
            # In whole per cent, so that there is something new but now and then.
            trust = Trust(self.trust.audit, 100 * verification.n_decided // n_edges / 100, wrong)
            is_new, self.trust = trust != self.trust, trust
            yield is_new
        self.verified = verification.circuit()
        self.trust = Trust(self.trust.audit, 1.0, tuple(verification.wrong))
        yield True
