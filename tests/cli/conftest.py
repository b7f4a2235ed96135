import os

# They send signals, open terminals or look at modes, and Windows has none of the kind.
collect_ignore = (
    ["commands", "test_config_modes.py", "test_daemon_command.py", "test_demo_processes.py"] if os.name == "nt" else []
)
