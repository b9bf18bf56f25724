"""How fast, and compared to what: ``make bench``, or ``python -m benchmarks`` in ``tests``."""

import os

# torch's profiler, which counts memory, otherwise tells its every stage on stderr
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
