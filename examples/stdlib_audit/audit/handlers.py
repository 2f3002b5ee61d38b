"""The organism's three handlers."""

from audit import analysis, reporting
from audit.payloads import Findings, Module, ModuleReport, Report, Tree
from audit.tree import modules_of, root_of
from pipeline import Gathered, HandlerMetadata, HandlerResponse, get_context_buffer


def audit(payload: Tree | Gathered | Report, metadata: HandlerMetadata) -> HandlerResponse:
    """Have every module of a tree analysed, then all of it reported."""
    match payload:
        case Report():
            return HandlerResponse.respond(payload)
        case Gathered():
            return HandlerResponse(_findings(payload, metadata), to="reporter")
    root = root_of(payload)
    modules = [Module(str(root), path) for path in modules_of(root)]
    return HandlerResponse.scatter(modules, to="analyzer")


def _findings(gathered: Gathered, metadata: HandlerMetadata) -> Findings:
    (asked,) = get_context_buffer().get_thread(metadata.thread_id).get_by_type("Tree")
    root = root_of(asked.payload)
    paths = modules_of(root) if gathered.errors else []
    modules = [
        result or ModuleReport(paths[index], skipped=str(gathered.errors.get(index)))
        for index, result in enumerate(gathered.results)
    ]
    return Findings(str(root), modules)


def analyze(payload: Module, metadata: HandlerMetadata) -> HandlerResponse:
    """Analyse one module."""
    return HandlerResponse.respond(analysis.analyze(payload))


def report(payload: Findings, metadata: HandlerMetadata) -> HandlerResponse:
    """Report on all modules."""
    return HandlerResponse.respond(reporting.build(payload))
