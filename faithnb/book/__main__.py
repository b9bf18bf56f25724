"""``python -m faithnb.book``."""

from faithnb.book.build import main
from faithnb.book.processes import leave

leave(main())  # at once: notebooks that still run, after another failed, end with this process
