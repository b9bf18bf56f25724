"""Language models of transformers, and our pass with their weights."""

import sys

import pytest
import tokenizers
import torch
import transformers as their

from faithnb import InputError, lm
from faithnb.lm.fetched import MODEL, kept
from faithnb.lm.huggingface import of_transformers

SIZES = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = SIZES | {"num_key_value_heads": 2, "intermediate_size": 48}
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 64, "rope_theta": 1e4}  # fmt: skip
CONFIGS = {
    "llama": lambda: their.LlamaConfig(**LLAMA),
    "tied": lambda: their.LlamaConfig(**LLAMA, tie_word_embeddings=True, attention_bias=True),
    "wide heads": lambda: their.LlamaConfig(**LLAMA, head_dim=16),
    "llama 3": lambda: their.LlamaConfig(**LLAMA, rope_parameters=LLAMA_3),
    "mistral": lambda: their.MistralConfig(**LLAMA, sliding_window=None),
    "qwen2": lambda: their.Qwen2Config(**LLAMA),
    "gpt2": lambda: their.GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "gelu": lambda: their.GPT2Config(
        vocab_size=99, n_embd=32, n_layer=2, n_head=4, activation_function="gelu"
    ),
}
IDS = torch.randint(0, 99, (3, 40), generator=torch.Generator().manual_seed(0))


def random_model(config):
    """Their model, with weights large enough that every part of it matters."""
    torch.manual_seed(0)
    model = their.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
    return model


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_pass_is_theirs(config):
    model = random_model(config())
    with torch.no_grad():
        wanted = model(IDS).logits
    torch.testing.assert_close(of_transformers(model).logits(IDS), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_layer_is_their_mlp(name):
    model = random_model(CONFIGS[name]())
    m = of_transformers(model)
    run = m.run(IDS, keep=["mlp_in.1", "mlp_out.1"])
    theirs = model.model.layers[1].mlp if name == "llama" else model.transformer.h[1].mlp
    with torch.no_grad():
        wanted = theirs(run["mlp_in.1"])
    torch.testing.assert_close(run["mlp_out.1"], wanted)
    torch.testing.assert_close(m.layer(1)(run["mlp_in.1"]), wanted)


def test_a_folder_is_loaded_by_its_name(tmp_path):
    model = random_model(CONFIGS["gpt2"]())
    model.save_pretrained(tmp_path)
    m = lm.load(model=str(tmp_path))
    assert m.name == str(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(m.logits(IDS), model(IDS).logits, rtol=1e-4, atol=1e-4)


def test_what_a_model_lacks_is_said():
    m = of_transformers(random_model(CONFIGS["gpt2"]()), name="bare")
    with pytest.raises(InputError, match="text is not allowed: bare comes without a tokenizer"):
        m.encode("text")
    with pytest.raises(InputError, match="bare knows 64 positions"):
        m.logits(torch.zeros(1, 65, dtype=torch.long))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (lambda: their.GPTNeoXConfig(**SIZES, intermediate_size=48), "architecture is 'gpt_neox'"),
        (lambda: their.LlamaConfig(**LLAMA, mlp_bias=True), "mlp_bias = True is not known here"),
        (lambda: their.LlamaConfig(**LLAMA, hidden_act="gelu"), "hidden_act = 'gelu' is not known"),
        (lambda: their.MistralConfig(**LLAMA, sliding_window=8), "sliding_window = 8 is not known"),
        (
            lambda: their.GPT2Config(n_embd=32, n_head=4, activation_function="relu"),
            "activation_function = 'relu' is not known",
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said(config, said):
    with pytest.raises(InputError, match=said):
        of_transformers(their.AutoModelForCausalLM.from_config(config()))


def test_a_model_that_cannot_be_had_is_said(tmp_path, monkeypatch):
    with pytest.raises(lm.Unavailable, match="model = .* cannot be had: "):
        lm.load(model=str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(lm.Unavailable, match="model = 'gpt2' cannot be had: transformers is not"):
        lm.load(model="gpt2")


PROSE = (
    "The sun was setting behind the hills when Anna finally reached the village. She had been "
    "walking since early morning, and her feet were sore."
)
ODD = "١٢٣ ½ ² x²+y₂ 1234 größer 日本語 5年 🙂 1"
"""Their reading of GGUF files leaves out that numbers are alone, as SmolLM2 was trained."""


def test_smollm2_is_theirs_from_the_same_file():
    path = kept(MODEL)
    if path is None:
        pytest.skip("the model was not fetched (python -m faithnb.lm fetch fetches it)")
    m = lm.load()
    tokenizer = their.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert m.encode(PROSE) == tokenizer(PROSE, add_special_tokens=False)["input_ids"]
    assert m.encode(ODD) != tokenizer(ODD, add_special_tokens=False)["input_ids"]
    pre = tokenizers.pre_tokenizers
    theirs = tokenizer.backend_tokenizer
    theirs.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True), theirs.pre_tokenizer])
    assert m.encode(ODD) == tokenizer(ODD, add_special_tokens=False)["input_ids"]
    model = their.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    ids = torch.tensor([m.encode(PROSE)])
    with torch.no_grad():
        wanted = model(ids).logits
    torch.testing.assert_close(m.logits(ids), wanted, rtol=0, atol=1e-3)
    losses = torch.nn.functional.cross_entropy(wanted[0, :-1], ids[0, 1:], reduction="none")
    torch.testing.assert_close(m.next_token_loss(ids)[0], losses, rtol=0, atol=1e-3)
    torch.testing.assert_close(of_transformers(model).logits(ids), wanted, rtol=0, atol=1e-3)
