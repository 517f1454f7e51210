"""How work is run and kept: folders that can be continued, and processes that may be interrupted.

unit       the smallest thing that is kept: one setting of one experiment for one seed; its digest
schedule   measuring the units that are missing, longest jobs first
workers    the processes that train, one thread each; as_worker: how their end is told
cluster    the workers of a Dask cluster instead
remote     ... what such a worker does
connect    ... and how a cluster is reached, or started
interrupt  SIGINT and SIGTERM: whether one has come
folder     what a run writes, and where
netcdf     a data set as the bytes of a netCDF4 file, the same bytes every time
atomic     files that are either whole or not there
seal       checksums that files carry, and what they belong to
lock       one process a folder
machine    kinds of machines, on which numbers are the same to the bit
cores      how many processor cores this process may use
memory     how much may be used; cgroups: limits of Linux
manifest   what was run, with what, when, and how it ended
progress   how far jobs are
estimate   how long the rest takes, as a range
checkpoint the state of a job's loops, from which it can go on; packing: as bytes
display    progress for people: bars on a terminal, lines elsewhere
"""

from whydeep.runs import as_worker  # noqa: F401 - first of all
from whydeep.runs.cluster import Cluster
from whydeep.runs.connect import open_cluster
from whydeep.runs.cores import available_cores
from whydeep.runs.display import BarDisplay, Display, LineDisplay, choose_display
from whydeep.runs.estimate import Piece, estimate_range
from whydeep.runs.folder import RunFolder, remove
from whydeep.runs.machine import machine_kind
from whydeep.runs.manifest import Manifest, git_state, read_manifest
from whydeep.runs.progress import Snapshot, format_duration
from whydeep.runs.schedule import Failure, Outcome, Timing, execute
from whydeep.runs.seal import DamagedError, UnsealedError, without_seal
from whydeep.runs.unit import Context, Job, Setting, digest
from whydeep.runs.workers import worker_surroundings

__all__ = [
    "BarDisplay",
    "Cluster",
    "Context",
    "DamagedError",
    "Display",
    "Failure",
    "Job",
    "LineDisplay",
    "Manifest",
    "Outcome",
    "Piece",
    "RunFolder",
    "Setting",
    "Snapshot",
    "Timing",
    "UnsealedError",
    "available_cores",
    "choose_display",
    "digest",
    "estimate_range",
    "execute",
    "format_duration",
    "git_state",
    "machine_kind",
    "open_cluster",
    "read_manifest",
    "remove",
    "without_seal",
    "worker_surroundings",
]
