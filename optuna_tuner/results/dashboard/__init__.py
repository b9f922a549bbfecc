"""The browser view: optuna-dashboard on the study's storage, taught what a constraint is, filled with what we know."""
