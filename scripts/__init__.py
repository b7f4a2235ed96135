"""Programs of the project, run by make and by hand."""
