"""What a notebook touches: Client, Workspace, Model, Pipeline, InferenceResult, logs."""
