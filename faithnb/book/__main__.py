"""``python -m faithnb.book``."""

import sys

from faithnb.book.build import main

sys.exit(main())
