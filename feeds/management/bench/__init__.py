"""What `make bench` measures: a room for each subject, and in it parts, functions that are given the stage and yield rows.

row.py is a line of the table, stage.py what the parts stand on: made accounts, and their removal. yardstick.py, peers.py and
site.py are what the service is compared with, load.py asks for pages over HTTP. docs/performance.md says what each row means.
"""
