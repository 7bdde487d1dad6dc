"""The composition root: here, and only here, the parts are put together into processes.

gnomon serve                      the supervisor (`serve.py`)
python -m gnomon.server front     a front, with descriptors that the supervisor gave it
python -m gnomon.server control   the control plane, likewise (`children.py`)
python -m gnomon.host.nursery     the nursery
"""

from gnomon.server.serve import ServeOptions, nursery_command, serve

__all__ = ["ServeOptions", "nursery_command", "serve"]
