pytest_plugins = ["catalogues", "databases", "runs", "stores"]
