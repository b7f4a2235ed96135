import os

# The Makefile and its scripts are for POSIX systems; the workflows name the steps that Windows takes instead.
collect_ignore = ["test_makefile.py"] if os.name == "nt" else []
