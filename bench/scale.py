"""How large each benchmark is: in full, for a quick look, and tiny for the tests of the benchmarks themselves."""

from dataclasses import dataclass

from fleetcast.domain.pacing import Pace


@dataclass(frozen=True, slots=True)
class Large:
    """How much a large install has stored."""

    devices: int
    leads: int
    messages: int
    campaigns: int
    """The first of them goes to every lead, the others share the rest of the messages."""

    @property
    def others(self) -> int:
        """Messages of each campaign but the first."""
        return max(1, (self.messages - self.leads) // max(1, self.campaigns - 1))


@dataclass(frozen=True, slots=True)
class Scale:
    """All sizes of one run. Times in seconds."""

    name: str
    devices: int
    pipeline_rows: int
    planning_rows: int
    planning_rounds: int
    lead_rows: int
    fleet_pace: Pace
    fleet_warm_up: float
    fleet_window: float
    idle_campaigns: int
    """One device and one row each."""
    idle_pause: Pace
    late_devices: int
    late_pace: Pace
    late_warm_up: float
    late_window: float
    page_rows: int
    growth: tuple[tuple[int, int], ...]
    """Rows and devices of each run of growth."""
    growth_deleted: tuple[int, int]
    """The one of them that is deleted by retention afterwards."""
    state: Large
    """What is stored while every page is asked for."""
    asked: int
    """How often each page is asked for."""
    sequence_people: int
    """Enrolled while few are due."""
    sequence_window: float
    sequence_act: int
    """Enrolled in one act."""
    shared_buffers: str = "1500MB"
    pages_buffers: str = "256MB"
    """What Fleetcast takes by itself on a machine of some size: the large state does not fit into it."""
    moment: float = 2.0
    """Between the start of the parts and the measurement, so that starting is not measured."""


FULL = Scale(
    name="full",
    devices=3_000,
    pipeline_rows=1_000_000,
    planning_rows=1_000_000,
    planning_rounds=3,
    lead_rows=1_000_000,
    fleet_pace=Pace(5, 15),
    fleet_warm_up=40,
    fleet_window=600,
    idle_campaigns=400,
    idle_pause=Pace(0.05, 0.35),
    late_devices=100_000,
    late_pace=Pace(60, 180),
    late_warm_up=120,
    late_window=90,
    page_rows=500_000,
    growth=(
        (10_000, 3_000),
        (100_000, 3_000),
        (1_000_000, 3_000),
        (5_000_000, 3_000),
        (1_000_000, 100),
        (1_000_000, 30_000),
    ),
    growth_deleted=(1_000_000, 3_000),
    state=Large(3_000, 1_000_000, 10_000_000, 300),
    asked=40,
    sequence_people=1_000_000,
    sequence_window=120,
    sequence_act=100_000,
)
QUICK = Scale(
    name="quick",
    devices=3_000,
    pipeline_rows=200_000,
    planning_rows=200_000,
    planning_rounds=2,
    lead_rows=100_000,
    fleet_pace=Pace(5, 15),
    fleet_warm_up=30,
    fleet_window=60,
    idle_campaigns=100,
    idle_pause=Pace(0.05, 0.2),
    late_devices=100_000,
    late_pace=Pace(60, 180),
    late_warm_up=75,
    late_window=45,
    page_rows=150_000,
    growth=tuple(size for size in FULL.growth if size[0] < 5_000_000),
    growth_deleted=FULL.growth_deleted,
    state=Large(3_000, 100_000, 1_000_000, 60),
    asked=15,
    sequence_people=100_000,
    sequence_window=60,
    sequence_act=20_000,
)
TINY = Scale(
    name="tiny",
    devices=40,
    pipeline_rows=2_000,
    planning_rows=2_000,
    planning_rounds=1,
    lead_rows=2_000,
    fleet_pace=Pace(0.3, 0.6),
    fleet_warm_up=1,
    fleet_window=3,
    idle_campaigns=5,
    idle_pause=Pace(0.01, 0.02),
    late_devices=200,
    late_pace=Pace(0.5, 1.5),
    late_warm_up=2,
    late_window=3,
    page_rows=2_000,
    growth=((500, 40), (1_000, 40)),
    growth_deleted=(1_000, 40),
    state=Large(40, 2_000, 8_000, 12),
    asked=1,
    sequence_people=2_000,
    sequence_window=3,
    sequence_act=500,
    shared_buffers="64MB",
    pages_buffers="64MB",
    moment=0.3,
)
SCALES = {scale.name: scale for scale in (FULL, QUICK, TINY)}
