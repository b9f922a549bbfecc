"""Where servers run: a launch to something that runs and can be stopped."""
