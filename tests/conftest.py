import hypothesis

# How long an example takes says how busy the machine is: pytest's own time limit ends what hangs.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

pytest_plugins = ["catalogues", "clusters", "databases", "dockers", "apptainers", "runs", "slurm_cluster", "stores"]
