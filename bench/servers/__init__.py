"""gnomon and its peers under the same load, in one run, on one core.

work.py       the model, the row and the right answer
load.py       wrk, with check.lua: every answer is checked
tree.py       the processes of a server: pinned, counted, stopped
server.py     what gnomon, floors and peers have in common
ours.py       gnomon: champion alone, with challengers, joined
floors.py     onnxruntime in a loop; a bare uvicorn
peers/        other servers, each with its app, its pins and an environment of its own
measuring.py  one server, all connection counts: samples
rounds.py     every server once
goals.py      ratios against targets
table.py      what is printed and written; chart.py: the SVG

Beside the big table, a command each, with what they share in figures.py:

half.py       open loop at half of capacity
bodies.py     1,000 rows in one body; payloads.py: what is sent, sending.py: to whom
image.py      an image in Arrow
fronts.py     two fronts
sdk.py        the SDK's infer
"""
