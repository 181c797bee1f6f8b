"""The machines of a run, and which of them make the right bytes.

A local run has one machine. In a cluster, every node reports its kind, and one node of each kind is probed. Kinds whose
probes agree share the run; nodes of other kinds are left out, and each is reported with the method that differs. The
right bytes are those that agree with what the output already contains, or else those that most CPUs make. A node that
joins later checks itself. Refuses a cluster in which no node is left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import ModuleType
from typing import Any

from generators.registry import AUDIO_STAGES, PIXEL_STAGES, find
from generators.variant import Variant, VariantError, in_full, parse
from manifests.canonical import canonical_json
from manifests.schema import Recipe, differences
from pipelines.errors import UnfitError, UsageError
from pipelines.generate.config import Config
from pipelines.generate.machines.kinds import Made, kinds_here, made_here
from pipelines.generate.shard import Job
from pipelines.generate.wording import wording
from pipelines.progress import say
from pipelines.work.cluster import Ray

# Seconds for a node to render the probe pictures, including the start of libraries.
_PATIENCE = 600.0
_CPU, _GPU = "CPU", "GPU"
_NAMED = 3


@dataclass(frozen=True)
class Group:
    """Machines of one kind, and what one of them made. `nodes` are in the cluster; empty for this machine."""

    made: Made
    nodes: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The name of its first machine."""
        return f"node {self.nodes[0].address}" if self.nodes else "this machine"

    @property
    def count(self) -> int:
        """How many CPUs or GPUs its nodes have in total."""
        return sum(node.count for node in self.nodes)


@dataclass(frozen=True)
class Fit:
    """The kinds of machine that make the right bytes, and the nodes that do not, by resource (CPU or GPU).

    `log` has an entry for each group of machines, for the run's log.
    """

    kinds: frozenset[str]
    without: Mapping[str, frozenset[str]]
    log: Sequence[Mapping[str, Any]]


@dataclass
class Machines:
    """What the run's machines make of its variants.

    `recorded` are the recipes found in the output. `check` refuses a cluster if one of its nodes lacks something that
    the run needs.
    """

    config: Config
    variants: Sequence[Variant]
    recorded: Mapping[str, Recipe]
    ray: Ray
    check: Callable[[ModuleType], None]
    _groups: dict[str, list[Group]] = field(default_factory=dict)
    _right: dict[str, Group] = field(default_factory=dict)

    def recipes(self) -> dict[str, Recipe]:
        """Each variant's recipe, by name. If it needs a GPU, the recipe is that of a machine with one."""
        found: dict[str, Recipe] = {}
        for resource, variants in self._lanes():
            self._right[resource] = right = self._choose(resource, variants)
            found |= right.made.recipes
        return {variant.name: found[variant.name] for variant in self.variants}

    @property
    def methods(self) -> dict[str, str]:
        """The digests of methods' right outputs, by token."""
        return {token: sha256 for group in self._right.values() for token, sha256 in group.made.methods.items()}

    def sort_out(self) -> Fit:
        """Decide which machines may work. Reports the nodes left out, and raises UsageError if none remains."""
        kinds: set[str] = set()
        without: dict[str, frozenset[str]] = {}
        log = []
        for resource, variants in self._lanes():
            right = self._right[resource]
            kinds.update(right.made.kinds.values())
            unfit = {}
            for group in self._asked(resource, variants):
                reason = difference(group.made, right.made, right.name)
                log.append(_log_entry(group, resource, reason))
                if reason is None:
                    kinds.update(group.made.kinds.values())
                unfit.update({node: reason for node in group.nodes if reason is not None})
            if unfit and len(unfit) == sum(len(group.nodes) for group in self._groups[resource]):
                node, reason = next(iter(unfit.items()))
                raise UsageError(
                    f"no node with a {resource} makes the required bytes (node {node.address}: {reason}): choose "
                    "another --output"
                )
            for node, reason in unfit.items():
                say(f"node {node.address} is left out: {reason}")
            without[resource] = frozenset(node.id for node in unfit)
        return Fit(frozenset(kinds), without, log)

    def _lanes(self) -> Iterator[tuple[str, list[Variant]]]:
        for resource in (_CPU, _GPU):
            variants = [one for one in self.variants if self.config.needs_gpu(one) == (resource == _GPU)]
            if variants:
                yield resource, variants

    def _choose(self, resource: str, variants: Sequence[Variant]) -> Group:
        if resource == _CPU and all(variant.name in self.recorded for variant in variants):
            here = Group(made_here(self.config, variants))
            if self._agrees(here):  # if nothing is left to do, the nodes need not be asked
                return here
        groups = self._asked(resource, variants)
        return max(groups, key=lambda group: (self._agrees(group), group.count))  # the first of several

    def _agrees(self, group: Group) -> bool:
        recipes = group.made.recipes.items()
        both = [(mine, self.recorded[name]) for name, mine in recipes if name in self.recorded]
        return all(mine.provenance == theirs.provenance for mine, theirs in both if theirs.is_probed)

    def _asked(self, resource: str, variants: Sequence[Variant]) -> list[Group]:
        if resource not in self._groups:
            self._groups[resource] = self._ask(resource, variants)
        return self._groups[resource]

    def _ask(self, resource: str, variants: Sequence[Variant]) -> list[Group]:
        if self.ray.cluster.address:
            engine = self.ray.engine()
            self.check(engine)
            if groups := list(self._ask_nodes(engine, resource, variants)):
                return groups
        if resource == _GPU:
            return [Group(self.ray.engine().ask_gpu(made_here, self.config, variants))]
        return [Group(made_here(self.config, variants))]  # also for a cluster that has no node yet

    def _ask_nodes(self, engine: ModuleType, resource: str, variants: Sequence[Variant]) -> Iterator[Group]:
        kinds = _answers(engine, engine.nodes(resource), resource, kinds_here, self.config, variants)
        alike: dict[tuple[str, ...], list[Any]] = {}
        for node, found in sorted(kinds.items(), key=lambda pair: (-pair[0].count, pair[0].address)):
            alike.setdefault(tuple(found.values()), []).append(node)
        first = {nodes[0]: tuple(nodes) for nodes in alike.values()}
        made = _answers(engine, list(first), resource, made_here, self.config, variants)
        yield from (Group(made[node], nodes) for node, nodes in first.items() if node in made)


def _answers(
    engine: ModuleType, nodes: Sequence[Any], resource: str, do: Callable[..., Any], *words: Any
) -> dict[Any, Any]:
    """A function's results on nodes. Raises UsageError if it fails on one."""
    answers: dict[Any, Any] = engine.ask_nodes(nodes, resource, do, *words, patience=_PATIENCE)
    for node, answer in answers.items():
        if isinstance(answer, Exception):
            raise UsageError(f"on the node {node.address}, {answer}")
    return answers


def log_line(variants: Sequence[str], config: Config, shards: int, fit: Fit) -> bytes:
    """A run's line in its log: when it began, what was requested and remains to be made, and on which machines."""
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    asked = {"variants": list(variants), "config": config.as_json(), "shards": shards}
    return canonical_json({"time": began, **asked, "machines": list(fit.log)})


def neighbours(config: Config, variants: Sequence[Variant], recorded: Mapping[str, Recipe]) -> list[Variant]:
    """Existing variants next to the requested ones that can be probed with only the requested ones' libraries.

    A machine that would make these differently must not add to their folder.
    """
    asked = {variant.name for variant in variants}
    libraries = {library for variant in variants for library in config.libraries(variant)}
    found = []
    for name, recipe in recorded.items():
        if name in asked or not recipe.is_probed or recipe.config != config.as_json():
            continue
        with contextlib.suppress(VariantError):
            variant = parse(in_full(recipe.variant), config.base, config.known)
            if libraries.issuperset(config.libraries(variant)):
                found.append(variant)
    return found


def refuse_unfit(job: Job, variants: Sequence[Variant]) -> None:
    """Check that this process's machine makes the right bytes, once for each kind that the run does not know.

    Raises UnfitError if it does not.
    """
    unknown = [one for one in variants if kinds_here(job.config, [one])[one.name] not in job.kinds]
    if not unknown:
        return
    wanted = Made({}, {one.name: job.recipes[one.name] for one in unknown}, job.methods, {})
    if reason := difference(made_here(job.config, unknown), wanted, "those that the run began with"):
        from pipelines.work import engine  # Ray, which has started this process

        raise UnfitError(reason, engine.this_node())


def difference(there: Made, right: Made, where: str) -> str | None:
    """Why a machine does not make the right bytes of the given variants; None if it does.

    `where` names the machine that does.
    """
    unlike = [name for name, made in there.recipes.items() if made.provenance != right.recipes[name].provenance]
    for name in unlike:
        for path, mine, theirs in differences("", there.recipes[name].provenance, right.recipes[name].provenance):
            if path != "probe_sha256":
                return f"{path.removeprefix('libraries.')} is {mine or 'none'} there and {theirs or 'none'} on {where}"
    if not unlike:
        return None
    tokens = [token for token, sha256 in there.methods.items() if right.methods.get(token, sha256) != sha256]
    first = _first_stage(there.recipes.values(), tokens)
    if not first:
        return f"{unlike[0]} is written differently there than on {where}"
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    several = len(first) > 1
    result = wording(next(iter(right.recipes.values())).config["dataset"]).result
    return f"{', '.join(first[:_NAMED])}{more} give{'' if several else 's'} different {result} there than on {where}"


def _first_stage(recipes: Iterable[Recipe], tokens: Sequence[str]) -> list[str]:
    """The tokens of the earliest stage: later ones may differ only because of these."""
    drawn = {token: method.stage for token in tokens if (method := find(token))}
    stages = drawn | {token: stage for recipe in recipes for stage, token in recipe.variant.items() if token in tokens}
    for stage in (*PIXEL_STAGES, *AUDIO_STAGES):
        if found := [token for token in tokens if stages.get(token) == stage]:
            return found
    return []


def _log_entry(group: Group, resource: str, reason: str | None) -> dict[str, Any]:
    return {
        **group.made.about,
        **({"nodes": len(group.nodes), f"{resource.lower()}s": group.count} if group.nodes else {}),
        **({"left_out": reason} if reason else {}),
        "probes": {name: recipe.provenance["probe_sha256"] for name, recipe in group.made.recipes.items()},
        "methods": group.made.methods,
    }
