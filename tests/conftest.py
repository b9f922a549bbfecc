pytest_plugins = ["catalogues", "clusters", "databases", "dockers", "apptainers", "runs", "slurm_cluster", "stores"]
