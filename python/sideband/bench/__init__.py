"""What `sideband bench` and the suites in `benches/` measure with (docs/performance.md).

`measuring` times work of one thread, `processes` starts what has to be a process of its own, `stream_path` moves bytes
through a relay. Nothing is imported here: processes that are measured import what they need and no more.
"""

__all__: list[str] = []
