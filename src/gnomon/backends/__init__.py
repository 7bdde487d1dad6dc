"""Where processes run: on this machine, later on others."""
