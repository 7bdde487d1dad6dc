"""A supervisor with a nursery and nothing else, as a program: `bare_supervisor.py DIRECTORY`."""

import asyncio
import sys
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
        nursery_command=nursery_command,
        probe_timeout_s=float(sys.argv[2]),
    )
    return asyncio.run(supervisor.run([], lambda: print("ready", flush=True)))


if __name__ == "__main__":
    sys.exit(main())
