"""What the libraries import and these tests ask nothing of."""

import sys
from unittest.mock import MagicMock

sys.modules.setdefault("nnsight", MagicMock())  # runs language models
