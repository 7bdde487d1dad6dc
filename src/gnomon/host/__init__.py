"""Model hosts: the only processes that open a model file as a model, and their nursery.

nursery   imports onnxruntime once, forks hosts on order of the supervisor
process   what a fork becomes: limits, priority, lifeline, watchdog
loaded    what serving and probing know of a loaded model
session   a loaded ONNX model
serving   answers the frames of the fronts
probing   looks at an uploaded file in a throw-away host
onnx_scan reads the file's structure before onnxruntime sees it

python_model  a loaded Python model, in hosts that were told to have one
python_files  where its modules are imported from
interruption  how its runs are stopped
seccomp       system calls that the kernel refuses: `network` to all, `processes` to Python models
"""
