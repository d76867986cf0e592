"""Whether the graph of a module only computes.

A SavedModel is a program. TensorFlow has operations that read and write files, call Python, end the process or talk to
others, and a graph that holds one acts with the rights of whoever loads it. The model that is logged carries it on.

The rule goes by what an operation is. Allowed are the operations that TensorFlow itself keeps in its modules of
mathematics, networks, arrays, images, random numbers, strings, variables and control flow, but for the few of them that
reach out of the process, and some single ones of other modules. Files, data sets, queues, tables, summaries, Python,
debugging, the calls of XLA and TPUs and unknown operations are not allowed. So an operation of a kind that TensorFlow
does not have yet will not be either.

The functions that wrote the module's checkpoint hold operations on files as well. They are passed over where nothing
else refers to them: a loaded module cannot call them.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from kesikaran.core import errors
from kesikaran.core.errors import InputError
from kesikaran.models.module_files import GRAPH, LARGEST_GRAPH_BYTES, DamagedModule

_COMPUTING = (
    *("array", "bitwise", "control_flow", "functional", "image", "linalg", "list", "manip", "math", "nn"),
    *("ragged_array", "ragged_conversion", "ragged_math", "random", "resource_variable", "rnn", "sparse"),
    *("special_math", "spectral", "state", "stateful_random", "stateless_random", "string", "training"),
    "uniform_quant",
)
# ImmutableConst maps a file, RemoteCall calls another process, Abort ends this one.
_REACHING_OUT = frozenset({"ImmutableConst", "RemoteCall", "Abort"})
_FURTHER = ("Assert", "DynamicPartition", "DynamicStitch", "ParallelDynamicStitch")
_OF_CHECKPOINTS = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})
# Kinds of the objects of a module of which none runs when the module is loaded. A resource, such as a table, does.
_AT_REST = ("user_object", "function", "variable", "bare_concrete_function", "constant", "captured_tensor")
_MOST_NAMED = 8


def need_only_computing(handle: str, folder: Path) -> None:
    """Refuse a module that does more than compute, before anything of it runs.

    Raises:
        DamagedModule: its graph cannot be read.
        InputError: its graph holds other operations; the line names them. Or it is no module of TensorFlow 2.
    """
    graph = _graph(handle, folder)
    found = sorted(_suspicious_operations(graph)) + sorted(_suspicious_objects(graph))
    if found:
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise InputError(
            f"{errors.without_password(handle)} is a program that does more than compute: its graph holds "
            f"{', '.join(map(errors.printable, found[:_MOST_NAMED]))}{more}. Such operations can read and write files "
            "and run code with your rights, here and wherever a model trained on it is used. If you trust whoever "
            "made it, set backbone.trusted=true; else take another module"
        )


def _graph(handle: str, folder: Path) -> Any:
    """The MetaGraph of the module."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / GRAPH
    if not path.is_file():
        raise DamagedModule(f"{errors.without_password(handle)} is no TF-Hub SavedModel: it has no {GRAPH}")
    if path.stat().st_size > LARGEST_GRAPH_BYTES:
        raise InputError(
            f"{path} has {path.stat().st_size / 1e6:.0f} MB, more than the {LARGEST_GRAPH_BYTES / 1e6:.0f} MB that are "
            "read: weights belong into the folder variables"
        )
    module = saved_model_pb2.SavedModel()
    try:
        module.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise DamagedModule(
            f"{errors.without_password(handle)} is no TF-Hub SavedModel: {GRAPH} cannot be read "
            f"({errors.first_line(error)})"
        ) from None
    if len(module.meta_graphs) != 1 or not module.meta_graphs[0].HasField("object_graph_def"):
        raise DamagedModule(
            f"{errors.without_password(handle)} is no TF-Hub SavedModel of TensorFlow 2, which has one graph with "
            "objects; modules of TensorFlow 1 are not supported"
        )
    return module.meta_graphs[0]


def _suspicious_operations(graph: Any) -> set[str]:
    """The operations that are not allowed, in the graph itself and in its functions."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    for_checkpoints = _checkpoint_functions(graph, functions)
    found = {node.op for node in graph.graph_def.node} - _OF_CHECKPOINTS  # a loaded module runs functions only
    for function in graph.graph_def.library.function:
        here = {node.op for node in function.node_def}
        found |= here - _OF_CHECKPOINTS if function.signature.name in for_checkpoints else here
    registered = _registered()
    return {name for name in found - _allowed() if name in registered or name not in functions}


def _suspicious_objects(graph: Any) -> set[str]:
    """Objects that run while the module is loaded."""
    nodes = graph.object_graph_def.nodes
    found = {f"an object of kind {kind}" for kind in {node.WhichOneof("kind") for node in nodes} - {*_AT_REST}}
    if any(node.saveable_objects or node.registered_saver for node in nodes):
        found.add("an object that restores itself")
    return found


def _checkpoint_functions(graph: Any, functions: dict[str, Any]) -> set[str]:
    """The functions that only the graph's own saver calls."""
    saver = {name.split(":")[0] for name in (graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name)}
    of_saver = _reached(_called(node for node in graph.graph_def.node if node.name in saver), functions)
    library, objects = graph.graph_def.library, graph.object_graph_def
    others = set(functions) - of_saver | set(objects.concrete_functions)
    others |= {gradient.gradient_func for gradient in library.gradient}
    others |= {gradient.gradient_func for gradient in library.registered_gradients}
    for node in objects.nodes:
        others |= {*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name}
        others.add(node.captured_tensor.concrete_function)
    return of_saver - _reached(others, functions)


def _reached(names: Iterable[str], functions: dict[str, Any]) -> set[str]:
    """The functions of these names, and those that they call."""
    reached: set[str] = set()
    waiting = [name for name in names if name in functions]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [called for called in _called(functions[name].node_def) if called in functions]
    return reached


def _called(nodes: Iterable[Any]) -> set[str]:
    """The names by which nodes may call functions. Of what is allowed, operations of control flow do so alone."""
    called, silent = set(), _allowed() - _of("functional")
    for node in nodes:
        if node.op not in silent:
            called.add(node.op)
            for value in node.attr.values():
                called |= {value.func.name, *(function.name for function in value.list.func)}
    return called


@cache
def _registered() -> frozenset[str]:
    import tensorflow as tf

    return frozenset(name for name in dir(tf.raw_ops) if not name.startswith("_"))


@cache
def _of(group: str) -> frozenset[str]:
    """The operations of one of TensorFlow's modules."""
    import tensorflow as tf

    modules = {f"tensorflow.python.ops.gen_{group}_ops{version}" for version in ("", "_v2")}
    return frozenset(name for name in _registered() if getattr(tf.raw_ops, name).__module__ in modules)


@cache
def _allowed() -> frozenset[str]:
    tensor_arrays = {name for name in _registered() if name.startswith("TensorArray") and name.endswith("V3")}
    return frozenset().union(tensor_arrays, _FURTHER, *map(_of, _COMPUTING)) - _REACHING_OUT
