pytest_plugins = ["catalogues", "databases", "runs", "slurm_cluster", "stores"]
