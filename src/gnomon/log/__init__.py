"""The inference log: every inference with what each model did, kept before it is forgotten.

arrays.py       numpy and Python values to Arrow arrays and back, bit for bit
layouts.py      what the entries of one segment share, and the Arrow schemas that follow
segments.py     a group of entries to segments: two Arrow blobs each
views.py        a segment as it is read: entries decoded when they are asked for
correlation.py  which inference an observation belongs to
write_ahead.py  the SQLite file of one front, as its writer sees it
writer.py       LogWriter: takes entries from the front's loop, commits them in groups
stored.py       a write-ahead as its readers see it
records.py      what a reader gets: one row per request, the fixed Arrow schema
reader.py       the newest requests of a pipeline, over the write-aheads of all fronts
"""
