"""The control plane over HTTP: JSON in and out, problem+json for what went wrong."""
