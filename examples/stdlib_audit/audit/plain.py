"""The same audit in one plain loop, without a pump: what the organism is measured against."""

from audit.analysis import analyze
from audit.payloads import Findings, Module, Report, Tree
from audit.reporting import build
from audit.tree import modules_of, root_of


def audit_plainly(tree: Tree) -> Report:
    """Analyse one module after another, then report."""
    root = root_of(tree)
    reports = [analyze(Module(str(root), path)) for path in modules_of(root)]
    return build(Findings(str(root), reports))
