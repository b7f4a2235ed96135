"""What the figures are compared with. Each rival does the same work as ours, written as well as its language allows."""
