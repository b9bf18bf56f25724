"""Llamascopium's mixtures of linear transforms, whose matrices stand by their rank."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from safetensors.torch import save as serialise

from faithnb.formats.folder import Folder
from faithnb.formats.layers import require_shapes
from faithnb.formats.layout import Found, Held, Kind, Layout, Match
from faithnb.formats.llamascopium import CONFIG, KNOWN, UNDERSTOOD, WEIGHTS
from faithnb.formats.openmoss import NORM, described, found_with, require_relu, scales

U, V = "U_matrices.", "V_matrices."


class LlamascopiumMolt(Layout):
    """W_E ``[d_in, transforms]``, b_E, and by rank U_matrices ``[transforms, d_out, rank]`` and
    V_matrices ``[transforms, rank, d_in]``; one rank alone can be held here."""

    name = "llamascopium_molt"
    holds = ("molt",)

    @classmethod
    def match(cls, folder: Folder) -> Match:
        return Match.KEYS if any(name.startswith(U) for name in folder.tensors) else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        ranks = [name.removeprefix(U) for name in folder.tensors if name.startswith(U)]
        if len(ranks) > 1:
            raise folder.refuse(
                f"its transforms have ranks {', '.join(sorted(ranks))}, and all transforms here "
                "have the same"
            )
        if not folder.has(CONFIG):
            raise folder.refuse(f"{CONFIG} is missing")
        said = folder.settings(CONFIG)
        folder.require_settings(
            CONFIG, said, UNDERSTOOD | {"sae_type": ("molt",)}, (*KNOWN, "rank_counts")
        )
        with_bias = said.get("use_decoder_bias", True) is not False
        of_U, of_V = f"{U}{ranks[0]}", f"{V}{ranks[0]}"
        folder.require_weights(
            ["W_E", "b_E", of_U, of_V, *(["b_D"] if with_bias else [])],
            [name for name in folder.tensors if name.startswith(f"{NORM}.")],
        )
        d_in, n = folder.matrix("W_E").shape
        rank = int(folder.positive(of_U, int(ranks[0]) if ranks[0].isdecimal() else ranks[0]))
        require_shapes(folder, {of_U: (n, d_in, rank), of_V: (n, rank, d_in)})
        weights = {
            "W_enc": folder.tensors[of_V].flatten(0, 1).T,
            "b_enc": folder.tensors[of_V].new_zeros(n * rank),
            "W_dec": folder.tensors[of_U].mT.flatten(0, 1),
            "b_dec": folder.tensors["b_D"] if with_bias else folder.tensors[of_U].new_zeros(d_in),
            "W_gate": folder.tensors["W_E"],
            "b_gate": folder.tensors["b_E"],
        }
        require_relu(folder, CONFIG, said)
        found = found_with(folder, CONFIG, said, weights, None, scales(folder, CONFIG, said, d_in))
        return replace(found, architecture="molt", settings={"rank": rank})

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        yield from super().refusals(held)
        if held.architecture == "molt" and held.weights["b_enc"].any():
            yield "there is no place for b_enc, which is not 0"

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        w, rank = held.one, held.settings["rank"]
        weights = {
            "W_E": w["W_gate"],
            "b_E": w["b_gate"],
            f"{U}{rank}": w["W_dec"].unflatten(0, (-1, rank)).mT,
            f"{V}{rank}": w["W_enc"].T.unflatten(0, (-1, rank)),
            "b_D": w["b_dec"],
        }
        n = held.sizes["d_sae"] // rank
        said = described(held) | {"sae_type": "molt", "act_fn": "relu", "d_sae": n}
        said |= {"expansion_factor": n / held.sizes["d_in"], "rank_counts": {str(rank): n}}
        content = serialise({name: weight.contiguous() for name, weight in weights.items()})
        return {WEIGHTS: content, CONFIG: json.dumps(said, indent=2) + "\n"}
