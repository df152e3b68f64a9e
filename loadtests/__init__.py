"""Load tests: people of five kinds use the service over HTTP, and afterwards everything is counted and verified.

`python -m loadtests --help` has the words. shape.py says what the people are like, by figures of a real record (shape.json);
population.py makes their accounts, locustfile.py is what they do, results.py says what came of it, chart.py draws it.
"""
