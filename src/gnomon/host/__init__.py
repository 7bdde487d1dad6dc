"""Model hosts: the only processes that open a model file as a model, and their nursery.

nursery   imports onnxruntime once, forks hosts on order of the supervisor
process   what a fork becomes: limits, priority, lifeline, watchdog
session   one loaded model: signature, run
serving   answers the frames of the fronts
probing   looks at an uploaded file in a throw-away host
onnx_scan reads the file's structure before onnxruntime sees it
"""
