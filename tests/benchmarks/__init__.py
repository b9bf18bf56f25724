"""How fast, and compared to what: ``make bench``, or ``python -m benchmarks`` in ``tests``."""
