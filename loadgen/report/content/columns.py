"""Table columns that several tables share."""

from loadgen.report.content.table import Column

STEP_COLUMN = Column("Step", "", "One endpoint configuration under one load.", is_text=True)
MEMORY_COLUMN = Column("Memory", "MB", "MemorySizeInMB of the endpoint; CPU grows with it.")
OK_COLUMN = Column("ok", "calls", "Successful calls. Latencies are computed from these only.")
THROTTLED_COLUMN = Column("Throttled", "calls", "Calls rejected with a ThrottlingException.")
TPS_COLUMN = Column("TPS", "1/s", "Successful responses per second, mean over all whole seconds of the run.")
