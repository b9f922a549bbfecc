"""Find the server flags that serve the most users within the latency promise.

The one front door is `Tuner`; it is loaded on first use, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna_tuner.tuner import Tuner

__all__ = ["Tuner", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "Tuner":
        from optuna_tuner.tuner import Tuner  # noqa: PLC0415  the package must import in no time

        return Tuner
    raise AttributeError(name)
