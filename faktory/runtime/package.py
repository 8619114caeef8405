"""Where this package lies: by it a frame or a line of a traceback is told to be ours, and not the user's."""

from __future__ import annotations

import os
from typing import Final

# pathlib is slow to import
FOLDER: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")  # noqa: PTH100, PTH118, PTH120
"""The package's folder, with a separator at its end."""

PARENT: Final = os.path.dirname(os.path.dirname(FOLDER))  # noqa: PTH120
"""What must be on `sys.path` for the package to be imported."""
