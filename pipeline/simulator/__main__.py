"""`python -m pipeline.simulator`."""

from pipeline.simulator.command import simulate

simulate(prog_name="python -m pipeline.simulator")
