pytest_plugins = ["catalogues", "clusters", "databases", "dockers", "runs", "slurm_cluster", "stores"]
