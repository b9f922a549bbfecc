pytest_plugins = ["databases", "runs", "stores"]
