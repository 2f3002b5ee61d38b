"""The same audit in one plain loop, without a pump: what the organism is measured against."""

from audit.analysis import analyze
from audit.payloads import Findings, Module, Report, Tree
from audit.reporting import build
from audit.tree import listing_of


def audit_plainly(tree: Tree) -> Report:
    """Analyse one module after another, then report."""
    listing = listing_of(tree)
    reports = [analyze(Module(listing.root, path)) for path in listing.paths or ()]
    return build(Findings(listing.root, reports))
