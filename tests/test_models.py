"""Loading models: bundled, from a folder, and every way in which it can fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from conftest import bridge_of, random_gpt2, random_task

import acdc_explorer as ax
from acdc_explorer.engine.cache import engine_for
from acdc_explorer.models import Model


def test_models_pass_through_and_bridges_are_wrapped():
    bridge = bridge_of(random_gpt2("2x4"))
    model = ax.load_model(bridge)
    assert isinstance(model, Model)
    assert model.bridge is bridge
    assert ax.load_model(model) is model
    assert model.tokenizer is None
    with pytest.raises(ValueError, match=r"with a fast tokenizer; this model has no tokenizer"):
        ax.load_task("ioi", model)


def test_a_folder_is_loaded_and_searched(tmp_path):
    hf_model = random_gpt2("3x2")
    hf_model.save_pretrained(tmp_path / "folder")
    ax.load_model("mini").tokenizer.save_pretrained(tmp_path / "folder")
    model = ax.load_model(str(tmp_path / "folder"), device="cpu")
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        expected = hf_model(tokens).logits
        torch.testing.assert_close(model.bridge(tokens, prepend_bos=False), expected)
    assert ax.find_circuit(model, random_task(), 0.1).complete


@pytest.mark.slow
def test_a_hugging_face_name_in_the_cache_needs_no_network(tmp_path):
    """A cache as the hub's client lays it out, and a process that may not use the network."""
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / ("a" * 40)
    random_gpt2("2x4").save_pretrained(snapshot)
    ax.load_model("mini").tokenizer.save_pretrained(snapshot)
    refs = tmp_path / "models--someone--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    script = (
        "import acdc_explorer as ax; m = ax.load_model('someone/tiny'); print(m);"
        "print(ax.list_models().to_string())"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert "Model('someone/tiny', 2 layers x 4 heads, 110 edges" in result.stdout
    assert "cached" in result.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mimi", "Did you mean 'mini'"),
        ("someone/no-such-model", "hub cannot be reached"),
    ],
)
def test_without_a_network_a_hub_name_fails_soon(monkeypatch, name, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited for a hub known to be away"))
    with pytest.raises(ConnectionError, match=message):
        ax.load_model(name)


def test_a_hub_that_does_not_answer_is_given_up_on(monkeypatch):
    import huggingface_hub

    answered = threading.Event()
    monkeypatch.setattr("acdc_explorer.models.hub._TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: answered.wait())
    try:
        with pytest.raises(ConnectionError, match="TimeoutError"):
            ax.load_model("someone/slow")
    finally:
        answered.set()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"has no config.json and no \*.safetensors"),
        ({"config.json": "{}"}, r"has no \*.safetensors"),
        ({"config.json": "{}", "model.safetensors": "x"}, "cannot load the model"),
        ({"config.json": "{", "model.safetensors": "x"}, "cannot load the model"),
    ],
)
def test_folders_that_are_no_models(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        ax.load_model(str(tmp_path))


def test_paths_that_are_no_folders(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        ax.load_model(str(tmp_path / "file"))
    with pytest.raises(ValueError, match="does not exist"):
        ax.load_model("./nowhere")
    with pytest.raises(ValueError, match="got int"):
        ax.load_model(3)


def test_the_list_of_models():
    models = ax.list_models().set_index("model")
    assert models.loc["mini", "source"] == "bundled"
    assert models.loc["mini", "n_edges"] == 1519


def test_engines_are_kept_for_the_last_tasks():
    model = Model(bridge_of(random_gpt2("2x4")), "m")
    tasks = [random_task(seed) for seed in range(3)]
    engines = [engine_for(model, task) for task in tasks]
    assert engine_for(model, tasks[2]) is engines[2]
    assert engine_for(model, tasks[1]) is engines[1]
    assert engine_for(model, tasks[0]) is not engines[0]
    assert engine_for(model, tasks[0], "zero") is not engine_for(model, tasks[0])
