"""Small random models and tasks on which effects are real, shared by all tests."""

from __future__ import annotations

import copy
import os
import time

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of several processes that wait for one another's turn are many times slower. Before
    # torch is imported, and for the programs that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from acdc_explorer.tasks.task import Task

# (layers, heads, d_model, d_mlp): wide and shallow, deep and narrow, one head.
SHAPES = {"2x4": (2, 4, 32, 48), "3x2": (3, 2, 16, 64), "4x1": (4, 1, 24, 24)}
VOCAB, CONTEXT = 40, 16


def random_gpt2(shape: str, seed: int = 0):
    """A Hugging Face GPT-2 with weights and biases large enough that every edge matters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, heads, d_model, d_mlp = SHAPES[shape]
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=CONTEXT,
        n_embd=d_model,
        n_layer=layers,
        n_head=heads,
        n_inner=d_mlp,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    _shake(model)
    return model


# By the name of a kind of model: its Hugging Face classes and what is peculiar to it. Windows are
# shorter than the prompts, so that they matter.
GROUPED = {"num_key_value_heads": 2}
MIXED = ["sliding_attention", "full_attention"]
KINDS: dict[str, tuple[str, dict]] = {
    "gpt_neo": (
        "GPTNeo",
        {"attention_types": [[["global", "local"], 1]], "window_size": 4, "num_layers": 2,
         "num_heads": 4, "intermediate_size": 48},
    ),
    "gpt_neox": ("GPTNeoX", {"rotary_pct": 0.25}),
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}),
    "llama": ("Llama", GROUPED),
    "mistral": ("Mistral", {**GROUPED, "sliding_window": 4}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen3": ("Qwen3", {**GROUPED, "head_dim": 8}),
    "gemma": ("Gemma", {**GROUPED, "head_dim": 8}),
    "phi": ("Phi", {}),
    # Caps that bend scores and logits, and a base of local positions that differs from the other.
    "gemma2": (
        "Gemma2",
        {**GROUPED, "head_dim": 8, "sliding_window": 4, "attn_logit_softcapping": 3.0,
         "final_logit_softcapping": 4.0, "query_pre_attn_scalar": 5},
    ),
    "gemma3": ("Gemma3", {**GROUPED, "head_dim": 8, "sliding_window": 4, "layer_types": MIXED}),
    "olmo2": ("Olmo2", GROUPED),
    "olmo3": ("Olmo3", {**GROUPED, "sliding_window": 4, "layer_types": MIXED}),
}  # fmt: skip


def random_model(kind: str, seed: int = 0, **changes):
    """A Hugging Face model of a kind, 2 layers x 4 heads, with weights large enough to matter."""
    import transformers

    name, options = KINDS[kind]
    config_name = "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config"
    config = getattr(transformers, config_name)(
        **{
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": CONTEXT,
            "initializer_range": 0.3,
            **options,
            **changes,
        }
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    _shake(model)
    return model


def _shake(model) -> None:
    """Makes biases and norms other than zero and one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name or "ln_" in name:
                parameter += 0.2 * torch.randn_like(parameter)


def ungrouped(hf_model):
    """The same function with keys and values for every query head, their weights repeated."""
    config = copy.deepcopy(hf_model.config)
    shared = getattr(config, "num_key_value_heads", None)
    if shared in (None, config.num_attention_heads):
        return hf_model
    repeats = config.num_attention_heads // shared
    config.num_key_value_heads = config.num_attention_heads
    model = type(hf_model)(config).eval()
    state = {}
    for name, value in hf_model.state_dict().items():
        if ".k_proj." in name or ".v_proj." in name:
            heads = value.unflatten(0, (shared, -1))
            value = heads.repeat_interleave(repeats, 0).flatten(0, 1)
        if name.endswith("k_norm.weight") and value.shape != model.get_parameter(name).shape:
            # Of all heads in a row.
            value = value.unflatten(0, (shared, -1)).repeat_interleave(repeats, 0).flatten()
        state[name] = value
    model.load_state_dict(state)
    return model


def attention_only(dtype=torch.float32):
    """A random attention-only model of TransformerLens's own making, 2 layers x 3 heads."""
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(
        d_model=24, d_head=8, n_heads=3, n_layers=2, n_ctx=CONTEXT, d_vocab=VOCAB, attn_only=True,
        normalization_type="LN", act_fn="gelu", seed=0, device="cpu",
    )  # fmt: skip
    bridge = TransformerBridge.boot_native(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return bridge.to(dtype)


def bridge_of(hf_model, dtype=torch.float32):
    """A TransformerBridge around a copy of a Hugging Face model, since booting changes it."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    hf_copy = copy.deepcopy(hf_model).to(dtype)
    name = type(hf_copy).__name__
    return build_bridge_from_module(hf_copy, name, hf_config=hf_copy.config).eval()


def assert_logits_equal_transformers(hf_model) -> None:
    """The engine's logits against the original model's, longer than any window."""
    from acdc_explorer.models.bridge import extract_weights
    from acdc_explorer.models.forward import run

    weights = extract_weights(bridge_of(hf_model))
    tokens = torch.randint(weights.n_vocab, (3, 13), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = hf_model(tokens).logits
    got = run(weights, tokens).logits(weights)
    assert expected.abs().max() > 1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5)


def random_task(seed: int = 0, n_prompts: int = 5, length: int = 9, **options) -> Task:
    """Random prompts of unlike lengths; the first tokens of each pair agree."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(VOCAB, shape, generator=generator)

    clean, corrupted = tokens(n_prompts, length), tokens(n_prompts, length)
    corrupted[:, :2] = clean[:, :2]
    corrupted[0, :4] = clean[0, :4]
    end = torch.randint(length - 3, length, (n_prompts,), generator=generator)
    middle = torch.randint(2, length - 3, (n_prompts,), generator=generator)
    return Task(
        name="random",
        clean_tokens=clean,
        corrupted_tokens=corrupted,
        answer_tokens=tokens(n_prompts),
        wrong_tokens=tokens(n_prompts),
        positions={"MIDDLE": middle, "END": end},
        **options,
    )


def mostly_slow(values, *quick):
    """Parameters of a test: the quick ones in the core suite, all others with the slow tests."""
    values = list(values)
    assert set(quick) <= set(values), quick
    return [each if each in quick else _slow(each) for each in values]


def _slow(value):
    """For tests of several parameters a tuple holds one of each."""
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.slow)


def until(condition, seconds: float = 20.0) -> None:
    """Waits until something is so, which another thread brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def labelled_task(**options):
    """Labels at other places in each prompt: one token, spans of unlike lengths, END, the rest."""
    task = random_task(n_prompts=4, length=9, **options)
    span = torch.zeros(4, 9, dtype=torch.bool)
    for row, end in enumerate(task.end.tolist()):
        span[row, end - 1 - row % 2 : end] = True
    # In the first prompt the label is where both prompts agree, so that nothing changes there.
    middle = torch.tensor([1, 2, 3, 2])
    object.__setattr__(task, "positions", {"MIDDLE": middle, "span": span, "END": task.end})
    return task


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Converted models are kept in one folder for all test processes, not in the user's cache."""
    base = tmp_path_factory.getbasetemp()
    in_worker = "PYTEST_XDIST_WORKER" in os.environ
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str((base.parent if in_worker else base) / "cache")
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session", params=list(SHAPES))
def hf_model(request):
    """A random model of each shape in turn."""
    return random_gpt2(request.param)


@pytest.fixture(scope="session")
def mini():
    """The bundled model, loaded once for all who do not look at how it is loaded."""
    from acdc_explorer.models import load_model

    return load_model("mini")


@pytest.fixture(scope="session")
def model():
    """A small random model; a file that needs another one has a fixture of its own."""
    from acdc_explorer.models import Model

    return Model(bridge_of(random_gpt2("2x4")), "random 2x4")


@pytest.fixture(scope="module")
def task():
    """Random prompts for it."""
    return random_task()


@pytest.fixture(scope="session")
def bpe(tmp_path_factory):
    """A small GPT-2 whose tokenizer tells "Mary" and " Mary" apart."""
    from bpe import save_bpe_gpt2

    from acdc_explorer.models import load_model

    folder = tmp_path_factory.mktemp("bpe")
    save_bpe_gpt2(folder)
    return load_model(folder)
