"""Trains on each of several command lines, and lists the sums whose order TensorFlow may choose.

    python summing.py '[["--flags", "of mnist_dist.train"], ...]'

AddN begins with an input whose memory is free to be used; with three inputs and more that decides
the order, and so the last bits, at run time.
"""

import json
import sys

from mnist_dist import train


def unordered(graph):
    """Names of the sums of three tensors or more in one operation, in a graph and its functions."""
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    sums = [node for body in bodies for node in body if node.op in ("AddN", "AccumulateNV2")]
    return [node.name for node in sums if node.attr["N"].i > 2]


def main(command_lines):
    with train.without_startup_messages():
        import tensorflow as tf

        from mnist_dist.training import steps

    made, own = [], steps._graph

    def graph(function, **options):
        made.append(own(function, **options))
        return made[-1]

    steps._graph = graph
    codes = [train.main(arguments) for arguments in command_lines]
    graphs = [c.graph.as_graph_def() for f in made for c in f._list_all_concrete_functions()]
    nodes = sum(len(f.node_def) for graph in graphs for f in graph.library.function)
    options = tf.config.optimizer.get_experimental_options()
    rewritten = [o for o in ("arithmetic_optimization", "constant_folding") if options.get(o, True)]
    found = [name for graph in graphs for name in unordered(graph)]
    print(json.dumps([codes, len(graphs), nodes, rewritten, found]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
