"""The inference log: every inference with what each model did, kept before it is forgotten.

Written by a front:
arrays.py       numpy and Python values to Arrow arrays and back, bit for bit
layouts.py      what the requests of one segment share, and the Arrow schemas that follow
segments.py     a group of entries to segments: two Arrow blobs each
write_ahead.py  the SQLite file of one front, as its writer sees it
writer.py       LogWriter: takes entries from the front's loop, commits them in groups

Moved by the flusher, once all models of a request have ended:
ended.py        which requests of a write-ahead have ended
units.py        ended requests as rows of a table
columns.py      what a tensor becomes in a table, and back
blobs.py        tensors that are too large for a table: files beside it
parquet.py      the files of a table, with checksums over all that stands in them
table.py        one Delta table: files, transactions, what has moved
tables.py       the tables of a pipeline, a generation each
upkeep.py       merges small files, forgets old ones
emptying.py     takes out of a write-ahead what has moved
flusher.py      the process that does so

Read by the control plane:
logged.py       one request as it is read
views.py        a segment as it is read: requests decoded when they are asked for
stored.py       a write-ahead as its readers see it
kept.py         the requests that stand in tables
candidates.py   what a read comes upon
query.py        what is asked for, and where a page ended
records.py      what a reader gets: one row per request, the fixed Arrow schema
reader.py       one page, over the write-aheads of all fronts and the tables
places.py       where the tables are
"""
