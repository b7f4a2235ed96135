import os

# They send signals and open terminals, and Windows has neither of the kind.
collect_ignore = ["test_daemon_command.py", "test_demo_processes.py"] if os.name == "nt" else []
