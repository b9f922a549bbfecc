pytest_plugins = ["catalogues", "databases", "dockers", "runs", "slurm_cluster", "stores"]
