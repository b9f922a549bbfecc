"""What outlives a process: our tables beside Optuna's, and the artifacts."""
