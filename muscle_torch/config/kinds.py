"""Tables of kinds: a row names a class and the options that it takes. Nothing is imported until a row is chosen."""

import importlib
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One row of a table such as POLICIES or GOALS."""

    path: str  # "package.module:name" of the class or function
    options: type  # frozen dataclass, documented with `key`

    def load(self) -> Any:
        """Import the module and return the object that `path` names."""
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)
