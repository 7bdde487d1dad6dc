"""The data plane: HTTP in, champion and challengers asked, answer out, everything logged.

app.py         all of it put together; `run` is what a front process does
http.py        the port: takes connections, ends what takes too long, drains
port.py        what its connections share
connection.py  one connection: bytes to calls, answers in their order
framing.py     where head and body end
calls.py       one request and its answer
routes.py      which requests are taken, and by whom they are answered
codecs/        bytes to named columns, outputs to answers
exchange.py    the champion answers, challengers watch
feeding.py     which column feeds which model, and what is logged of it
channel.py     the way to one model host; link.py: one connection to it
control.py     orders of the control plane; client.py sends them
"""
