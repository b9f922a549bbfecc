"""The browser view: optuna-dashboard on the study's storage, taught what a constraint is, and filled with what we know.

Importing it loads optuna-dashboard; import it only where the view is wanted.
"""

from optuna_tuner.results.dashboard.adapter import DashboardStorage
from optuna_tuner.results.dashboard.filling import fill, hang
from optuna_tuner.results.dashboard.server import dashboard_app, make_server, serve

__all__ = ["DashboardStorage", "dashboard_app", "fill", "hang", "make_server", "serve"]
