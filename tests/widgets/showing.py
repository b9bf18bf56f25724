"""A widget in a page of its own."""

import base64
import json
from dataclasses import replace

from faithnb import Experiment, train
from faithnb.widgets.bundle import STYLE, script
from faithnb.widgets.knobs import LEARNED

STORY = Experiment(d_in=8, d_sae=32, batch_size=128, steps=1500, repeat_frac=0.1)


def module(name):
    return "data:text/javascript;base64," + base64.b64encode(script(name).encode()).decode()


def network(transcoder):
    names = LEARNED[transcoder.architecture]
    weights = {name: getattr(transcoder, name)[0].flatten().tolist() for name in names}
    k = getattr(transcoder, "k", 0)
    return {"d": transcoder.d_in, "H": transcoder.d_sae, "k": k, **weights}


def three_trained():
    """The story without repeats, and twice with them."""
    return train([replace(STORY, seed=s, repeat_frac=r) for s, r in ((0, 0.0), (1, 0.1), (2, 0.1))],
                 progress=False).transcoder  # fmt: skip


def show(page, widget, head=""):
    """A widget in a page of its own, with its model played by a plain object."""
    state = {
        name: getattr(widget, name)
        for name in widget.trait_names(sync=True)
        if not name.startswith("_") and name not in ("layout", "comm", "tabbable", "tooltip")
    }
    page.set_content(f"{head}<style>{STYLE}</style><div id='here'></div>")
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("request", lambda r: r.url.startswith(("data:", "blob:")) or errors.append(r.url))
    page.evaluate(
        """async ([source, state]) => {
            const heard = {};
            window.sent = [];
            window.hear = (message) => heard["msg:custom"](message);
            window.model = {
                get: (name) => state[name],
                set: (name, value) => { state[name] = value; },
                save_changes: () => {},
                on: (name, callback) => { heard[name] = callback; },
                send: (message) => window.sent.push(message),
            };
            const view = (await import(source)).default;
            await view.render({ model: window.model, el: document.getElementById("here") });
        }""",
        [f"data:text/javascript;base64,{base64.b64encode(widget._esm.encode()).decode()}",
         json.loads(json.dumps(state))],
    )  # fmt: skip
    return errors


def until(page, what, timeout=60_000):
    page.wait_for_function(what, timeout=timeout)


def memorization_shown(page):
    return float(page.get_attribute(".fn-track", "aria-valuenow")) * (3**0.5 - 1)


TRAINED = "document.querySelector('.fn-status').textContent.startsWith('Trained')"


STEP = "Number(document.querySelector('.faithnb').dataset.step)"


STATE = "document.querySelector('.faithnb').dataset.state"


GRID = {"repeat_frac": [0.0, 0.3], "sparsity_coefficient": [0.01, 0.3]}


FILLS = "[...document.querySelectorAll('.fn-cells rect')].map((r) => r.getAttribute('fill'))"
