import sys

from transformer_lens.model_bridge import TransformerBridge

import faithnb as fb
from faithnb.lm.hooks import instead, layer_of

name, folder = sys.argv[1:]  # "gpt2", and where a transcoder of its MLP 1 was saved
model = TransformerBridge.boot_transformers(name, device="cpu")
ids = model.to_tokens("An albatross followed the ship for three days.")

reads, writes = "blocks.1.mlp.hook_in", "blocks.1.mlp.hook_out"
logits, cache = model.run_with_cache(ids, names_filter=[reads, writes])
x, y = cache[reads].flatten(0, -2), cache[writes].flatten(0, -2)  # [batch · pos, d_model]

transcoder, layer = fb.load(folder), layer_of(model.blocks[1].mlp)
table = fb.measure(transcoder, layer, x.detach(), measures=["fvu", "jacobian_error"])

given = {}


def look(x, hook):
    given["x"] = x


def write(y, hook):
    return instead(transcoder)(given["x"])


replaced = model.run_with_hooks(ids, fwd_hooks=[(reads, look), (writes, write)])
print("FVU", table.fvu.item(), "and logits moved by", (replaced - logits).abs().max().item())
