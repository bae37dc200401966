"""A search that is made again and again, on other prompts or with other settings."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

from acdc_explorer.arguments import KindOfSearch, SearchOptions, check_options, prepared
from acdc_explorer.circuits.circuit import Circuit
from acdc_explorer.circuits.settings import SearchSettings, parse_threshold
from acdc_explorer.circuits.steps import Step
from acdc_explorer.engine.cache import new_engine
from acdc_explorer.engine.engine import Engine
from acdc_explorer.measures.scores import faithfulness_of
from acdc_explorer.models.model import Model
from acdc_explorer.searches.methods import circuit_of, search_steps
from acdc_explorer.tasks.task import Task


@dataclass(frozen=True)
class RepeatedSearch:
    """What is the same in all the searches.

    Attributes:
        model: that is searched.
        task: that it does.
        threshold: as the user gave it; a per cent is one of each search's own clean metric.
        engine: of the task's own prompts.
        settings: of the search on them.
    """

    model: Model
    task: Task
    threshold: float | str
    engine: Engine
    settings: SearchSettings

    @staticmethod
    def of(
        model: Model, task: Task, threshold: float | str, options: KindOfSearch
    ) -> RepeatedSearch:
        """Turns the arguments of `find_circuit` into a search to repeat.

        Raises:
            ValueError: naming the argument that is wrong and what is allowed.
        """
        one_threshold = "searches are repeated at a threshold, and from the start"
        check_options(options, refused={"top_n": one_threshold, "replay": one_threshold})
        first = prepared(model, task, threshold, SearchOptions(**options))
        return RepeatedSearch(model, task, threshold, first.engine, first.settings)

    def on(self, task: Task) -> tuple[Engine, SearchSettings]:
        """An engine for other prompts, for one use, and the settings of the search on them."""
        engine = new_engine(
            self.model,
            task,
            self.settings.ablation,
            positions=bool(self.engine.graph.labels),
            split_qkv=self.engine.graph.split_qkv,
        )
        value = parse_threshold(self.threshold, engine.full_metric, engine.metric)
        return engine, replace(self.settings, threshold=value)

    def steps(
        self, engine: Engine, settings: SearchSettings, replay: Iterable[Step] = ()
    ) -> Generator[Step, None, Circuit]:
        """Yields a search's steps, and returns its circuit.

        Args:
            engine: to search on.
            settings: of the search.
            replay: the steps of one that differs from this in the threshold alone.
        """
        steps: list[Step] = []
        for step in search_steps(engine, settings, replay):
            steps.append(step)
            yield step
        return circuit_of(self.model.name, engine, settings, steps)

    def faithfulness_of(self, kept: Iterable[str]) -> float:
        """The faithfulness of the circuit of some edges on the task's prompts, as a share."""
        return faithfulness_of(self.engine, self.engine.graph.mask_of(kept))
