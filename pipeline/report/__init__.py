"""One static page about the runs of an output: no scripts, nothing loaded, whatever the records hold is text."""

from pipeline.report.cost import Estimate
from pipeline.report.facts import Facts, gather_facts
from pipeline.report.page import Asked, page
from pipeline.report.samples import read_samples

__all__ = ["Asked", "Estimate", "Facts", "gather_facts", "page", "read_samples"]
