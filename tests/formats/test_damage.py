"""Folders of other libraries that are damaged, or would be misread: one sentence each."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_detection import make, refused
from test_layouts import D, M

import faithnb as fb

CONFIG = "config.json"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "theirs"


class Opens:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_a_pickle_is_executed(folder, tmp_path):
    make(folder, "dictionary_learning AutoEncoder")
    for content in (pickle.dumps(Opens(tmp_path / "ran")), None):
        if content is None:
            torch.save({"bias": Opens(tmp_path / "ran")}, folder / "ae.pt")
        else:
            (folder / "ae.pt").write_bytes(content)
        refused(folder, "ae.pt cannot be read")
    objects = np.array([Opens(tmp_path / "ran")], dtype=object)
    (folder / "ae.pt").unlink()
    np.savez(folder / "params.npz", W_enc=objects)
    refused(folder, "params.npz cannot be read")
    assert not (tmp_path / "ran").exists()


def changed(path, **weights):
    """Weights replaced, or left out where None."""
    if path.suffix == ".npz":
        state = {k: torch.from_numpy(w) for k, w in np.load(path).items()}
    else:
        state = torch.load(path) if path.suffix == ".pt" else load_file(path)
    state |= {k.replace("__", "."): w for k, w in weights.items()}
    state = {k: w for k, w in state.items() if w is not None}
    if path.suffix == ".npz":
        np.savez(path, **{k: w.numpy() for k, w in state.items()})
    elif path.suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)


def says(path, name, **settings):
    """A configuration changed, a setting left out where None."""
    file = (path.parent.parent if path.parent.name == "checkpoints" else path.parent) / name
    said = json.loads(file.read_text()) | settings
    file.write_text(json.dumps({k: v for k, v in said.items() if v is not None}))


def trainer(path, **settings):
    config = json.loads((path.parent / "config.json").read_text())
    (path.parent / "config.json").write_text(json.dumps({"trainer": config["trainer"] | settings}))


ENCODER = {
    "dictionary_learning AutoEncoder": ("encoder.weight", "encoder.bias"),
    "sparsify transcoder": ("encoder.weight", "encoder.bias"),
    "circuit-tracer both": ("W_enc", "b_enc"),
    "Gemma Scope": ("W_enc", "b_enc"),
    "Gemma Scope 2": ("w_enc", "b_enc"),
    "Llama Scope": ("encoder.weight", "encoder.bias"),
    "Llamascopium jumprelu": ("W_E", "b_E"),
}


@pytest.mark.parametrize("case", ENCODER)
@pytest.mark.parametrize(("damage", "sentence"), [
    ("missing", "{file} lacks {bias}"),
    ("more", "{file} holds more than it should: extra"),
    ("whole numbers", "{bias} is of type int32, which no transcoder is trained in"),
    ("NaN", "b_enc holds values that are not finite"),
    ("short", "b_enc has shape .* where .* is needed"),
    ("cut", "{file} cannot be read"),
    ("emptied", "{file} cannot be read"),
])  # fmt: skip
def test_damage_is_said_in_a_sentence(case, damage, sentence, folder):
    path = make(folder, case)
    _, bias = ENCODER[case]
    new = {
        "missing": {bias: None},
        "more": {"extra": torch.ones(2)},
        "whole numbers": {bias: torch.ones(M, dtype=torch.int32)},
        "NaN": {bias: torch.full((M,), torch.nan)},
        "short": {bias: torch.ones(M - 1)},
    }
    if damage in new:
        changed(path, **new[damage])
    else:
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut" else 0])
    file = path.relative_to(folder).as_posix()
    refused(folder, sentence.format(file=file, bias=bias))


MISREAD = {
    "no matrix": ("Llamascopium jumprelu", lambda p: changed(p, W_E=torch.ones(M)),
                  r"W_E of shape \[9\] is no matrix"),
    "unset threshold": ("dictionary_learning BatchTopKSAE",
                        lambda p: changed(p, threshold=torch.tensor(-1.0)),
                        "threshold = -1 means that it was never set"),
    "unset in Matryoshka": ("dictionary_learning MatryoshkaBatchTopKSAE",
                            lambda p: changed(p, threshold=torch.tensor(-1.0)),
                            "threshold = -1 means that it was never set"),
    "NaN threshold": ("dictionary_learning BatchTopKSAE",
                      lambda p: changed(p, threshold=torch.tensor(torch.nan)),
                      "threshold of shape .* must be one finite number"),
    "TopK or BatchTopK": ("dictionary_learning AutoEncoderTopK",
                          lambda p: (p.parent / "config.json").unlink(),
                          "only trainer.dict_class of config.json tells whether it is of AutoEncode"
                          "rTopK or BatchTopKSAE"),
    "another class": ("dictionary_learning AutoEncoder",
                      lambda p: trainer(p, dict_class="GatedAutoEncoder"),
                      "dict_class = 'GatedAutoEncoder', its weights are those of AutoEncoder"),
    "another k": ("dictionary_learning AutoEncoderTopK", lambda p: trainer(p, k=4),
                  "trainer.k = 4, the weights say 3"),
    "another size": ("dictionary_learning AutoEncoder", lambda p: trainer(p, dict_size=8),
                     "trainer.dict_size = 8, the weights say 9"),
    "k without sense": ("dictionary_learning AutoEncoderTopK",
                        lambda p: changed(p, k=torch.tensor(0)), "k = 0 is not allowed"),
    "whole checkpoint": ("dictionary_learning AutoEncoder",
                         lambda p: torch.save({"model": {}, "step": 3}, p),
                         "model is a dict, not a tensor"),
    "list in a pickle": ("dictionary_learning AutoEncoder", lambda p: torch.save([1], p),
                         "it holds a list, not tensors by name"),
    "groupmax": ("sparsify transcoder", lambda p: says(p, "cfg.json", activation="groupmax"),
                 "activation = 'groupmax', only 'topk'"),
    "signed": ("sparsify transcoder", lambda p: says(p, "cfg.json", signed=True), "signed = True"),
    "unknown": ("sparsify transcoder", lambda p: says(p, "cfg.json", normalize=True),
                "normalize = True, and what that means is not known"),
    "no cfg": ("sparsify transcoder", lambda p: (p.parent / "cfg.json").unlink(),
               "cfg.json is missing"),
    "half a cfg": ("sparsify transcoder", lambda p: (p.parent / "cfg.json").write_text("{"),
                   "cfg.json cannot be read"),
    "no k": ("sparsify transcoder", lambda p: says(p, "cfg.json", k=None), "does not say k"),
    "k of text": ("sparsify transcoder", lambda p: says(p, "cfg.json", k="3"), "k = '3'"),
    "latents": ("sparsify transcoder", lambda p: says(p, "cfg.json", num_latents=7),
                "num_latents = 7, the weights say 9"),
    "expansion": ("sparsify transcoder", lambda p: says(p, "cfg.json", expansion_factor=2),
                  "d_in · expansion_factor = 12.0, the weights say 9"),
    "skip unsaid": ("sparsify skip transcoder",
                    lambda p: says(p, "cfg.json", skip_connection=False),
                    "more than it should: W_skip"),
    "skip missing": ("sparsify transcoder", lambda p: says(p, "cfg.json", skip_connection=True),
                     "lacks W_skip"),
    "below 0": ("circuit-tracer both",
                lambda p: changed(p, activation_function__threshold=-torch.ones(M)),
                "is below 0 somewhere"),
    "a factor": ("Gemma Scope", lambda p: changed(p, scaling_factor=torch.full((M,), 2.0)),
                 "scaling_factor is not 1"),
    "architecture": ("Gemma Scope 2", lambda p: says(p, "config.json", architecture="topk"),
                     "architecture = 'topk', only 'jump_relu'"),
    "crosscoder": ("Gemma Scope 2", lambda p: says(p, "config.json", type="crosscoder"),
                   "type = 'crosscoder', only 'sae' or 'transcoder'"),
    "affine": ("Gemma Scope 2", lambda p: says(p, "config.json", affine_connection=True),
               "affine_connection = True, and the weights hold none"),
    "token-wise": ("Llamascopium relu", lambda p: says(p, CONFIG, norm_activation="token-wise"),
                   "divided by its own norm, which no weights can do"),
    "a norm's name": ("Llamascopium relu", lambda p: says(p, "config.json", norm_activation="x"),
                      "norm_activation = 'x', only"),
    "no norm": ("Llamascopium relu",
                lambda p: changed(p, dataset_average_activation_norm__out=None),
                "nor the weights hold the dataset_average_activation_norm of its outputs"),
    "norm of 0": ("Llamascopium relu",
                  lambda p: changed(p, dataset_average_activation_norm__in=torch.tensor(0.0)),
                  "dataset_average_activation_norm.in = 0.0, it must be a number above 0"),
    "batchtopk": ("Llamascopium relu", lambda p: says(p, "config.json", act_fn="batchtopk"),
                  "act_fn = 'batchtopk', only 'relu', 'jumprelu' or 'topk'"),
    "no threshold": ("Llamascopium relu", lambda p: says(p, "config.json", act_fn="jumprelu"),
                     "act_fn = 'jumprelu', and there is no threshold"),
    "no top_k": ("Llamascopium topk", lambda p: says(p, "config.json", top_k=None),
                 "does not say top_k"),
    "a row of 0": ("Llamascopium jumprelu", lambda p: changed(p, W_D=torch.zeros(M, D)),
                   "threshold is not finite once"),
    "GLU": ("Llamascopium relu", lambda p: says(p, "config.json", use_glu_encoder=True),
            "use_glu_encoder = True"),
    "unknown setting": ("Llamascopium relu", lambda p: says(p, "config.json", new=1), "new = 1"),
    "no hyperparameters": ("Llama Scope", lambda p: (p.parent.parent / "hyperparams.json").unlink(),
                           "hyperparams.json is missing"),
    "a threshold below 0": ("Llama Scope",
                            lambda p: says(p, "hyperparams.json", jump_relu_threshold=-1),
                            "jump_relu_threshold = -1, it must be a number above 0"),
    "subtracts": ("Llama Scope",
                  lambda p: says(p, "hyperparams.json", apply_decoder_bias_to_pre_encoder=True),
                  "apply_decoder_bias_to_pre_encoder = True"),
    "norms by hand": ("Llama Scope",
                      lambda p: says(p, "hyperparams.json", dataset_average_activation_norm=None),
                      "neither it nor the weights hold"),
    "another width": ("Llama Scope", lambda p: says(p, "hyperparams.json", d_model=7),
                      "d_model = 7, the weights say 6"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISREAD)
def test_what_would_be_misread_is_refused(name, folder):
    case, damage, sentence = MISREAD[name]
    path = make(folder, case)
    fb.load(folder)
    damage(path)
    refused(folder, sentence)
