import sys

import torch
from nnsight import TransformersModel

import faithnb as fb
from faithnb.lm.hooks import instead, layer_of

name, folder = sys.argv[1:]  # "gpt2", and where a transcoder of its MLP 1 was saved
model = TransformersModel(name, task="text-generation", dispatch=True)
mlp = model.transformer.h[1].mlp
text = "An albatross followed the ship for three days."

with torch.no_grad(), model.trace(text):
    x, y = mlp.input.save(), mlp.output.save()
    logits = model.lm_head.output.save()

transcoder, layer = fb.load(folder), layer_of(mlp)
table = fb.measure(transcoder, layer, x.flatten(0, -2), measures=["fvu", "jacobian_error"])

put = instead(transcoder)
with torch.no_grad(), model.trace(text):
    mlp.output = put(mlp.input)
    replaced = model.lm_head.output.save()
print("FVU", table.fvu.item(), "and logits moved by", (replaced - logits).abs().max().item())
