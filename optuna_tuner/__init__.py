"""Find the server flags that serve the most users within the latency promise.

The front door is `Tuner`; `Search` is the search alone, without any deployment. Both are loaded on first use, so that
importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna_tuner.search.search import Search
    from optuna_tuner.tuner import Tuner

__all__ = ["Search", "Tuner", "__version__"]
__version__ = "0.1.0"

_ROOMS = {"Search": "optuna_tuner.search.search", "Tuner": "optuna_tuner.tuner"}


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(name)
