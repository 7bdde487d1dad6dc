import os
import socket
import subprocess
import sys

import pytest

# Takes the network away, then says what still works, one word a line.
PROGRAM = """
import os, socket, sys
from gnomon.host import network

print(getattr(network, sys.argv[1])())
for family, address in (
    (socket.AF_INET, ("127.0.0.1", int(sys.argv[2]))),
    (socket.AF_INET6, ("::1", int(sys.argv[2]))),
):
    try:
        with socket.socket(family) as connection:
            connection.settimeout(5)
            connection.connect(address)
        print("connected")
    except OSError:
        print("refused")
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[3])
    connection.sendall(b"hello")
if os.fork() == 0:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[2])), 5)
        print("child connected")
    except OSError:
        print("child refused")
"""


@pytest.mark.parametrize("how", ["cut_off", "filter_calls"])
def test_what_is_cut_off_reaches_loopback_no_more_and_unix_sockets_still(how, tmp_path):
    path = tmp_path / "s"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        unix.bind(os.fspath(path))
        unix.listen()
        unix.settimeout(10)
        program = subprocess.run(
            [sys.executable, "-c", PROGRAM, how, str(tcp.getsockname()[1]), str(path)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        isolation, *said = program.stdout.split("\n")
        if isolation in ("none", "False"):
            pytest.skip("this machine allows no " + how)
        assert said[0] == said[1] == "refused", program.stderr
        assert "child refused" in said
        connection, _ = unix.accept()
        with connection:
            assert connection.recv(5) == b"hello"
        tcp.settimeout(0)
        with pytest.raises(BlockingIOError):
            tcp.accept()
