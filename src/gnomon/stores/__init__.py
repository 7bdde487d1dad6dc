"""What gnomon keeps: the metadata in SQL tables, the model files by their sha256."""
