"""The nodes of the Ray cluster: what they have, and what they answer when asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.errors import RunError, UsageError
from pipelines.text import first_line
from pipelines.work import Result, local_ray
from pipelines.work.tasks import GpuActor, call

# Seconds for which a node's answer is waited for.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its Ray id, its address, and how many CPUs or GPUs it has."""

    id: str
    address: str
    count: int


def nodes(resource: str) -> list[Node]:
    """The nodes that have a `CPU` or a `GPU`, those with the most first, then by address."""
    found = [
        Node(node["NodeID"], node["NodeManagerAddress"], int(node["Resources"][resource]))
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get(resource, 0) >= 1
    ]
    return sorted(found, key=lambda node: (-node.count, node.address, node.id))


def this_node() -> str:
    """The id of the node that this process runs on."""
    found: str = ray.get_runtime_context().get_node_id()
    return found


def gpus() -> int:
    """How many GPUs the cluster has."""
    return int(local_ray.resources().get("GPU", 0))


def ask_gpu(do: Callable[..., Result], *words: Any) -> Result:
    """The result of a function on a node with a GPU, which it has for itself. Raises RunError if the call fails."""
    if not gpus():  # an actor would wait for one for ever
        raise RunError(
            "CUDA sees a GPU, but Ray, which asks NVML, does not: in a container, NVIDIA_DRIVER_CAPABILITIES must "
            "include utility"
        )
    actor = GpuActor.remote()
    try:
        found: Result = ray.get(actor.call.remote(do, *words))
        return found
    except ray.exceptions.RayTaskError as error:
        raise RunError(f"the GPU cannot be used ({first_line(error.cause)})") from None
    except ray.exceptions.RayError as error:
        raise RunError(f"the process that was to use the GPU has died ({first_line(error)})") from None
    finally:
        ray.kill(actor)


def check_nodes(look: Callable[..., str | None], *words: Any, patience: float = _PATIENCE) -> None:
    """Raises UsageError if `look(*words)` returns a problem, or fails, on a node of the cluster that can do work.

    A node that does not answer within `patience` seconds is assumed to have left.
    """
    able = [node for node in ray.nodes() if node["Alive"] and {"CPU", "GPU"} & node["Resources"].keys()]
    looks = {
        call.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            look, *words
        ): node["NodeManagerAddress"]
        for node in able
    }
    seen, _ = ray.wait(list(looks), num_returns=len(looks), timeout=patience)
    for reference in seen:
        try:
            problem = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            problem = first_line(error.cause)
        except ray.exceptions.RayError:  # a node that has left does no work
            continue
        if problem:
            raise UsageError(f"on the node {looks[reference]}, {problem}")


def ask_nodes(
    of: Sequence[Node], resource: str, do: Callable[..., Result], *words: Any, patience: float = _PATIENCE
) -> dict[Node, Result | RunError]:
    """The result of a function on each of these nodes, or its error; if the resource is `GPU`, it gets one there.

    A node that does not answer within `patience` seconds is assumed to have left, and is missing from the result.
    """
    asked: dict[ray.ObjectRef[Any], Node] = {}
    actors = []
    for node in of:
        strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
        if resource == "GPU":
            actors.append(GpuActor.options(scheduling_strategy=strategy).remote())
            asked[actors[-1].call.remote(do, *words)] = node
        else:
            asked[call.options(scheduling_strategy=strategy).remote(do, *words)] = node
    try:
        seen, _ = ray.wait(list(asked), num_returns=len(asked), timeout=patience)
        answers: dict[Node, Result | RunError] = {}
        for reference in seen:
            try:
                answers[asked[reference]] = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                answers[asked[reference]] = RunError(first_line(error.cause))
            except ray.exceptions.RayError:  # the node has left
                continue
        return answers
    finally:
        for actor in actors:
            ray.kill(actor)
