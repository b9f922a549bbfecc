pytest_plugins = ["databases", "stores"]
