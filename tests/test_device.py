"""What a search would do on a GPU, told on any machine (`device_counts.py`)."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest
import torch
from conftest import bridge_of, mostly_slow, random_gpt2, random_model, random_task
from device_counts import DeviceCounts, MixedDevicesError
from fuzz import Case, bridges, task_of
from torch import Tensor

import acdc_explorer as ax
from acdc_explorer.circuits.settings import SearchSettings
from acdc_explorer.engine.edge_trials import EdgeTrials
from acdc_explorer.engine.engine import Engine
from acdc_explorer.engine.prompt_slices import SlicedTrials
from acdc_explorer.models import Model, linear
from acdc_explorer.models.bridge import extract_weights
from acdc_explorer.options import ATTRIBUTIONS
from acdc_explorer.searches.attribution import edge_scores
from acdc_explorer.searches.methods import search_steps


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """OneDNN is for CPUs alone."""
    monkeypatch.setattr(linear, "_by_onednn", lambda x, n_out: False)


def tensors_of(task) -> list[Tensor]:
    """A task's are on the host."""
    values = [getattr(task, field.name) for field in fields(task)]
    of_positions = task.positions.values() if task.positions else ()
    return [each for each in (*values, *of_positions) if isinstance(each, Tensor)]


class Chains:
    """Counts only while chains of trials are computed."""

    def __init__(self, monkeypatch, counts: DeviceCounts):
        self.n, self.operators, self.copies = 0, Counter(), Counter()
        values = SlicedTrials._values

        def counted(trials, *given):
            operators, copies = Counter(counts.operators), Counter(counts.copies)
            result = values(trials, *given)
            self.n += 1
            self.operators += counts.operators - operators
            self.copies += counts.copies - copies
            return result

        monkeypatch.setattr(SlicedTrials, "_values", counted)


# Operators for each chain, on average, with some room: 69 and 62 when they were counted.
AT_MOST = {"mini": 72, "llama": 66}


@pytest.mark.parametrize("name", list(AT_MOST))
def test_a_chain_reads_back_once_and_sends_nothing(name, monkeypatch):
    if name == "mini":
        model, task = ax.load_model("mini"), ax.load_task("ioi", "mini", n_prompts=16)
    else:
        case = Case.of(0, model="llama", n_prompts=5)
        model, task = Model(bridge_of(random_model("llama")), "llama"), task_of(case)
    engine = Engine(model.weights, task)
    settings = SearchSettings(0.01 * abs(engine.full_metric), "1%")
    # What is made once, at the first use.
    list(search_steps(engine, settings))
    counts = DeviceCounts()
    chains = Chains(monkeypatch, counts)
    with counts:
        steps = list(search_steps(engine, settings))
    assert len(steps) > 50
    assert chains.n > 10
    assert not chains.copies
    assert counts.read_backs.total() <= chains.n + 2, counts.read_backs
    per_chain = chains.operators.total() / chains.n
    assert per_chain < AT_MOST[name], chains.operators.most_common(12)


@pytest.mark.parametrize("seed", mostly_slow(range(24), 0, 1, 2))
def test_nothing_on_the_host_meets_the_device(seed):
    case = Case.of(seed, metric="logit_diff")
    engine = None
    task = task_of(case)
    weights = extract_weights(bridges(case.model)[0])
    with DeviceCounts(*tensors_of(task)) as counts:
        engine = Engine(
            weights, task, case.ablation, positions=case.positions, split_qkv=case.split_qkv,
            slice_size=case.slice_size,
        )  # fmt: skip
        settings = SearchSettings(
            0.1, "0.1", method=case.method, rule=case.rule, order=case.order,
            ablation=case.ablation, screen=0.3 if case.method == "acdc" else 0.0,
        )  # fmt: skip
        assert list(search_steps(engine, settings))
    assert counts.operators.total() > 100


@pytest.mark.parametrize("method", ["acdc", "path_patching"])
@pytest.mark.parametrize("fitting", [1, 3])
def test_chains_that_do_not_fit_are_halved(method, fitting, monkeypatch):
    engine = Engine(extract_weights(bridge_of(random_gpt2("2x4"))), random_task())
    settings = SearchSettings(0.1, "0.1", method=method)
    expected = list(search_steps(engine, settings))
    metric_of, refused = EdgeTrials._metric_of, []

    def with_little_memory(trials, chain):
        if len(chain) > fitting:
            refused.append(len(chain))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return metric_of(trials, chain)

    monkeypatch.setattr(EdgeTrials, "_metric_of", with_little_memory)
    found = list(search_steps(engine, settings))
    assert refused
    # Once it is known what fits, nothing longer is tried.
    assert len(refused) < 8
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert getattr(one, "kept", None) == getattr(other, "kept", None)


@pytest.mark.parametrize("method", ["acdc", "path_patching"])
def test_where_not_one_edge_fits_that_is_said(method, monkeypatch):
    engine = Engine(extract_weights(bridge_of(random_gpt2("2x4"))), random_task())

    def without_memory(trials, chain):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(EdgeTrials, "_metric_of", without_memory)
    with pytest.raises(torch.OutOfMemoryError):
        list(search_steps(engine, SearchSettings(0.1, "0.1", method=method)))


def test_what_mixes_devices_is_found():
    on_device = torch.ones(3)
    with DeviceCounts() as counts:
        assert (on_device * 2).sum().item() == 6
        with pytest.raises(MixedDevicesError, match="mul takes tensors of the device and of the"):
            on_device * torch.arange(3)
        assert torch.equal(on_device * torch.arange(3).to(on_device), torch.arange(3.0))
        on_device[[0, 2]]
        on_device[on_device > 0] = on_device * 3
        on_device[:1] = torch.zeros(1)
        assert f"{on_device[1]:.0f}" == "3"
        assert on_device.to("cpu").tolist() == [0, 3, 3]
        torch.argwhere(on_device)
    assert counts.read_backs.total() == 6
    assert counts.copies.total() == 3
    assert counts.operators["mul"] == 3


def test_threads_may_share_the_runs_of_an_engine():
    """Though each lets go of what does not fit, and another goes on with it."""
    engine = Engine(extract_weights(bridge_of(random_gpt2("2x4"))), random_task(), slice_size=1)
    every = range(len(engine.graph.senders))
    expected = [runs.deltas(every, runs.sets.changed) for runs in engine.slices]
    wrong = []

    def ask():
        for _ in range(30):
            for runs, right in zip(engine.slices, expected, strict=True):
                if not torch.equal(runs.deltas(every, runs.sets.changed), right):
                    wrong.append(runs)
                engine.leave(runs)

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(ask) for _ in range(3)]:
            future.result()
    assert not wrong


@pytest.mark.parametrize("method", ATTRIBUTIONS)
@pytest.mark.parametrize("kind", ["2x4", "gemma2"])
def test_nothing_on_the_host_meets_the_device_in_attribution(kind, method):
    case = Case.of(0, model=kind, n_prompts=3)
    task, weights = task_of(case), extract_weights(bridges(kind)[0])
    with DeviceCounts(*tensors_of(task)) as counts:
        assert edge_scores(Engine(weights, task), method).any()
    assert counts.operators.total() > 100
