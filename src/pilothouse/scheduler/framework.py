"""The scheduling framework: the extension points a plugin may implement, and what one scheduling cycle knows.

Extension points are Kubernetes' own (Scheduling Framework, KEP-624): PreEnqueue, QueueSort, PreFilter, Filter, PostFilter, PreScore,
Score, Reserve, Permit, PreBind, Bind, PostBind. A plugin has two faces for Filter and Score: all rows at once (`filter_all`,
`score_all`: NumPy in, NumPy out) or one node at a time (`filter`, `score`: slow and easy). Overriding a method is implementing
that point; the base class implements none.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.clock import Clock, SystemClock
from pilothouse.scheduler.podinfo import PodInfo
from pilothouse.scheduler.stock import Stock
from pilothouse.scheduler.table import Ints, Mask, NodeTable, Row, RowCache

if TYPE_CHECKING:
    from pilothouse.client.interface import Transport
    from pilothouse.scheduler.trial import Trial

Obj = dict[str, Any]

MAX_NODE_SCORE = 100
#: Answers of Plugin.idle.
NOWHERE: frozenset[str] = frozenset()
IDLE_FILTER, IDLE_SCORE = frozenset({"Filter"}), frozenset({"Score"})
#: In whose name nodes are refused and liked by extenders.
EXTENDER = "Extender"


class Code(enum.Enum):
    """What a plugin says. Unresolvable: removing pods from the node would not help."""

    SUCCESS = "Success"
    ERROR = "Error"
    UNSCHEDULABLE = "Unschedulable"
    UNRESOLVABLE = "UnschedulableAndUnresolvable"
    WAIT = "Wait"
    #: Not to be scheduled before an event that helps, and nothing to tell about it: PreEnqueue, said where objects can be looked up.
    HOLD = "Hold"
    SKIP = "Skip"


@dataclass(frozen=True, slots=True)
class Status:
    """A code with the reasons that users are shown. None stands for success wherever a Status is optional."""

    code: Code
    reasons: tuple[str, ...] = ()
    plugin: str = ""


SKIP = Status(Code.SKIP)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows that a filter removes for one reason."""

    reason: str
    rows: Mask
    unresolvable: bool = False


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Something that may make a refused pod schedulable. `resource` is Node, Pod, AssignedPod, ...; `action` is what happened."""

    resource: str
    action: str  # Add, Update, Delete; for nodes also UpdateLabel, UpdateTaint, UpdateAllocatable


@dataclass(slots=True)
class ClusterView:
    """What plugins may look up besides nodes and pods: plain functions, so that a snapshot is enough."""

    #: Label selectors (as predicates with a hashable identity) of services and controllers that own this pod.
    owner_selectors: Callable[[PodInfo], Sequence[Obj]] = lambda pod: ()
    namespace_labels: Callable[[str], dict[str, str]] = lambda namespace: {}
    #: Moves when a namespace's labels change.
    namespaces_version: Callable[[], int] = lambda: 0
    #: PodDisruptionBudgets of a namespace.
    budgets: Callable[[str], Iterable[Obj]] = lambda namespace: ()
    #: Everything else that is looked up by plugins, by the plural of its resource (persistentvolumeclaims, storageclasses, ...).
    stock: Stock = field(default_factory=Stock)
    #: For plugins that wait before binding.
    clock: Clock = field(default_factory=SystemClock)


class PodClass:
    """Pods with equal requirements share what is derived from rows: caches by plugin, and who has nothing to say about them."""

    __slots__ = ("_idle", "caches", "plan", "used")

    def __init__(self) -> None:
        self.caches: dict[Hashable, Any] = {}
        self.used = 0
        self._idle: dict[str, frozenset[str]] = {}
        #: What is left of a profile's plugins for these pods; whoever runs cycles keeps it here.
        self.plan: Any = None

    def is_idle(self, plugin: Plugin, point: str, pod: PodInfo) -> bool:
        """Whether a plugin has nothing to say at a point (see Plugin.idle): asked once for all pods of the class."""
        known = self._idle.get(plugin.name)
        if known is None:
            known = self._idle[plugin.name] = plugin.idle(pod)
        return point in known


@dataclass(slots=True)
class Cycle:
    """One pod's way through the plugins. `state` is the plugins' own notebook for this cycle."""

    pod: PodInfo
    table: NodeTable
    view: ClusterView
    shared: PodClass
    state: dict[Hashable, Any] = field(default_factory=dict)
    #: Rows still possible; valid from Filter on.
    feasible: Mask = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    #: Pods that wait for room which was made for them, with their nodes.
    nominated: Sequence[tuple[PodInfo, str]] = ()
    #: Filters that have a say about this pod, in order: set once PreFilter is through.
    filters: Sequence[Plugin] = ()
    #: Where plugins draw at random.
    chance: random.Random | None = None
    #: Writes that a plugin owes for a cycle that came to nothing; the scheduler runs them.
    errands: list[Callable[[Transport], Awaitable[None]]] = field(default_factory=list)

    def cached_rows(
        self, key: Hashable, stamp: str, dtype: Any, compute: Callable[[Ints], Any], one: Callable[[int], Any] | None = None
    ) -> Any:
        """A value per row, kept with the pod's class and repaired where rows changed (see RowCache)."""
        cache = self.shared.caches.get(key)
        if cache is None:
            cache = self.shared.caches[key] = RowCache(self.table, stamp, dtype, compute, one)
        return cache.refresh(self.table)


@dataclass(frozen=True, slots=True)
class Preemption(Status):
    """PostFilter made room: the node, and the pods that must leave it (most important first)."""

    node: str = ""
    victims: tuple[PodInfo, ...] = ()
    candidates: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class PreFilterResult:
    """A PreFilter plugin's knowledge that only these nodes can do."""

    node_names: frozenset[str]


class Plugin:
    """Base of all plugins. `name` is what the configuration file calls it; `args` is its pluginConfig."""

    name: str = ""
    #: `refit` looks at nothing but the node that is tried and its pods.
    refit_is_local: bool = False
    #: Events after which a pod that this plugin refused is worth another try.
    events: tuple[ClusterEvent, ...] = ()
    #: `hint` looks only at what a pod's signature is made of: one answer is good for all pods that have the same.
    hints_alike: bool = False

    def __init__(self, args: Obj | None = None) -> None:
        self.args = args or {}

    def hint(self, pod: PodInfo, event: ClusterEvent, old: Obj | None, new: Obj | None) -> bool:
        """Whether this very event can help this very pod. Asked only for kinds listed in `events`."""
        return True

    def idle(self, pod: PodInfo) -> frozenset[str]:
        """Points ("Filter" with its PreFilter, "Score" with its PreScore) at which this plugin has nothing to say about such a pod, whatever
        the cluster is like. Asked once for all pods with the same signature, so it may look only at what that is made of."""
        return NOWHERE

    def needs(self, pod: PodInfo) -> Sequence[str]:
        """The plurals that this plugin will look up in the stock for this pod: they are read before it is decided."""
        return ()

    # --- queue ---------------------------------------------------------------------------------------------------------------

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        """Hold a pod out of the queue."""

    def sort_key(self, pod: PodInfo) -> tuple[Any, ...]:
        """QueueSort: smaller goes first."""
        raise NotImplementedError

    # --- scheduling cycle ------------------------------------------------------------------------------------------------------

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | Status | None:
        """Prepare. SKIP: this plugin's filter has nothing to say about this pod."""

    def filter_all(self, cycle: Cycle) -> Iterable[Rejected]:
        """What this plugin removes, all rows at once."""
        raise NotImplementedError

    def filter(self, cycle: Cycle, node: Row) -> Status | None:
        """Whether one node can run the pod."""
        raise NotImplementedError

    def remedy(self, cycle: Cycle, node: Row) -> str | None:
        """What would have to change so that this node, which the filter refused, could run the pod. For explanations only."""
        return None

    def refit(self, cycle: Cycle, trial: Trial) -> Status | None:
        """Filter of one node with some of its pods thought away. Implementing it says that fewer pods may change the verdict."""
        raise NotImplementedError

    def post_filter(self, cycle: Cycle, rejections: Sequence[tuple[str, Rejected]]) -> Status | None:
        """Make room (preemption), when no node is feasible. The reasons are appended to the message."""
        raise NotImplementedError

    def pre_score(self, cycle: Cycle) -> Status | None:
        """Prepare. SKIP: no score from this plugin for this pod."""

    def score_all(self, cycle: Cycle) -> Ints:
        """A score per row of the table; only feasible rows are read. Before normalisation."""
        raise NotImplementedError

    def score(self, cycle: Cycle, node: Row) -> int:
        """One node's score, before normalisation."""
        raise NotImplementedError

    def uniform(self, cycle: Cycle) -> int | None:
        """The score of every row after normalisation, when it is known without a look at rows that all have the same; None otherwise."""
        return None

    def normalize(self, cycle: Cycle, scores: Ints) -> Ints:
        """Bring the feasible rows' scores (in the order of the rows) to 0..100."""
        return scores

    # --- after the choice --------------------------------------------------------------------------------------------------------

    def reserve(self, cycle: Cycle, node_name: str) -> Status | None:
        """Claim what the choice uses up. A failure unreserves all."""

    def unreserve(self, cycle: Cycle, node_name: str) -> None:
        """Give it back."""

    async def permit(self, cycle: Cycle, node_name: str) -> Status | None:
        """Delay or refuse the binding."""

    def pre_bind_needed(self, cycle: Cycle, node_name: str) -> bool:
        """Whether PreBind has work to do, which may take long: the pod's expected node is then noted first (KEP-5278)."""
        return True

    async def pre_bind(self, transport: Transport, cycle: Cycle, node_name: str) -> Status | None:
        """Do what must be done before the pod may run there."""

    async def bind(self, transport: Transport, cycle: Cycle, node_name: str) -> Status | None:
        """Write the binding. SKIP hands over to the next bind plugin."""
        raise NotImplementedError

    async def post_bind(self, cycle: Cycle, node_name: str) -> None:
        """After the fact."""


def implements(plugin: Plugin, method: str) -> bool:
    """Whether a plugin overrides an extension point's method."""
    return getattr(type(plugin), method) is not getattr(Plugin, method)


def default_normalize(scores: Ints, reverse: bool = False) -> Ints:
    """Scale the highest to 100; reversed, the lowest raw score wins. All zero: 0, or 100 when reversed."""
    highest = int(scores.max(initial=0))
    if highest == 0:
        return np.full_like(scores, MAX_NODE_SCORE) if reverse else scores
    scaled = scores * MAX_NODE_SCORE // highest
    return MAX_NODE_SCORE - scaled if reverse else scaled
