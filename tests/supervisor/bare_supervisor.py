"""A supervisor with a nursery and nothing else, as a program.

bare_supervisor.py DIRECTORY PROBE_TIMEOUT_S [--allow-python-models]
"""

import asyncio
import sys
from functools import partial
from pathlib import Path

from gnomon.server import nursery_command
from gnomon.supervisor.supervisor import Supervisor


def main() -> int:
    directory = Path(sys.argv[1])
    run, logs = directory / "run", directory / "logs"
    run.mkdir(mode=0o700)
    logs.mkdir()
    supervisor = Supervisor(
        run_directory=run,
        log_directory=logs,
        nursery_command=partial(
            nursery_command, allow_python_models="--allow-python-models" in sys.argv[3:]
        ),
        probe_timeout_s=float(sys.argv[2]),
    )
    return asyncio.run(supervisor.run([], lambda: print("ready", flush=True)))


if __name__ == "__main__":
    sys.exit(main())
