"""What `manage.py capacity` plans with: docs/scale.md.

population.py says how many followers authors have, calibration.py what things cost on a machine that was measured,
demand.py what a load asks for, in figures that can be checked by hand, and simulation.py how long posts take to arrive.
"""
