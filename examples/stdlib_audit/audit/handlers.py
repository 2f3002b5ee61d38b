"""The organism's three handlers."""

from audit import analysis, reporting
from audit.payloads import Findings, Module, ModuleReport, Report, Tree
from audit.tree import listing_of
from pipeline import Gathered, HandlerMetadata, HandlerResponse, get_context_buffer


def audit(payload: Tree | Gathered | Report, metadata: HandlerMetadata) -> HandlerResponse:
    """Have every module of a tree analysed, then all of it reported."""
    match payload:
        case Report():
            return HandlerResponse.respond(payload)
        case Gathered():
            return HandlerResponse(_findings(payload, metadata), to="reporter")
        case Tree(paths=None):
            # Sent to itself, the listing stays in the thread: answers are matched with what
            # was asked, however the folder changes meanwhile.
            return HandlerResponse(listing_of(payload), to="auditor")
    modules = [Module(payload.root, path) for path in payload.paths or ()]
    return HandlerResponse.scatter(modules, to="analyzer")


def _findings(gathered: Gathered, metadata: HandlerMetadata) -> Findings:
    tree = get_context_buffer().get_thread(metadata.thread_id).get_by_type("Tree")[-1].payload
    modules = [
        result or ModuleReport(path, skipped=str(gathered.errors.get(index, "no answer")))
        for index, (path, result) in enumerate(zip(tree.paths, gathered.results, strict=True))
    ]
    return Findings(tree.root, modules)


def analyze(payload: Module, metadata: HandlerMetadata) -> HandlerResponse:
    """Analyse one module."""
    return HandlerResponse.respond(analysis.analyze(payload))


def report(payload: Findings, metadata: HandlerMetadata) -> HandlerResponse:
    """Report on all modules."""
    return HandlerResponse.respond(reporting.build(payload))
