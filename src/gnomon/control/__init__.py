"""What should run, and how it comes to run."""
