"""Only where SAELens is: ``make interop`` makes such a place."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("sae_lens") else ["test_*.py"]
