"""Costs that are extrapolated from measured steps, and the record of a GPU on the page."""

import json
import re

import pandas as pd
import pytest
import torch
from benchmarks import gpu, scale, shown, sizes
from benchmarks.language import LAYERS, WIDTH
from benchmarks.machine import machine
from benchmarks.roofline import roofline
from benchmarks.scale import Device

from faithnb.book.contents import ROOT

CPU = torch.device("cpu")


def record(folder, name="bench-gpu.json", device="NVIDIA Made Up", **tables):
    folder.mkdir(exist_ok=True)
    said = machine(CPU) | {"device": device, "torch": "9.9"}
    found = {"date": "2031-02-03", "machine": said, "tables": tables, "failed": {}}
    (folder / name).write_text(json.dumps(found))
    return found


LAYER = [
    {"d_sae": WIDTH, "instances": 1, "batch": 4096, "step_ms": 10.0, "tokens_per_s": 500_000.0},
    {"d_sae": WIDTH, "instances": 4, "batch": 4096, "step_ms": 20.0, "tokens_per_s": 9.0},
]
MANY = [{"instances": 10_000, "steps": 3000, "seconds": 30.0, "step_us": 1.0}]


def test_costs_follow_the_steps_and_the_devices():
    here, gpu = Device(step_us=1000.0, tokens_per_s=1000.0), Device(1.0, 500_000.0)
    n, steps = scale.small()["benchmark"]
    assert (n, steps) == (64_000, 3_000)
    assert scale.seconds_of_small(n, steps, here, 1) == pytest.approx(192_000)
    assert scale.seconds_of_small(n, steps, here, 100) == pytest.approx(1_920)
    assert scale.seconds_of_layers(here, 1) == pytest.approx(30 * 5_000)
    assert scale.seconds_of_layers(gpu, 8) == pytest.approx(4 * 10)  # 30 layers in 4 turns
    assert scale.seconds_of_layers(here, 100) == pytest.approx(5_000)  # no layer is divided
    found = scale.costs(here, gpu)
    assert found["benchmark_here"] == "2.2 days"
    assert found["benchmark_cluster"] == "32 minutes"
    assert found["benchmark_gpu"] == "3.2 minutes"
    assert found["layers_gpus"] == "40 seconds"
    assert len(found) == 16


def test_what_was_not_measured_has_no_number():
    found = scale.costs(Device(1000.0, 1000.0), Device(step_us=1.0))
    assert found["scan_gpu"] != scale.NOT_MEASURED
    assert found["layers_gpu"] == found["layers_gpus"] == scale.NOT_MEASURED
    assert scale.in_words(1.5) == "1.5 seconds"
    assert scale.in_words(119) == "119 seconds"
    assert scale.in_words(7200) == "2.0 hours"


def test_the_newest_record_of_a_gpu_is_taken(tmp_path):
    nothing, said = scale.measured_gpu(tmp_path)
    assert nothing == Device()
    assert set(said.values()) == {scale.NOT_MEASURED}
    record(tmp_path, "gpu.json", device="Old", many=[MANY[0] | {"step_us": 2.0}])
    old, said = scale.measured_gpu(tmp_path)
    assert old == Device(step_us=2.0)
    assert said["gpu_of_small"] == "Old, torch 9.9, 2031-02-03"
    assert said["gpu_of_layers"] == scale.NOT_MEASURED
    record(tmp_path, many=MANY, language=LAYER)
    assert scale.measured_gpu(tmp_path)[0] == Device(1.0, 500_000.0)
    record(tmp_path, device="CPU", many=MANY, language=LAYER)
    assert scale.measured_gpu(tmp_path)[0] == old


def cell_of_the_page(word):
    cells = json.loads((ROOT / "notebooks" / "speed.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = [
        s for c in cells if word in (s := "".join(c["source"])) and "code" in c["cell_type"]
    ]
    return source


def shown_by_the_page(repository):
    parts = []
    around = {"repository": repository, "shown": shown, "show": parts.append, "Markdown": str}
    exec(cell_of_the_page("shown.shown("), around)
    return parts


def test_the_page_on_clusters_is_given_all_that_it_shows(tmp_path):
    glued = {}
    exec(cell_of_the_page("scale.costs("), {
        "scale": scale, "static": tmp_path, "glue": glued.update,
        "at_64": pd.DataFrame({"step_us": {"none": 100.0}}),
        "layer": pd.DataFrame({"tokens_per_s": [1000.0]}),
    })  # fmt: skip
    page = (ROOT / "book" / "scaling.md").read_text(encoding="utf-8")
    asked = re.findall(r"speed\.ipynb::((?:scan|grid|benchmark|layers|gpu_of)_\w+):", page)
    assert set(asked) == set(glued)
    assert f"{scale.RECIPES} recipes, {scale.TASKS} tasks, {scale.SEEDS} seeds" in page
    assert f"{LAYERS} layers of SmolLM2-135M | {LAYERS} × 5 million tokens |" in page
    assert scale.TOKENS == 5_000_000
    assert glued["layers_gpu"] == scale.NOT_MEASURED
    assert glued["layers_here"] == "42 hours"


def test_the_page_shows_a_record_if_there_is_one(tmp_path):
    static = tmp_path / "book" / "static"
    static.mkdir(parents=True)
    assert shown_by_the_page(tmp_path) == []
    rows = roofline(sizes.SIZES["tiny"], CPU).to_dict("records")
    made = record(static, many=MANY, language=LAYER, roofline=rows)
    made["failed"] = {"launches": "RuntimeError: no room"}
    (static / "bench-gpu.json").write_text(json.dumps(made))
    parts = shown_by_the_page(tmp_path)
    prose = [part for part in parts if isinstance(part, str)]
    tables = [part for part in parts if isinstance(part, pd.DataFrame)]
    assert prose[0].startswith("**NVIDIA Made Up** with torch 9.9, 2031-02-03")
    assert prose[-1] == "The table *launches* was not measured: RuntimeError: no room."
    many, language, bound, achieved, by_part = tables
    assert many["step us"].tolist() == [1.0]
    assert language["tokens/s"].tolist() == [500_000.0, 9.0]
    assert len(bound) == len(achieved) == 3
    assert bound["limited by"].notna().all()
    assert len(by_part) == 3 * 4
    assert not any(table.isna().any(axis=None) for table in tables)


def test_every_table_of_a_gpu_has_a_sentence():
    assert set(gpu.TABLES) == {*shown.SAYS, "roofline"}
