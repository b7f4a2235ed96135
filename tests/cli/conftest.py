import os

# It sends signals and opens a terminal, and Windows has neither of the kind.
collect_ignore = ["test_demo_processes.py"] if os.name == "nt" else []
